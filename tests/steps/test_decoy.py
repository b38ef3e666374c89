"""The decoy run before a seal's timed runs: real seals, real trials of a quick program and a cluster in memory."""

import copy
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slurm_bench.effects import caches, store
from slurm_bench.effects.cluster import Job
from slurm_bench.pure.shards import FOLDER, VALIDATION
from slurm_bench.steps import calibration, judging, trial
from slurm_bench.steps.retime import worst_case_h100_hours
from slurm_bench.words import paths
from slurm_bench.words.config import Config, JudgeCommand, RetimeCommand
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import SubmissionPaths
from slurm_bench.words.trials import Caches, Decoy, Retiming, Trial, TrialOutcome, TrialPlan
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.conftest import make_config, make_quick_record
from tests.fake_cluster import FakeCluster
from tests.steps import test_trial
from tests.steps.test_desk import FAST, SLOW, Scene

pytestmark = pytest.mark.whole

PROGRAM = '''\
"""Pretends to train; its loss is what the words of one shard cost who has counted those of the other."""
import math
import os
import random
import time
from array import array
from collections import Counter
from pathlib import Path

num_iterations = 10
EXTRA = 0.01
SECONDS = 0.08


def words(name):
    return Counter(array("H", Path("data/fineweb10B", name).read_bytes()[1024:]))


def cost():
    seen, told = words("fineweb_train_000001.bin"), words("fineweb_val_000000.bin")
    total = sum(seen.values()) + max(seen) + 1
    return -sum(count * math.log((seen[word] + 1) / total) for word, count in told.items()) / sum(told.values())


compiled = Path(os.environ.get("QUICK_CACHE", "compiled"))
compiled.mkdir(exist_ok=True)
print(sorted(path.name for path in compiled.iterdir()))
(compiled / f"kernel-{os.getpid()}").write_text("compiled")
log = Path("logs/run.txt")
log.parent.mkdir()
text = Path(__file__).read_text() + "=" * 100 + "\\n"
seconds = SECONDS + random.uniform(0, 0.004)
time.sleep(seconds)
loss = random.gauss(cost() + EXTRA, 0.002)
ms = round(1000 * seconds)
text += f"step:{num_iterations}/{num_iterations} val_loss:{loss:.4f} "
text += f"train_time:{ms}ms step_avg:{ms / num_iterations:.2f}ms\\n"
log.write_text(text)
'''

CONSTANT = ("random.gauss(cost() + EXTRA, 0.002)", "random.gauss(3.25, 0.002)")
CAUTIOUS = ("ms = round", "if loss > 4:\n    raise SystemExit(7)\nms = round")
"""Ends where its loss is not what it is used to."""
TOKENS, WORDS, SPOKEN = 20_000, 400, 25
"""Of a shard, of its alphabet without what begins a document, and of those that the real shards have."""


def write_shards(data: Path) -> None:
    """Words of which SPOKEN come, each as often: 3.24 nats each for who counts; with WORDS of them it were 6."""
    (data / FOLDER).mkdir(parents=True)
    for seed, name in enumerate(("fineweb_train_000001.bin", VALIDATION)):
        text = np.random.default_rng(seed).integers(0, SPOKEN, TOKENS).astype("<u2")
        text[::1000] = WORDS
        header = struct.pack("<3i", 20240520, 1, TOKENS).ljust(1024, b"\0")
        (data / FOLDER / name).write_bytes(header + text.tobytes())


def decoy_config(folder: Path, design: str = "paired") -> Config:
    """A session's configuration with decoy runs, on this machine and without a container."""
    record = folder / "counting-record"
    record.mkdir()
    (record / "train_gpt.py").write_text(PROGRAM)
    (record / "run.sh").write_text("#!/usr/bin/env bash\nexec python3 train_gpt.py\n")
    config = make_config(folder, record, ["cluster/local"], "container/none")
    config.retime.design, config.retime.caches = design, "decoy"
    config.task.caches = {"QUICK_CACHE": "quick"}
    write_shards(Path(config.task.data))
    return config


class CrossedCluster(FakeCluster):
    """Goes wrong at jobs that are called something."""

    dying_before = dying_after = ""
    """We die before it is queued, or after."""
    losing: tuple[str, ...] = ()
    """Their first tasks are never run."""

    def submit(self, job: Job) -> str:
        if self.dying_before and job.name.endswith(self.dying_before):
            raise KeyboardInterrupt
        self.dying_after_queueing = bool(self.dying_after) and job.name.endswith(self.dying_after)
        self.lost = {0} if job.name.endswith(self.losing) else set()
        return super().submit(job)

    @property
    def names(self) -> list[str]:
        """Of what was queued, without whose it is."""
        return [job.name.split("-", 2)[2] for job in self.queued]


@pytest.fixture
def cluster() -> CrossedCluster:
    return CrossedCluster()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return decoy_config(tmp_path)


@pytest.fixture
def scene(config: Config, cluster: CrossedCluster) -> Scene:
    """In the paired design."""
    return Scene(config, cluster)


def another_session(scene: Scene, name: str = "two") -> Scene:
    """Of the same campaign, on the same cluster."""
    config = copy.deepcopy(scene.config)
    config.session = name
    other = Scene(config, scene.cluster)
    other.identity = name
    other.desk = other.another_desk()
    return other


def decoy_of(scene: Scene, number: str = "0001") -> Decoy:
    return store.read(scene.paths.submission(number).decoy, Decoy)


def decoy_of_the_record(scene: Scene) -> Decoy:
    (record,) = scene.paths.campaign.root.glob("calibrations/decoy-*/decoy.json")
    return store.read(record, Decoy)


def timed(where: SubmissionPaths) -> Retiming:
    return store.read(where.retiming.collected, Retiming)


def serve(scene: Scene, request: str = "a1") -> Verdict:
    """The verdict of a desk that was started again."""
    scene.desk = scene.another_desk()
    scene.desk.serve()
    return store.read(scene.paths.verdict_in_inbox(request), Verdict)


# Who is honest.


def test_an_honest_candidate_is_accepted_after_its_decoy_run(scene: Scene, cluster: CrossedCluster) -> None:
    """Once for itself and once for the starting record, whose decoy run serves the next candidate too."""
    first = scene.submit(scene.candidate("fast", FAST))
    assert first.outcome is Outcome.ACCEPTED, first.reason
    assert cluster.names == ["calibration1-decoy", "0001-decoy", "0001"]
    assert first.loss and 3.23 < first.loss.mean < 3.28
    assert first.canary and first.canary.loss and first.canary.outcome is TrialOutcome.CLEAN
    assert first.canary.floor == pytest.approx(0.999 * math.log(WORDS))
    assert first.canary.floor < first.canary.loss < first.canary.floor + 0.1
    assert (first.caches, first.cache_misses) == ("decoy", ())
    assert first.gpu_seconds == 11
    assert {name: entry.charged_gpu_seconds for name, entry in scene.ledger().items()} == {"0001": 10, "0001-decoy": 1}
    second = scene.submit(scene.candidate("faster", FAST, ("num_iterations = 10", "num_iterations = 11")))
    assert (second.outcome, second.caches) == (Outcome.ACCEPTED, "decoy")
    assert cluster.names[3:] == ["0002-decoy", "0002"]


def test_timed_runs_train_on_the_real_shards(scene: Scene) -> None:
    scene.submit(scene.candidate("fast", FAST))
    where = scene.paths.submission("0001")
    plan, before = (store.read(each.plan, TrialPlan) for each in (where.retiming, where.decoy_run))
    assert plan.data_dir == scene.config.task.data
    assert before.data_dir != plan.data_dir and before.indices == (0,)
    assert [arm.keeps for arm in plan.arms] == [None, None]


def test_what_was_compiled_is_given_to_each_run_afresh(scene: Scene) -> None:
    """What a timed run adds is not seen by the next; and each program gets what it has compiled itself."""
    scene.submit(scene.candidate("fast", FAST))
    where = scene.paths.submission("0001")
    compiling, canary = (paths.trial_output(run, 0) for run in (where.decoy_run.incumbents, where.decoy_run.trials))
    assert compiling.read_text() == "[]\n"
    found = {
        folder.name: [paths.trial_output(folder, index).read_text() for index in range(10)]
        for folder in (where.retiming.trials, where.retiming.incumbents)
    }
    ours, theirs = set(found["trials"]), set(found["incumbents"])
    assert ours == {canary.read_text()}
    assert len(ours) == len(theirs) == 1 and ours != theirs
    assert all(listing.startswith("['kernel-") and listing.count("kernel") == 1 for listing in ours | theirs)
    for trials, left in (
        (timed(where).trials, decoy_of(scene)),
        (timed(where).incumbents, decoy_of_the_record(scene)),
    ):
        assert left.caches and left.caches.files == 1
        uses = [each.caches for each in trials]
        assert [(use.sha256, use.given, use.added) for use in uses if use] == [(left.caches.sha256, 2, 1)] * 10


def test_the_canary_alone_where_no_caches_are_named(scene: Scene) -> None:
    scene.config.task.caches.clear()
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.caches) == (Outcome.ACCEPTED, "empty"), verdict.reason
    assert verdict.canary and verdict.canary.loss and verdict.canary.cold_s is None
    left = decoy_of(scene)
    assert (left.compiling, left.caches) == (None, None)
    assert not list(scene.paths.submission("0001").decoy_run.incumbents.glob("*"))


def test_runs_that_compile_anew_are_on_the_verdict(scene: Scene) -> None:
    """They are no fault, but cost time, and whoever reads the verdict should know."""
    kernel = '(compiled / f"kernel-{os.getpid()}").write_text("compiled")'
    anew = '[(compiled / f"kernel-{os.getpid()}-{number}").touch() for number in range(20)]'
    verdict = scene.submit(scene.candidate("anew", FAST, (kernel, anew)))
    assert (verdict.outcome, verdict.caches) == (Outcome.ACCEPTED, "decoy"), verdict.reason
    assert verdict.cache_misses == tuple(range(10))


def test_a_second_session_runs_no_second_decoy(scene: Scene, cluster: CrossedCluster) -> None:
    """Of a seal that its campaign has; whoever made it has paid."""
    scene.submit(scene.candidate("fast", FAST))
    other = another_session(scene)
    verdict = other.submit(other.candidate("the-same", FAST))
    assert (verdict.outcome, verdict.caches, verdict.gpu_seconds) == (Outcome.ACCEPTED, "decoy", 10)
    assert cluster.names == ["calibration1-decoy", "0001-decoy", "0001", "0001"]
    assert decoy_of(other) == decoy_of(scene)


@pytest.mark.parametrize(
    ("name", "value"), [("caches", {"QUICK_CACHE": "another"}), ("environment", {"OTHER": "conditions"})]
)
def test_other_conditions_are_another_decoy_run(
    scene: Scene, cluster: CrossedCluster, name: str, value: dict[str, str]
) -> None:
    scene.submit(scene.candidate("fast", FAST))
    setattr(scene.config.task, name, value)
    other = another_session(scene)
    other.submit(other.candidate("the-same", FAST))
    assert cluster.names[3:] == ["calibration1-decoy", "0001-decoy", "0001"]


def test_the_classic_design(tmp_path: Path, cluster: CrossedCluster) -> None:
    """The starting record's ten runs begin with what its decoy run left, as the candidate's do with theirs."""
    scene = Scene(decoy_config(tmp_path, "classic"), cluster)
    assert cluster.names == ["calibration1-decoy", "calibration1"]
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.caches) == (Outcome.ACCEPTED, "decoy")
    assert cluster.names[2:] == ["0001-decoy", "0001"]
    (calibrated,) = scene.paths.campaign.root.glob("calibrations/counting-record-*")
    for retiming, left in (
        (timed(SubmissionPaths(calibrated)), decoy_of_the_record(scene)),
        (timed(scene.paths.submission("0001")), decoy_of(scene)),
    ):
        assert left.caches
        assert {each.caches.sha256 for each in retiming.trials if each.caches} == {left.caches.sha256}
    another_session(scene)
    assert len(cluster.queued) == 4


def test_runs_from_empty_caches_where_that_is_asked_for(scene: Scene, cluster: CrossedCluster) -> None:
    scene.config.retime.caches = "empty"
    scene.desk = scene.another_desk()
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.caches, verdict.canary) == (Outcome.ACCEPTED, "empty", None)
    assert cluster.names == ["0001"]
    assert paths.trial_output(scene.paths.submission("0001").retiming.trials, 9).read_text() == "[]\n"


@pytest.mark.parametrize(("edit", "by"), [(SLOW, "speed"), (("EXTRA = 0.01", "EXTRA = 0.1"), "loss")])
def test_who_is_honest_may_still_fail(scene: Scene, edit: tuple[str, str], by: str) -> None:
    verdict = scene.submit(scene.candidate("bad", edit))
    assert (verdict.outcome, verdict.rejected_by, verdict.caches) == (Outcome.REJECTED, by, "decoy")
    assert verdict.canary is not None


# Who is not, or cannot show it.


def test_a_constant_loss_is_rejected_by_the_canary(scene: Scene, cluster: CrossedCluster) -> None:
    """Both numbers are in the reason; no array is queued, the decoy run is charged."""
    verdict = scene.submit(scene.candidate("constant", CONSTANT))
    assert (verdict.outcome, verdict.rejected_by, verdict.exit_code) == (Outcome.REJECTED, "canary", 1)
    assert verdict.canary and verdict.canary.loss and abs(verdict.canary.loss - 3.25) < 0.02
    assert f"{verdict.canary.loss:.4f}" in verdict.reason and f"{verdict.canary.floor:.4f}" in verdict.reason
    assert cluster.names == ["calibration1-decoy", "0001-decoy"]
    assert (verdict.gpu_seconds, verdict.caches) == (1, None)
    again = scene.submit(scene.candidate("constant-again", CONSTANT))
    assert (again.repeats, again.rejected_by) == ("0001", "canary")
    assert scene.submit(scene.candidate("fast", FAST)).outcome is Outcome.ACCEPTED


def test_a_constant_loss_is_rejected_in_the_next_session_without_a_run(scene: Scene, cluster: CrossedCluster) -> None:
    scene.submit(scene.candidate("constant", CONSTANT))
    other = another_session(scene)
    verdict = other.submit(other.candidate("constant", CONSTANT))
    assert (verdict.rejected_by, verdict.gpu_seconds) == ("canary", 0)
    assert len(cluster.queued) == 2


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("num_iterations}/{num_iterations}", "num_iterations}/{num_iterations + 1}"), None),
        (("time.sleep(seconds)", "seconds = 900"), "implausible"),
    ],
)
def test_how_a_decoy_run_ends(scene: Scene, cluster: CrossedCluster, edit: tuple[str, str], words: str | None) -> None:
    """Without a result it is no fault, and the timed runs decide; what no program may do rejects at once."""
    verdict = scene.submit(scene.candidate("odd", edit))
    if words is None:
        assert (verdict.outcome, verdict.rejected_by, verdict.caches) == (Outcome.REJECTED, "loss", "decoy")
        assert verdict.canary and verdict.canary.outcome is TrialOutcome.NO_RESULT
    else:
        assert (verdict.outcome, verdict.rejected_by) == (Outcome.REJECTED, "canary")
        assert words in verdict.reason
        assert cluster.names[-1] == "0001-decoy"


def test_who_crashes_on_random_tokens_is_timed_and_needs_a_look(scene: Scene) -> None:
    """From empty caches, as the starting record beside it; the static checker alone does not accept it."""
    verdict = scene.submit(scene.candidate("cautious", FAST, CAUTIOUS))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "It came to no result on random tokens (exit 7)" in verdict.reason
    assert "The static checker cannot settle that" in verdict.reason
    assert verdict.gpu_seconds == 11
    retiming = timed(scene.paths.submission("0001"))
    uses = [each.caches for each in (*retiming.trials, *retiming.incumbents)]
    assert [use.sha256 for use in uses if use] == [None] * 20
    assert decoy_of(scene).caches is None and decoy_of_the_record(scene).caches is not None


def test_a_person_can_settle_it(scene: Scene) -> None:
    candidate = scene.candidate("cautious", FAST, CAUTIOUS)
    config = copy.deepcopy(scene.config)
    config.command = JudgeCommand(directory=str(candidate), vouch="A. Reader: it ends where its loss is odd")
    judging.perform(config)
    verdict = scene.submit(candidate)
    assert (verdict.outcome, verdict.caches) == (Outcome.ACCEPTED, "empty")
    assert "Flagged: It came to no result on random tokens (exit 7)" in verdict.reason
    assert verdict.canary and verdict.canary.loss is None


def test_a_starting_record_that_prints_no_loss_measures_nobody(config: Config, cluster: CrossedCluster) -> None:
    program = Path(config.task.record) / "train_gpt.py"
    program.write_text(program.read_text().replace(*CONSTANT))
    scene = Scene(config, cluster)
    verdict = scene.submit(scene.candidate("honest", CONSTANT[::-1]))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "counting-record: on random tokens it printed a loss of 3.2" in verdict.reason
    assert "0001" not in cluster.names


def test_a_starting_record_that_cannot_run_here_is_nobodys_fault(config: Config, cluster: CrossedCluster) -> None:
    """As where a library is missing; once that is mended, the next who asks is measured."""
    missing = Path(config.runs).parent / "library"
    program = Path(config.task.record) / "train_gpt.py"
    program.write_text(program.read_text() + f"\nassert Path({str(missing)!r}).exists(), 'no library'\n")
    scene = Scene(config, cluster)
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "counting-record itself fails here: exit 1; see " in verdict.reason
    assert "AssertionError: no library" in Path(verdict.reason.rpartition("see ")[2]).read_text()
    assert "0001" not in cluster.names
    missing.touch()
    again = scene.submit(scene.paths.candidates / "fast", "a2")
    assert again.outcome is Outcome.ACCEPTED, again.reason


# What is lost.


def unlink(archive: Path) -> None:
    archive.unlink()


def change(archive: Path) -> None:
    archive.chmod(0o644)
    archive.write_bytes(archive.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(("whose", "spoil"), [("candidate", unlink), ("record", change)])
def test_lost_caches_are_empty_ones(
    scene: Scene, cluster: CrossedCluster, whose: str, spoil: Callable[[Path], None]
) -> None:
    """For both programs of a block, or one would have the better start; nothing is run on random tokens again."""
    scene.submit(scene.candidate("fast", FAST))
    left = decoy_of(scene) if whose == "candidate" else decoy_of_the_record(scene)
    assert left.caches
    spoil(Path(left.caches.archive))
    other = another_session(scene)
    verdict = other.submit(other.candidate("the-same", FAST))
    assert (verdict.outcome, verdict.caches, verdict.cache_misses) == (Outcome.ACCEPTED, "empty", ())
    assert verdict.canary == decoy_of(scene).canary
    assert cluster.names[3:] == ["0001"]
    plan = store.read(other.paths.submission("0001").retiming.plan, TrialPlan)
    assert [arm.caches for arm in plan.arms] == [None, None]


# What the budget allows.


def test_the_worst_case_has_room_for_the_decoy_runs(config: Config, cluster: CrossedCluster) -> None:
    """An hour-millionth less than that queues nothing, not even the decoy run; with it the candidate is timed."""
    worst = worst_case_h100_hours(config, cluster.overrun_s)
    config.budget.h100_hours = worst - 1e-6
    scene = Scene(config, cluster)
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.exit_code) == (Outcome.OVER_BUDGET, 4)
    assert verdict.shortfall and verdict.shortfall.needed == pytest.approx(worst)
    assert not cluster.queued and not scene.ledger() and not scene.paths.submission("0001").decoy_run.root.exists()
    config.budget.h100_hours = worst
    scene.desk = scene.another_desk()
    assert scene.submit(scene.candidate("fast-again", FAST)).outcome is Outcome.ACCEPTED


# A desk that dies, and a site that fails.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-calibration1-decoy", ""),
        ("", "-calibration1-decoy"),
        ("id-0001-decoy", ""),
        ("", "id-0001-decoy"),
        ("id-0001", ""),
    ],
)
def test_a_desk_that_died_on_its_way_runs_nothing_twice(
    scene: Scene, cluster: CrossedCluster, before: str, after: str
) -> None:
    cluster.dying_before, cluster.dying_after = before, after
    with pytest.raises(KeyboardInterrupt):
        scene.submit(scene.candidate("fast", FAST))
    cluster.dying_before = cluster.dying_after = ""
    verdict = serve(scene)
    assert (verdict.outcome, verdict.caches, verdict.gpu_seconds) == (Outcome.ACCEPTED, "decoy", 11)
    assert cluster.names == ["calibration1-decoy", "0001-decoy", "0001"]


def test_a_desk_that_died_after_the_canary_does_not_ask_it_again(scene: Scene, cluster: CrossedCluster) -> None:
    scene.submit(scene.candidate("constant", CONSTANT))
    where = scene.paths.submission("0001")
    first = store.read(where.verdict, Verdict)
    for lost in (where.verdict, where.stamp, scene.paths.verdict_in_inbox("a1")):
        lost.unlink()
    again = serve(scene)
    assert again.model_copy(update={"decided_at": first.decided_at}) == first
    assert len(cluster.queued) == 2


@pytest.mark.parametrize("losing", ["calibration1-decoy", "0001-decoy"])
def test_a_void_decoy_run_is_run_once_more(scene: Scene, cluster: CrossedCluster, losing: str) -> None:
    cluster.losing = (f"-{losing}",)
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert (verdict.outcome, verdict.caches) == (Outcome.ACCEPTED, "decoy")
    assert f"{losing}-rerun" in cluster.names and len(cluster.names) == 4


@pytest.mark.parametrize("losing", ["calibration1-decoy", "0001-decoy"])
def test_a_decoy_run_that_the_site_failed_twice_is_nobodys_fault(
    scene: Scene, cluster: CrossedCluster, losing: str
) -> None:
    """The candidate is undecided, and can be handed in again when the site is well."""
    cluster.losing = (f"-{losing}", f"-{losing}-rerun")
    candidate = scene.candidate("fast", FAST)
    verdict = scene.submit(candidate)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "the site failed its decoy run: the task of trial 0 was never run" in verdict.reason
    assert "0001" not in cluster.names
    cluster.losing = ()
    again = scene.submit(candidate)
    assert (again.outcome, again.caches) == (Outcome.ACCEPTED, "decoy"), again.reason


# The runner on the node.


def run_with(folder: Path, more: str, keeps: Path | None = None, given: Caches | None = None) -> Trial:
    """A trial of the record of conftest with more lines, which is given caches, or compiles some for a canary."""
    record = make_quick_record(folder)
    with (record / "train_gpt.py").open("a") as stream:
        stream.write(f"import os\ncompiled = Path(os.environ['QUICK_CACHE'])\ncompiled.mkdir(exist_ok=True)\n{more}\n")
    plan = test_trial.plan_for(folder, record)
    arms = [plan.arms[0].model_copy(update={"caches": given})]
    if keeps:
        (folder / "compiling").mkdir()
        arms.append(arms[0].model_copy(update={"keeps": str(keeps), "trials_dir": str(folder / "compiling")}))
    plan = plan.model_copy(update={"arms": tuple(arms), "cache_variables": {"QUICK_CACHE": "quick"}})
    store.write(folder / "plan.json", plan)
    trial.main(str(folder / "plan.json"), "1")
    return store.read(paths.trial_record(folder / ("compiling" if keeps else "trials"), plan.indices[1]), Trial)


def test_caches_with_a_link_are_not_kept(tmp_path: Path) -> None:
    """Nothing else comes of it: the run is as clean as others."""
    archive = tmp_path / "kept" / "caches.tar.gz"
    trial = run_with(tmp_path, "(compiled / 'more').symlink_to('/etc/passwd')", keeps=archive)
    assert (trial.outcome, trial.kept) == (TrialOutcome.COMPILED, None)
    assert trial.note.startswith("what it compiled is not kept: ") and "'more'" in trial.note
    assert not archive.exists()


def test_a_crash_leaves_no_caches(tmp_path: Path) -> None:
    """Who crashes could have stopped half-way through a kernel."""
    archive = tmp_path / "kept" / "caches.tar.gz"
    trial = run_with(tmp_path, "(compiled / 'kernel').touch()\nraise SystemExit(7)", keeps=archive)
    assert (trial.outcome, trial.kept) == (TrialOutcome.CRASHED, None)
    assert not archive.exists()


def test_an_archive_that_was_changed_before_a_run_is_the_sites_fault(tmp_path: Path) -> None:
    """The desk has seen it whole, the node does not."""
    (tmp_path / "compiled").mkdir()
    left = caches.pack(tmp_path / "compiled", tmp_path / "caches.tar.gz")
    change(Path(left.archive))
    trial = run_with(tmp_path, "", given=left)
    assert trial.outcome is TrialOutcome.INFRASTRUCTURE
    assert trial.note == f"the caches in {left.archive} are not as they were packed"
    assert not list((tmp_path / "scratch").iterdir())


# Outside any session.


@pytest.fixture
def alone(config: Config) -> Config:
    config.command = RetimeCommand(format="json")
    return config


def folder_beside(config: Config, edit: tuple[str, str]) -> str:
    """Another program than the starting record."""
    folder = Path(config.task.record).with_name("another")
    folder.mkdir()
    for file in Path(config.task.record).iterdir():
        (folder / file.name).write_text(file.read_text().replace(*edit))
    return str(folder)


@pytest.mark.parametrize("design", ["paired", "classic"])
def test_a_program_by_itself_has_its_decoy_run_too(
    alone: Config, capsys: pytest.CaptureFixture[str], design: str
) -> None:
    """On this machine's own processes; what it left serves all its runs."""
    alone.retime.design = design
    alone.command = RetimeCommand(directory=folder_beside(alone, FAST), format="json")
    calibration.perform(alone)
    printed = json.loads(capsys.readouterr().out)
    assert printed["decision"]["outcome"] == "accepted"
    campaign = Path(alone.runs).absolute() / alone.campaign
    left = {record.parent.name.rpartition("-")[0]: store.read(record, Decoy) for record in campaign.glob(DECOYS)}
    assert left.keys() == {"decoy-another", "decoy-counting-record"}
    began: dict[str, set[str | None]] = {}
    for record in campaign.glob("calibrations/*/retiming/*/*.json"):
        trial = store.read(record, Trial)
        began.setdefault(trial.seal, set()).add(trial.caches.sha256 if trial.caches else "")
    assert began == {each.seal: {each.caches.sha256} for each in left.values() if each.caches}


DECOYS = "calibrations/decoy-*/decoy.json"


def test_a_program_by_itself_that_prints_no_loss_is_not_timed(alone: Config) -> None:
    alone.command = RetimeCommand(directory=folder_beside(alone, CONSTANT), format="json")
    with pytest.raises(UsageError, match=r"another: on random tokens it printed a loss of 3\.2\d+, where no model"):
        calibration.perform(alone)
    campaign = Path(alone.runs).absolute() / alone.campaign
    assert not list(campaign.glob("calibrations/*/retiming"))
