"""A session's score: its best accepted candidate, timed afresh by the desk, on a cluster in memory."""

import copy
import dataclasses
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.pure import confirmation
from slurm_bench.steps import judging, stamping
from slurm_bench.words.config import Config, JudgeCommand
from slurm_bench.words.records import Submission, Turn
from slurm_bench.words.trials import Retiming, TrialPlan
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.fake_cluster import FakeCluster
from tests.steps.test_decoy import decoy_config
from tests.steps.test_desk import FAST, SLOW, Scene

pytestmark = pytest.mark.whole

PACED = "SECONDS = 0.08", 'import os\nSECONDS = {quick} * float(os.environ.get("PACE", "1"))'
"""As fast as it is told, so that what was accepted need not be confirmed."""


@pytest.fixture
def scene(config: Config) -> Scene:
    return Scene(config, FakeCluster())


def paced(scene: Scene, name: str, seconds: float) -> Path:
    return scene.candidate(name, (PACED[0], PACED[1].format(quick=seconds)))


def confirmations(scene: Scene) -> list[Verdict]:
    every = [store.read(path, Verdict) for path in sorted(scene.paths.submissions.glob("*/verdict.json"))]
    return [each for each in every if each.confirms]


def test_the_best_is_timed_afresh_and_its_fresh_runs_are_the_score(scene: Scene) -> None:
    good = scene.submit(paced(scene, "good", 0.06))
    better = scene.submit(paced(scene, "better", 0.04))
    scene.submit(scene.candidate("slow", SLOW))
    assert good.outcome is better.outcome is Outcome.ACCEPTED
    assert scene.desk.waits_for_confirmation
    scene.desk.confirm()
    (score,) = confirmations(scene)
    assert (score.outcome, score.submission, score.confirms) == (Outcome.ACCEPTED, "0004", "0002"), score.reason
    assert (score.confirmation, score.level, score.seal) == (1, 0.005, better.seal)
    retiming = store.read(scene.paths.submission("0004").retiming.collected, Retiming)
    assert [block.candidate.index for block in retiming.blocks] == list(range(20))
    assert len(retiming.incumbents) == 20
    entry = scene.ledger()["0004"]
    assert (entry.kind, entry.charged_gpu_seconds, score.gpu_seconds) == ("confirmation", 20, 20)
    assert not scene.desk.waits_for_confirmation
    scene.desk.confirm()
    assert len(scene.cluster.queued) == 4


def test_it_is_no_cost_of_the_agents(scene: Scene) -> None:
    """By default; what is left of its budget would not pay for it."""
    scene.submit(paced(scene, "good", 0.04))
    scene.config.budget.h100_hours = scene.retimer.ledger.balances().own.spent
    scene.config.budget.counts = ["session", "retiming", "calibration", "decoy"]
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    assert [each.outcome for each in confirmations(scene)] == [Outcome.ACCEPTED]


def test_where_it_counts_and_cannot_be_paid_it_is_left_to_the_next_call(scene: Scene) -> None:
    scene.submit(paced(scene, "good", 0.04))
    hours, scene.config.budget.h100_hours = scene.config.budget.h100_hours, 0.01
    scene.config.budget.counts = ["retiming", "confirmation"]
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    scene.config.budget.h100_hours = hours
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    assert [(each.outcome, each.confirmation) for each in confirmations(scene)] == [
        (Outcome.OVER_BUDGET, None),
        (Outcome.ACCEPTED, 1),
    ]


def test_what_fails_gives_the_turn_to_the_next_best_at_half_the_level(scene: Scene) -> None:
    scene.submit(paced(scene, "lucky", 0.03))
    scene.submit(scene.candidate("good", ("SECONDS = 0.08", "SECONDS = 0.05")))
    scene.config.task.environment = {"PACE": "3"}
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    first, second = confirmations(scene)
    assert (first.outcome, first.rejected_by, first.confirms, first.level) == (Outcome.REJECTED, "speed", "0001", 0.005)
    assert (second.outcome, second.confirms, second.level) == (Outcome.ACCEPTED, "0002", 0.0025), second.reason


def test_no_more_than_three_are_tried(scene: Scene) -> None:
    for name in ("one", "two", "three", "four"):
        scene.submit(scene.candidate(name, (PACED[0], f"# {name}\n{PACED[1].format(quick=0.04)}")))
    scene.config.task.environment = {"PACE": "3"}
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    tried = confirmations(scene)
    assert [each.outcome for each in tried] == [Outcome.REJECTED] * 3
    assert [each.confirmation for each in tried] == [1, 2, 3] and len({each.confirms for each in tried}) == 3
    assert not scene.desk.waits_for_confirmation


def test_what_the_site_failed_has_spent_its_share(scene: Scene) -> None:
    """Otherwise a program that can make a site fail would be drawn again at the same level."""
    scene.submit(paced(scene, "good", 0.04))
    scene.cluster.lost = set(range(11))
    scene.desk.confirm()
    scene.cluster.lost = set()
    scene.desk.confirm()
    undecided, score = confirmations(scene)
    assert (undecided.outcome, undecided.confirmation, undecided.level) == (Outcome.UNDECIDED, 1, 0.005)
    assert (score.outcome, score.confirmation, score.level) == (Outcome.ACCEPTED, 2, 0.0025), score.reason


def test_what_was_never_queued_has_spent_nothing(scene: Scene) -> None:
    scene.submit(paced(scene, "good", 0.04))
    scene.cluster.refusing = True
    scene.desk.confirm()
    scene.cluster.refusing = False
    scene.desk.confirm()
    unqueued, score = confirmations(scene)
    assert (unqueued.outcome, unqueued.confirmation, unqueued.level) == (Outcome.UNDECIDED, None, None)
    assert (score.confirmation, score.level) == (1, 0.005)


def test_a_void_block_is_run_once_more_in_the_order_that_was_drawn(scene: Scene) -> None:
    scene.submit(paced(scene, "good", 0.04))
    scene.cluster.lost = {7, 12}
    scene.desk.confirm()
    (score,) = confirmations(scene)
    assert (score.outcome, score.rerun) == (Outcome.ACCEPTED, (7, 12)), score.reason
    where = scene.paths.submission(score.submission).retiming
    first, again = store.read(where.plan, TrialPlan), store.read(where.rerun.plan, TrialPlan)
    assert again.candidate_first == first.candidate_first and len(first.candidate_first) == 10


def test_a_hopeless_one_is_stopped(config: Config) -> None:
    scene = Scene(config, FakeCluster(one_by_one=True))
    scene.submit(paced(scene, "lucky", 0.04))
    scene.config.task.environment = {"PACE": "4"}
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    (stopped,) = confirmations(scene)
    assert stopped.stopped is not None and "of 20 runs" in stopped.reason
    assert stopped.gpu_seconds == len(stopped.stopped.seen) <= 6


def test_a_desk_that_died_goes_on_with_the_confirmation(scene: Scene) -> None:
    scene.submit(paced(scene, "good", 0.04))
    scene.cluster.dying_after_queueing = True
    with pytest.raises(KeyboardInterrupt):
        scene.desk.confirm()
    scene.cluster.dying_after_queueing = False
    scene.desk = scene.another_desk()
    scene.desk.serve()
    assert not confirmations(scene), "a session's allocation is no place for it"
    assert scene.desk.waits_for_confirmation
    scene.desk.confirm()
    (score,) = confirmations(scene)
    assert (score.outcome, score.confirmation) == (Outcome.ACCEPTED, 1)
    assert len(scene.cluster.queued) == 2


def test_in_the_classic_design_it_is_paired_all_the_same(config: Config) -> None:
    config.retime.design = "classic"
    scene = Scene(config, FakeCluster())
    accepted = scene.submit(paced(scene, "good", 0.04))
    scene.desk.confirm()
    (score,) = confirmations(scene)
    assert accepted.speed and score.speed
    assert (accepted.speed.design, score.speed.design) == ("classic", "paired")


def test_nothing_accepted_is_nothing_to_confirm(scene: Scene) -> None:
    scene.submit(scene.candidate("slow", SLOW))
    scene.desk.confirm()
    assert not scene.desk.waits_for_confirmation and not confirmations(scene)


def test_the_agent_hears_nothing_of_it(scene: Scene) -> None:
    """Its inbox has the verdict on what it handed in, and no other."""
    accepted = scene.submit(paced(scene, "good", 0.04))
    scene.desk.confirm()
    assert [store.read(path, Verdict) for path in scene.paths.inbox.glob("a*.json")] == [accepted]


def test_its_stamp_follows_those_before_it(scene: Scene) -> None:
    scene.submit(paced(scene, "good", 0.04))
    scene.desk.confirm()
    where = scene.paths.submission("0002")
    assert store.read(where.submission, Submission).confirms == "0001"
    assert store.read(where.turn, Turn).number == 1
    stamp = stamping.of(scene.paths, scene.identity, store.read(where.verdict, Verdict))
    assert stamp.confirmation == 1 and str(where.turn.relative_to(scene.paths.root)) in stamp.files


def test_the_levels_add_up_to_less_than_one_percent() -> None:
    assert [confirmation.level(place) for place in (1, 2, 3)] == [0.005, 0.0025, 0.00125]
    assert sum(confirmation.level(place) for place in range(1, 60)) <= 0.01


def test_a_stopped_confirmation_is_begun_anew_by_the_next_desk(scene: Scene) -> None:
    """What `command=stop` cancelled is undecided; the session that goes on must not end without a score for it."""
    scene.submit(paced(scene, "good", 0.04))
    scene.cluster.cancelled, scene.cluster.dying_after_queueing = set(range(11)), True
    with pytest.raises(KeyboardInterrupt):
        scene.desk.confirm()
    scene.cluster.cancelled, scene.cluster.dying_after_queueing = set(), False
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    assert [(each.outcome, each.confirmation) for each in confirmations(scene)] == [
        (Outcome.UNDECIDED, 1),
        (Outcome.ACCEPTED, 2),
    ]


LONGER_START = "time.sleep(seconds)", "time.sleep(seconds + float(os.environ.get('START', '0')))"


def test_a_doubt_waits_for_a_person_and_nothing_is_timed_again(scene: Scene) -> None:
    """Its clean runs are kept: with a word for it the next call decides by them."""
    folder = scene.candidate("good", (PACED[0], PACED[1].format(quick=0.04)), LONGER_START)
    assert scene.submit(folder).outcome is Outcome.ACCEPTED
    scene.config.task.environment = {"START": "1.5"}
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    assert not confirmations(scene) and scene.desk.waits_for_confirmation
    config = copy.deepcopy(scene.config)
    config.command = JudgeCommand(directory=str(folder), vouch="A. Reader: the longer start is the site's")
    judging.perform(config)
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    (score,) = confirmations(scene)
    assert (score.outcome, score.confirmation) == (Outcome.ACCEPTED, 1) and "Flagged" in score.reason
    assert len(scene.cluster.queued) == 2


def test_a_session_that_spent_its_budget_in_its_own_job_gets_a_score(tmp_path: Path) -> None:
    """Its confirmation has allocations of its own, and so other decoy runs, which the session does not pay either."""
    config = decoy_config(tmp_path)
    config.retime.where, config.cluster.kind, config.cluster.session_gpus = "allocation", "slurm", 1
    scene = Scene(config, FakeCluster())
    assert scene.submit(scene.candidate("good", FAST)).outcome is Outcome.ACCEPTED
    spend_all(scene)
    scene.desk = scene.another_desk()
    scene.desk.confirm()
    (score,) = confirmations(scene)
    assert score.outcome is Outcome.ACCEPTED, score.reason
    kinds = {name: entry.kind for name, entry in scene.ledger().items() if name.startswith("0002")}
    assert kinds == {"0002": "confirmation", "0002-decoy": "confirmation"}


def spend_all(scene: Scene) -> None:
    """Charge the session's own job for all that it has."""
    timed = scene.ledger()["0001"]
    seconds = round(3600 * scene.config.budget.h100_hours)
    (attempt, *_) = timed.attempts
    attempts = (dataclasses.replace(attempt, job_name="session1", gpus=1, elapsed_s=seconds),)
    job = timed.model_copy(update={"job_name": "session1", "kind": "session", "attempts": attempts})
    store.write(scene.paths.ledger / "session1.json", job)
    assert scene.retimer.ledger.balances().own.left <= 0
