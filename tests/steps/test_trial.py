"""The trial runner where nothing contains the candidate: what only the runner itself can see."""

import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from slurm_bench.effects import seals, store
from slurm_bench.pure.blocks import Left, collect
from slurm_bench.steps import retime, trial
from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.trials import Arm, Block, Trial, TrialOutcome, TrialPlan
from tests import small_disk, waiting


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


# --- the folder of runs is ours, scratch the candidate's


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for what is written down of trials."""
    with small_disk.mounted(tmp_path / "trials") as folder:
        yield folder


def edit(record: Path, old: str, new: str) -> None:
    program = record / "train_gpt.py"
    text = program.read_text()
    assert old in text
    program.write_text(text.replace(old, new))


def fill_once_begun(runs: Path) -> Path:
    waiting.until((runs / "07.json").exists)
    return small_disk.fill(runs)


def test_a_folder_of_runs_that_fills_up_in_an_honest_trial_is_not_the_candidates(
    tmp_path: Path, quick_record: Path, runs: Path
) -> None:
    """It prints on all the while, and nothing of it stays."""
    edit(quick_record, "SECONDS = 0.08", "SECONDS = 1.5")
    prints = "[print('x' * 1000, flush=True) for _ in range(200)]"
    edit(quick_record, "log.write_text(text)", f"{prints}; log.write_text(text)")
    plan = plan_for(tmp_path, quick_record).model_copy(update={"patience_s": 0.5})
    filled = threading.Thread(target=lambda: fill_once_begun(runs))
    filled.start()
    assert exit_code(tmp_path, plan) == 74
    filled.join()
    assert store.read(runs / "07.json", Trial).outcome is TrialOutcome.BEGUN
    assert ended(plan, 74).candidate.outcome is TrialOutcome.INFRASTRUCTURE


def test_room_that_comes_back_saves_the_trial(tmp_path: Path, quick_record: Path, runs: Path) -> None:
    edit(quick_record, "SECONDS = 0.08", "SECONDS = 1.5")
    plan = plan_for(tmp_path, quick_record).model_copy(update={"patience_s": 30})

    def full_for_a_while() -> None:
        filler = fill_once_begun(runs)
        threading.Event().wait(4)
        filler.unlink()

    for_a_while = threading.Thread(target=full_for_a_while)
    for_a_while.start()
    record = run(tmp_path, plan)
    for_a_while.join()
    assert (record.outcome, record.exit_code, record.wall_s < 4) == (TrialOutcome.CLEAN, 0, True)


def test_a_candidate_that_fills_its_scratch_has_crashed(tmp_path: Path, quick_record: Path) -> None:
    edit(quick_record, "log.write_text(text)", f"log.write_bytes(bytes({2 * small_disk.ROOM}))")
    plan = plan_for(tmp_path, quick_record)
    with small_disk.mounted(tmp_path / "scratch"):
        record = run(tmp_path, plan)
    assert (record.outcome, record.note) == (TrialOutcome.CRASHED, "exit 1")


def test_a_candidate_that_fills_the_file_system_that_its_runner_shares_has_crashed(
    tmp_path: Path, quick_record: Path
) -> None:
    """Nobody can tell then who took the last of it: a bad draw must not become void by that."""
    fill = "with contextlib.suppress(OSError):\n    [open('fill', 'ab', 0).write(bytes(4096)) for _ in range(999)]"
    edit(quick_record, "log.write_text(text)", f"log.write_text(text)\n{fill}")
    edit(quick_record, "import random", "import contextlib\nimport random")
    with small_disk.mounted(tmp_path / "shared") as shared:
        plan = plan_for(shared, quick_record).model_copy(update={"patience_s": 0.2})
        assert exit_code(shared, plan) == 1
        assert ended(plan, 1).candidate.outcome is TrialOutcome.CRASHED


def exit_code(folder: Path, plan: TrialPlan) -> int:
    """How the runner of the second task ends as a process."""
    store.write(folder.parent / "plan.json", plan)
    try:
        trial.main(str(folder.parent / "plan.json"), "1")
    except SystemExit as end:
        return int(end.code or 0)
    except OSError:
        return 1
    return 0


def ended(plan: TrialPlan, code: int) -> Block:
    """What is made of the second task by the scheduler's word."""
    now = datetime.now(UTC)
    attempt = Attempt(
        raw_id="5", job_id="5", job_name="test", task=1, state=JobState.FAILED, exit_code=code, elapsed_s=1, gpus=0,
        submitted=now, started=now, ended=now, node="fake1",
    )  # fmt: skip
    return collect(plan, Left(retime.trial_of, "jobs"), [attempt], None)[1]
