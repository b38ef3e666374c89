"""The trial runner where nothing contains the candidate: what only the runner itself can see."""

import shutil
from pathlib import Path, PurePosixPath

import pytest

from slurm_bench.effects import seals, store
from slurm_bench.steps import trial
from slurm_bench.words.trials import Arm, Trial, TrialOutcome, TrialPlan


@pytest.fixture
def plan(tmp_path: Path, quick_record: Path) -> TrialPlan:
    return plan_for(tmp_path, quick_record)


def plan_for(folder: Path, record: Path) -> TrialPlan:
    for name in ("trials", "incumbents", "scratch", "data"):
        (folder / name).mkdir(exist_ok=True)
    return TrialPlan(
        job_name="test",
        arms=(arm_for(folder, record, "trials"),),
        data_dir=str(folder / "data"),
        scratch_dir=str(folder / "scratch"),
        indices=(3, 7),
        candidate_first=(3,),
        timeout_s=200,
        scratch_bytes=2**26,
        environment={},
        container="none",
        image=None,
        image_sha256=None,
        gpus=0,
        foreign_cores=None,
        step=(),
    )


def arm_for(folder: Path, record: Path, trials: str) -> Arm:
    sealed = seals.seal(record.parent, PurePosixPath(record.name), folder / "seals")
    return Arm(
        seal=sealed,
        seal_dir=str(folder / "seals" / sealed.sha256),
        trials_dir=str(folder / trials),
        declared_steps=(10,),
    )


def run(folder: Path, plan: TrialPlan, task: int = 1) -> Trial:
    store.write(folder / "plan.json", plan)
    trial.main(str(folder / "plan.json"), str(task))
    return store.read(folder / "trials" / f"{plan.indices[task]:02}.json", Trial)


def test_a_task_runs_the_trial_of_its_place(tmp_path: Path, plan: TrialPlan) -> None:
    record = run(tmp_path, plan)
    assert (record.index, record.outcome, record.exit_code) == (7, TrialOutcome.CLEAN, 0)
    assert record.off_clock_s is not None and record.result is not None
    assert record.off_clock_s == pytest.approx(record.wall_s - record.result.train_time_s)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_daemon_makes_a_clean_run_unclean(tmp_path: Path, quick_record: Path) -> None:
    daemon = "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)\n"
    with (quick_record / "train_gpt.py").open("a") as stream:
        stream.write(daemon)
    record = run(tmp_path, plan_for(tmp_path, quick_record))
    assert (record.outcome, record.note) == (TrialOutcome.LEFT_BEHIND, "1 processes were still there after the trial")


def test_a_trial_that_is_started_again_leaves_the_first_record(tmp_path: Path, plan: TrialPlan) -> None:
    first = run(tmp_path, plan)
    with pytest.raises(SystemExit, match="trial 7 was started before"):
        run(tmp_path, plan)
    assert store.read(tmp_path / "trials" / "07.json", Trial) == first


def test_a_restart_that_slurm_counts_is_refused(
    tmp_path: Path, plan: TrialPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(SystemExit, match="counts 1 restarts"):
        run(tmp_path, plan)
    assert not (tmp_path / "trials" / "07.json").exists()


def test_what_goes_wrong_before_the_start_is_the_sites(tmp_path: Path, plan: TrialPlan) -> None:
    shutil.rmtree(tmp_path / "scratch")
    record = run(tmp_path, plan)
    assert record.outcome is TrialOutcome.INFRASTRUCTURE
    assert "No such file" in record.note


def test_what_goes_wrong_after_it_is_the_candidates(tmp_path: Path, quick_record: Path) -> None:
    """Nothing contains this candidate, so it can take the runner's own folder away."""
    with (quick_record / "train_gpt.py").open("a") as stream:
        stream.write("import shutil\nshutil.rmtree(Path.cwd().parent)\n")
    record = run(tmp_path, plan_for(tmp_path, quick_record))
    assert record.outcome is TrialOutcome.CRASHED
    assert record.note.startswith("ended the runner: FileNotFoundError")
