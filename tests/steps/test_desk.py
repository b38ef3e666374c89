"""The desk's way of a submission, with real seals, real trials of a quick program and a cluster in memory."""

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.effects.cluster import Queued
from slurm_bench.effects.containers import NoContainer
from slurm_bench.pure.budget import held_gpu_seconds
from slurm_bench.steps import report, site
from slurm_bench.words.accounting import LedgerEntry, Observation
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError, StorageError, UsageError
from slurm_bench.words.paths import CalibrationPaths, CampaignPaths, shipped
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.trials import Design, Retiming, TrialPlan
from slurm_bench.words.verdicts import Outcome, Verdict
from tests import small_disk, waiting
from tests.fake_cluster import FakeCluster
from tests.scene import BaseScene

pytestmark = pytest.mark.whole

FAST = ("SECONDS = 0.08", "SECONDS = 0.04")


class Scene(BaseScene):
    """A session on a cluster in memory, without containers and with little patience."""

    cluster: FakeCluster

    def __init__(self, config: Config, cluster: FakeCluster) -> None:
        config.cluster.poll_seconds = 0.01
        config.cluster.absent_grace_seconds = 0.1
        config.cluster.silence_minutes = 0.005
        super().__init__(config, cluster, NoContainer(), "id")

    def candidate(self, name: str, *edits: tuple[str, str]) -> Path:
        return self.edited(name, edits)


@pytest.fixture
def scene(config: Config) -> Scene:
    """In the paired design."""
    return Scene(config, FakeCluster())


def test_a_faster_candidate_is_accepted_and_charged(scene: Scene) -> None:
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.reason
    assert verdict.exit_code == 0
    assert verdict.speed is not None and 0.02 < verdict.speed.saved_s < 0.06
    assert verdict.speed.design is Design.PAIRED
    assert verdict.gpu_seconds == 10
    assert {name: entry.charged_gpu_seconds for name, entry in scene.ledger().items()} == {"0001": 10}
    assert all(entry.settled_at for entry in scene.ledger().values())


@pytest.mark.parametrize(
    ("edit", "by"),
    [
        (("LOSS = 3.25", "LOSS = 3.30"), "loss"),
        (("SECONDS = 0.08", "SECONDS = 0.16"), "speed"),
        (("log.write_text(text)", "raise SystemExit(7)"), "loss"),
        (("random.gauss(LOSS, 0.002)", "float('nan')"), "loss"),
        (("time.sleep(seconds)", "seconds = 900"), "loss"),
        (("log.write_text(text)", "raise SystemExit(255)"), "loss"),
        (("{num_iterations}/{num_iterations}", "{num_iterations}/{'9' * 5000}"), "loss"),
        (("log.write_text(text)", "log.parent.rmdir()"), "loss"),
        (("log.parent.mkdir()", "log.parent.mkdir(); (log.parent / 'more.txt').write_text('')"), "loss"),
    ],
)
def test_rejections_by_the_runs(scene: Scene, edit: tuple[str, str], by: str) -> None:
    verdict = scene.submit(scene.candidate("bad", edit))
    assert (verdict.outcome, verdict.rejected_by, verdict.exit_code) == (Outcome.REJECTED, by, 1)


def test_the_judge_rejects_before_anything_is_queued(scene: Scene) -> None:
    verdict = scene.submit(scene.candidate("exec", ("num_iterations = 10", "num_iterations = 10\nexec('')")))
    assert (verdict.outcome, verdict.rejected_by) == (Outcome.REJECTED, "judge")
    assert verdict.findings[0].rule == "readable"
    assert not scene.ledger()


@pytest.mark.parametrize(
    "path",
    ["/etc", "submissions/fast", "{workspace}", "{workspace}/submissions", "{workspace}/submissions/../seals", ""],
)
def test_paths_outside_the_submissions_are_invalid(scene: Scene, path: str) -> None:
    verdict = scene.submit(path.format(workspace=scene.paths.workspace))
    assert (verdict.outcome, verdict.exit_code) == (Outcome.INVALID, 2)
    assert not scene.cluster.queued


@pytest.mark.parametrize("name", ["it's", 'say "hi"', "two\nlines", "-rf", ".hidden", "ä"])
def test_names_that_could_mislead_are_invalid(scene: Scene, name: str) -> None:
    verdict = scene.submit(scene.candidate(name))
    assert verdict.outcome is Outcome.INVALID
    assert "\n" not in verdict.reason
    assert not scene.cluster.queued


def test_the_same_seal_is_not_timed_again(scene: Scene) -> None:
    first = scene.submit(scene.candidate("slow", ("SECONDS = 0.08", "SECONDS = 0.12")))
    again = scene.submit(scene.candidate("slow-again", ("SECONDS = 0.08", "SECONDS = 0.12")), "a2")
    assert again.repeats == first.submission == "0001"
    assert "As submission 0001, whose bytes it has: " in page(scene)
    assert (again.outcome, again.speed) == (first.outcome, first.speed)
    assert len(scene.cluster.queued) == 1


def test_too_small_a_budget_queues_nothing(scene: Scene) -> None:
    scene.submit(scene.candidate("slow", ("SECONDS = 0.08", "SECONDS = 0.12")))
    scene.config.budget.h100_hours = scene.ledger()["0001"].reserved_gpu_seconds / 3600
    scene.desk = scene.another_desk()
    verdict = scene.submit(scene.candidate("fast", FAST), "a2")
    assert (verdict.outcome, verdict.exit_code) == (Outcome.OVER_BUDGET, 4)
    assert len(scene.cluster.queued) == 1
    assert list(scene.ledger()) == ["0001"]


def test_a_void_trial_is_run_once_more_on_the_record(scene: Scene) -> None:
    scene.cluster.lost = {3, 4}
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.rerun) == (Outcome.ACCEPTED, (3, 4))
    assert verdict.gpu_seconds == 8 + 2
    retiming = store.read(scene.paths.submission("0001").retiming.collected, Retiming)
    trials = retiming.trials
    assert [trial.index for trial in trials] == [trial.index for trial in retiming.incumbents] == list(range(10))
    assert trials[3].first_run_void == "the task of trial 3 was never run"
    assert not trials[5].first_run_void


def test_a_trial_that_is_void_twice_leaves_a_candidate_undecided(scene: Scene) -> None:
    scene.cluster.lost = {0, 1, 2}
    candidate = scene.candidate("fast", FAST)
    verdict = scene.submit(candidate)
    assert (verdict.outcome, verdict.exit_code) == (Outcome.UNDECIDED, 3)
    assert scene.ledger()["0001"].charged_gpu_seconds == 7
    assert scene.ledger()["0001-rerun"].charged_gpu_seconds == 0
    scene.cluster.lost = set()
    assert scene.submit(candidate, "a2").outcome is Outcome.ACCEPTED


def test_a_sick_site_runs_nothing_again(scene: Scene) -> None:
    scene.cluster.lost = set(range(6))
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "12 of 20 trials failed for reasons of the site" in verdict.reason
    assert len(scene.cluster.queued) == 1


def test_a_cancelled_task_is_not_a_crash_of_the_candidate(scene: Scene) -> None:
    scene.cluster.cancelled = {0}
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "the task of trial 0 ended CANCELLED" in verdict.reason


def test_a_requeued_task_is_charged_twice_and_counts_for_nothing(scene: Scene) -> None:
    scene.cluster.requeued = {0}
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "the task of trial 0 ran 2 times" in verdict.reason
    assert verdict.gpu_seconds == 11 + 2


def test_a_silent_scheduler_is_never_zero_usage(scene: Scene) -> None:
    scene.cluster.silent = True
    candidate = scene.candidate("fast", FAST)
    verdict = scene.submit(candidate)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "connection refused" in verdict.reason
    assert not scene.cluster.queued and not scene.ledger(), "without an answer nothing is queued"


def test_a_scheduler_that_falls_silent_releases_nothing(scene: Scene) -> None:
    scene.cluster.falling_silent = True
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "no answer for" in verdict.reason
    held = scene.ledger()["0001"]
    assert held.settled_at is None and held_gpu_seconds(held) == held.reserved_gpu_seconds > 0


def test_a_refused_sbatch_gives_its_reservation_back(scene: Scene) -> None:
    scene.cluster.refusing = True
    assert scene.submit(scene.candidate("fast", FAST)).outcome is Outcome.UNDECIDED
    assert not scene.ledger()


def test_an_exclusive_node_is_reserved_whole(config: Config) -> None:
    config.cluster.exclusive, config.cluster.node_gpus = True, 8
    scene = Scene(config, FakeCluster())
    scene.submit(scene.candidate("fast", FAST))
    assert scene.ledger()["0001"].gpus == 8


def page(scene: Scene) -> str:
    """The campaign's report, shown too."""
    campaign = CampaignPaths(scene.paths.root.parent)
    site.save_config(scene.paths, scene.config)
    now = datetime.now(UTC)
    begun = Session(id="id", name="one", campaign="test", revision="", state=SessionState.RUNNING, started=now)
    store.write(scene.paths.session, begun)
    report.show(campaign, report.of_campaign(campaign))
    return campaign.report.page.read_text()


def test_a_name_with_markup_does_not_break_the_report(scene: Scene) -> None:
    verdict = scene.submit(f"{scene.paths.candidates}/[/red]x")
    assert verdict.outcome is Outcome.INVALID
    assert "red]x" in page(scene)


def test_the_report_says_what_share_of_human_progress_was_made(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of its score, under each rule set, with its interval, where the session started from a human record."""
    scene.submit(scene.candidate("fast", FAST))
    scene.config.task.record = "2025-09-03_FA3"
    assert "of human progress, all records" not in page(scene), "what is only accepted is no progress yet"
    scene.config.task.record = str(scene.record)
    scene.desk.confirm()
    speed = store.read(scene.paths.submission("0002").verdict, Verdict).speed
    assert speed is not None
    assert "human progress" not in page(scene)
    scene.config.task.record = "2025-09-03_FA3"
    said = page(scene)
    for rule_set, human_s in (("all records", 63.2192), ("objective and warm-up of the start", 28.0412)):
        low, high = 100 * speed.saved_low_s / human_s, 100 * speed.saved_high_s / human_s
        percent = f"{100 * speed.saved_s / human_s:.1f} % [{low:.1f}, {high:.1f}] of human progress"
        assert f"{percent}, {rule_set} ({human_s:.1f} s, published)" in said
    assert "of human progress, objective of the start" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("design", "words"), [("paired", "beside each of a candidate"), ("classic", "once for the campaign")]
)
def test_the_report_says_by_which_rule(config: Config, design: str, words: str) -> None:
    config.retime.design = design
    scene = Scene(config, FakeCluster())
    scene.submit(scene.candidate("fast", FAST))
    assert words in " ".join(page(scene).split())


def test_a_desk_that_died_after_sbatch_queues_nothing_twice(scene: Scene) -> None:
    scene.cluster.dying_after_queueing = True
    with pytest.raises(KeyboardInterrupt):
        scene.submit(scene.candidate("fast", FAST))
    assert scene.ledger()["0001"].job_id is None
    scene.cluster.dying_after_queueing = False
    scene.desk = scene.another_desk()
    scene.desk.serve()
    verdict = store.read(scene.paths.verdict_in_inbox("a1"), Verdict)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(scene.cluster.queued) == 1


def test_a_disk_that_is_full_while_an_array_is_awaited_leaves_its_submission(config: Config, tmp_path: Path) -> None:
    """Nothing of it is the candidate's, nor a defect of ours: the next desk goes on with what was timed."""
    with small_disk.mounted(tmp_path / "disk", 2**24) as disk:
        config.runs = str(disk / "runs")

        class FillsUp(FakeCluster):
            def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
                if self.queued and not (disk / "filler").exists():
                    small_disk.fill(disk)
                return super().look(jobs)

        scene = Scene(config, FillsUp())
        with pytest.raises(StorageError, match="No space left on device"):
            scene.submit(scene.candidate("fast", FAST))
        assert not scene.paths.submission("0001").verdict.exists()
        (disk / "filler").write_bytes(b"")
        scene.desk = scene.another_desk()
        scene.desk.serve()
        verdict = store.read(scene.paths.verdict_in_inbox("a1"), Verdict)
        assert (verdict.outcome, verdict.gpu_seconds) == (Outcome.ACCEPTED, 10)
        assert len(scene.cluster.queued) == 1


def test_a_verdict_that_did_not_reach_the_inbox_is_given_again(scene: Scene) -> None:
    verdict = scene.submit(scene.candidate("fast", FAST))
    scene.paths.verdict_in_inbox("a1").unlink()
    scene.desk = scene.another_desk()
    scene.desk.serve()
    assert store.read(scene.paths.verdict_in_inbox("a1"), Verdict) == verdict
    assert len(scene.cluster.queued) == 1


def test_every_candidate_has_the_published_level(scene: Scene) -> None:
    for request in ("a1", "a2"):
        seconds = ("SECONDS = 0.08", f"SECONDS = 0.1{request[1]}")
        verdict = scene.submit(scene.candidate(f"slow-{request}", seconds), request)
        assert (verdict.confirmation, verdict.level) == (None, 0.01)


def test_who_begins_a_block_is_drawn(scene: Scene) -> None:
    """Half of the blocks, and as the plan says: nothing that comes and goes at the pace of blocks favours either."""
    scene.submit(scene.candidate("fast", FAST))
    where = scene.paths.submission("0001").retiming
    plan, retiming = store.read(where.plan, TrialPlan), store.read(where.collected, Retiming)
    began = [
        block.candidate.index
        for block in retiming.blocks
        if block.incumbent and block.candidate.started and block.incumbent.started
        if block.candidate.started < block.incumbent.started
    ]
    assert began == list(plan.candidate_first) and len(began) == 5


def test_an_interrupted_submission_comes_first(config: Config) -> None:
    """However the agent orders or removes its requests meanwhile, and however often it may ask."""
    config.agent.submissions_per_hour = 2
    cluster = FakeCluster(one_by_one=True)
    scene = Scene(config, cluster)
    cluster.dying_after_queueing = True
    with pytest.raises(KeyboardInterrupt):
        scene.submit(scene.candidate("bad", HOPELESS))
    cluster.dying_after_queueing = False
    (scene.paths.outbox / "a1.json").unlink()
    scene.request(scene.candidate("fast", FAST), "a0")
    config.agent.submissions_per_hour = 1
    scene.desk = scene.another_desk()
    scene.desk.serve()
    first = store.read(scene.paths.submission("0001").verdict, Verdict)
    assert (first.outcome, first.gpu_seconds) == (Outcome.REJECTED, 3)
    assert first.stopped is not None, "its looks went on"
    config.agent.submissions_per_hour = 2
    scene.desk.serve()
    second = store.read(scene.paths.verdict_in_inbox("a0"), Verdict)
    assert second.outcome is Outcome.ACCEPTED
    assert len(cluster.queued) == 2


def test_a_decision_stands_though_the_scheduler_falls_silent(config: Config) -> None:
    """What the look rejected is rejected, and its array is ended as soon as somebody answers."""
    cluster = FakeCluster(one_by_one=True)
    scene = Scene(config, cluster)
    cluster.failing_at_cancel = True
    bad = scene.candidate("bad", HOPELESS)
    verdict = scene.submit(bad)
    assert (verdict.outcome, verdict.rejected_by) == (Outcome.REJECTED, "loss")
    assert verdict.stopped is not None
    assert scene.ledger()["0001"].settled_at is None
    cluster.failing_at_cancel = cluster.silent = False
    assert scene.submit(bad, "a2").repeats == "0001", "no second draw"
    assert scene.submit(scene.candidate("fast", FAST), "a3").outcome is Outcome.ACCEPTED
    look_until(scene, lambda: scene.ledger()["0001"].settled_at is not None)
    assert held_gpu_seconds(scene.ledger()["0001"]) == 3


def look_until(scene: Scene, holds: Callable[[], bool]) -> None:
    """Ask the scheduler about the session's jobs until what it says has had this effect."""

    def has_looked() -> bool:
        scene.retimer.ledger.settle_finished()
        return holds()

    waiting.until(has_looked, scene.config.cluster.poll_seconds)


def test_a_reservation_whose_sbatch_nobody_saw_is_given_back(scene: Scene) -> None:
    scene.cluster.unheard = True
    scene.submit(scene.candidate("one", FAST))
    scene.cluster.unheard = False
    assert not scene.cluster.queued and list(scene.ledger()) == ["0001"]
    look_until(scene, lambda: not scene.ledger())
    scene.submit(scene.candidate("two", FAST, ("num_iterations = 10", "num_iterations = 11")), "a2")
    assert list(scene.ledger()) == ["0002"]


HOPELESS = ("LOSS = 3.25", "LOSS = 3.30")
SLOW = ("SECONDS = 0.08", "SECONDS = 0.16")
CRASHES = ("log.write_text(text)", "raise SystemExit(7)")


@pytest.mark.parametrize(("edit", "by", "runs"), [(HOPELESS, "loss", 3), (SLOW, "speed", 3), (CRASHES, "loss", 1)])
@pytest.mark.parametrize("design", ["paired", "classic"])
def test_what_cannot_pass_any_more_is_stopped(
    config: Config, design: str, edit: tuple[str, str], by: str, runs: int
) -> None:
    config.retime.design = design
    scene = Scene(config, FakeCluster(one_by_one=True))
    verdict = scene.submit(scene.candidate("bad", edit))
    assert (verdict.outcome, verdict.rejected_by) == (Outcome.REJECTED, by)
    # Times are whole milliseconds: where the first three savings are equal, the look after the fourth run decides.
    assert verdict.stopped is not None and len(verdict.stopped.seen) in (runs, runs + (by == "speed"))
    runs = len(verdict.stopped.seen)
    assert verdict.stopped.seen == tuple(range(runs))
    assert verdict.loss is None and verdict.speed is None, "no p-value from fewer than ten runs"
    assert verdict.gpu_seconds == runs
    entry = scene.ledger()["0001"]
    assert entry.settled_at and held_gpu_seconds(entry) == runs, "the reservation of the rest is released"
    retiming = store.read(scene.paths.submission("0001").retiming.collected, Retiming)
    assert [trial.outcome.value for trial in retiming.trials[runs:]] == ["stopped"] * (10 - runs)


def test_a_good_candidate_is_not_stopped(config: Config) -> None:
    scene = Scene(config, FakeCluster(one_by_one=True))
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.stopped, verdict.gpu_seconds) == (Outcome.ACCEPTED, None, 10)


def test_stopping_can_be_switched_off(config: Config) -> None:
    config.retime.stop_below = 0
    scene = Scene(config, FakeCluster(one_by_one=True))
    verdict = scene.submit(scene.candidate("bad", HOPELESS))
    assert (verdict.outcome, verdict.stopped, verdict.gpu_seconds) == (Outcome.REJECTED, None, 10)
    assert verdict.loss is not None and verdict.loss.p_value > 0.9


def test_a_desk_that_died_before_it_could_cancel_goes_on_to_cancel(config: Config) -> None:
    cluster = FakeCluster(one_by_one=True)
    scene = Scene(config, cluster)
    cancel, cluster.cancel = cluster.cancel, die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        scene.submit(scene.candidate("bad", HOPELESS))
    assert scene.paths.submission("0001").retiming.stopped.exists()
    cluster.cancel = cancel  # type: ignore[method-assign]
    scene.desk = scene.another_desk()
    scene.desk.serve()
    verdict = store.read(scene.paths.verdict_in_inbox("a1"), Verdict)
    assert verdict.stopped is not None and verdict.stopped.seen == (0, 1, 2)
    assert verdict.gpu_seconds < 10


def die(name: str) -> None:
    raise KeyboardInterrupt


def test_an_incumbent_that_fails_beside_a_clean_run_is_the_sites(scene: Scene) -> None:
    """Of a block whose incumbent's run fails nothing counts; the verdict never blames the candidate."""
    program = scene.record / "train_gpt.py"
    program.write_text(program.read_text().replace("log.write_text(text)", "raise SystemExit(7)"))
    scene.paths.incumbent.unlink()
    scene.desk = scene.another_desk()
    verdict = scene.submit(scene.candidate("good", ("raise SystemExit(7)", "log.write_text(text)")))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "trials failed for reasons of the site: exit 7" in verdict.reason


def test_the_candidate_gets_no_better_loss_by_the_incumbents_failure(scene: Scene, tmp_path: Path) -> None:
    """A clean run whose block is run again for the incumbent's failure counts with the higher of its two losses."""
    ran = (
        f"P = Path({str(tmp_path)!r})\n"
        "OURS, THEIRS = (len(list(P.glob(f'{each}-*'))) for each in ('ours', 'theirs'))\n"
    )
    # It fails at its first run after the candidate's in a block.
    once = (
        f"{ran}(P / f'theirs-{{THEIRS}}').touch()\n"
        "if OURS > THEIRS and not (P / 'failed').exists(): (P / 'failed').touch(); raise SystemExit(7)\n"
        "log.parent.mkdir()"
    )
    seen = f"{ran}(P / f'ours-{{OURS}}').touch()\nLOSS = 3.24 if (P / 'failed').exists() else 3.27\nlog.parent.mkdir()"
    program = scene.record / "train_gpt.py"
    program.write_text(program.read_text().replace("log.parent.mkdir()", once))
    scene.paths.incumbent.unlink()
    scene.desk = scene.another_desk()
    verdict = scene.submit(scene.candidate("good", (once, seen), FAST))
    retiming = store.read(scene.paths.submission("0001").retiming.collected, Retiming)
    (index,) = verdict.rerun
    again = retiming.trials[index]
    assert again.result and again.result.val_loss < 3.25
    assert again.first_run_loss and again.first_run_loss > 3.26
    assert verdict.loss
    assert verdict.loss.mean == pytest.approx(((index + 1) * 3.27 + (9 - index) * 3.24) / 10, abs=0.005)


def calibrations(scene: Scene) -> list[CalibrationPaths]:
    return list(members(CampaignPaths(scene.paths.root.parent)).calibrations)


def test_sessions_of_a_campaign_share_the_calibration(classic: Config) -> None:
    cluster = FakeCluster()
    scene = Scene(classic, cluster)
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.reason
    assert verdict.speed is not None and verdict.speed.design is Design.CLASSIC
    assert len(cluster.queued) == 2
    classic.session = "two"
    Scene(classic, cluster)
    assert len(cluster.queued) == 2
    assert len(calibrations(scene)) == 1
    classic.session, classic.task.environment = "three", {"OTHER": "conditions"}
    Scene(classic, cluster)
    assert len(cluster.queued) == 3
    assert len(calibrations(scene)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sbatch", {"mem": "0"}),
        ("constraint", "slow"),
        ("setup", ["module load cuda"]),
        ("qos", "low"),
        ("foreign_cores", 50.0),
    ],
)
def test_other_conditions_are_another_calibration(classic: Config, name: str, value: object) -> None:
    # On a node of one's own all that vanishes of the disk counts, and others write to this one.
    classic.task.trial_gigabytes = 1000
    cluster = FakeCluster()
    Scene(classic, cluster)
    classic.session = "two"
    setattr(classic.cluster, name, value)
    Scene(classic, cluster)
    assert len(cluster.queued) == 2


def test_a_session_keeps_the_conditions_that_its_calibration_was_made_under(classic: Config) -> None:
    scene = Scene(classic, FakeCluster())
    assert scene.paths.begun()


def test_a_calibration_that_failed_is_made_anew_at_the_next_start(classic: Config) -> None:
    cluster = FakeCluster(lost={0})
    with pytest.raises(InfrastructureError, match=r"quick-record: trial 0 infrastructure: .* was never run"):
        Scene(classic, cluster)
    cluster.lost = set()
    scene = Scene(classic, cluster)
    (calibration,) = calibrations(scene)
    entries = [store.read(path, LedgerEntry) for path in sorted(calibration.ledger.glob("*.json"))]
    charges = {entry.job_name.split("-", 2)[2]: entry.charged_gpu_seconds for entry in entries}
    assert charges == {"calibration1": 9, "calibration1-rerun": 0, "calibration2": 10}


def test_an_incumbent_that_crashes_ends_the_session(classic: Config) -> None:
    Path(classic.task.record, "run.sh").write_text("exit 3\n")
    cluster = FakeCluster(one_by_one=True)
    with pytest.raises(UsageError, match="quick-record: trial 0 crashed: exit 3"):
        Scene(classic, cluster)
    (calibration,) = members(CampaignPaths(Path(classic.runs) / "test")).calibrations
    (entry,) = [store.read(path, LedgerEntry) for path in calibration.ledger.glob("*.json")]
    assert entry.charged_gpu_seconds == 1, "the first crash ends it"


def spoil_link(folder: Path) -> None:
    (folder / "more.py").symlink_to("/etc/passwd")


def spoil_large(folder: Path) -> None:
    with (folder / "more.py").open("wb") as stream:
        stream.truncate(2 * 2**30)


def spoil_program(folder: Path) -> None:
    (folder / "train_gpt.py").unlink()


def spoil_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("linked", spoil_link, "more.py: links"),
        ("large", spoil_large, "more.py: the candidate is larger than 4 MiB"),
        ("headless", spoil_program, "submissions/headless: train_gpt.py missing"),
        ("empty", spoil_all, "the folder is empty"),
        ("it's one or two", None, "names are letters"),
        ("../../../../etc", None, "not a folder directly in"),
    ],
)
def test_submit_says_in_one_line_what_is_wrong_and_exits_2(
    scene: Scene, name: str, spoil: Callable[[Path], None] | None, words: str
) -> None:
    """The real shim beside a serving desk."""
    folder = scene.paths.candidates / name
    if spoil:
        spoil(scene.candidate(name))
    environment = {"BENCHMARK_OUTBOX": str(scene.paths.outbox), "BENCHMARK_INBOX": str(scene.paths.inbox)}
    argv = [sys.executable, "-I", str(shipped("containers") / "bin" / "submit"), str(folder)]
    shim = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while shim.poll() is None:
        scene.desk.serve()
    out, err = shim.communicate()
    assert shim.returncode == 2
    assert json.loads(out)["outcome"] == "invalid"
    assert words in err and len(err.splitlines()) == 1
    assert not scene.cluster.queued


def drop_link(outbox: Path) -> None:
    (outbox / "a1.json").symlink_to("/etc/passwd")


def drop_garbage(outbox: Path) -> None:
    (outbox / "a1.json").write_text("{")


def drop_other_id(outbox: Path) -> None:
    (outbox / "a1.json").write_text(json.dumps({"version": 1, "id": "../../x", "path": "x"}))


def drop_large(outbox: Path) -> None:
    (outbox / "a1.json").write_text(json.dumps({"version": 1, "id": "a1", "path": "x" * 100_000}))


def drop_more(outbox: Path) -> None:
    (outbox / "a1.json").write_text(json.dumps({"version": 1, "id": "a1", "path": "x", "outcome": "accepted"}))


def drop_folder(outbox: Path) -> None:
    (outbox / "a1.json" / "more").mkdir(parents=True)


def drop_long_id(outbox: Path) -> None:
    name = "é" * 60
    (outbox / f"{name}.json").write_text(json.dumps({"version": 1, "id": name, "path": "x"}))


@pytest.mark.parametrize(
    "drop", [drop_folder, drop_long_id, drop_link, drop_garbage, drop_other_id, drop_large, drop_more]
)
def test_what_is_no_request_is_dropped(scene: Scene, drop: Callable[[Path], None]) -> None:
    drop(scene.paths.outbox)
    scene.desk.serve()
    assert not list(scene.paths.outbox.iterdir())
    assert not list(scene.paths.inbox.iterdir())
    assert not scene.paths.submissions.exists()


def test_a_node_that_starts_no_container_is_not_the_candidates_fault(scene: Scene) -> None:
    """A step prefix that fails stands for a node on which neither the candidate nor our own probe starts."""
    scene.cluster.step = ("false",)
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "exit 1, no container starts on this node" in verdict.reason
