"""Timing in the session's own job (retime.where=allocation): at rest, for nothing, and only where there is time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from slurm_bench.effects import store
from slurm_bench.pure.rules import RUNS
from slurm_bench.steps import link, retime
from slurm_bench.words.config import Config
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState, Submission
from slurm_bench.words.verdicts import Outcome
from tests.fake_cluster import FakeCluster
from tests.steps.test_desk import FAST, Scene

pytestmark = pytest.mark.whole


@pytest.fixture
def nested(config: Config) -> Config:
    config.retime.where = "allocation"
    config.cluster.kind = "slurm"
    config.cluster.session_gpus = 1
    return config


@pytest.fixture
def scene(nested: Config) -> Scene:
    return Scene(nested, FakeCluster())


def test_it_costs_nothing_of_its_own(scene: Scene) -> None:
    """The job around it is charged for the whole time already."""
    scene.config.budget.h100_hours = 1e-9
    verdict = scene.submit(scene.candidate("fast", FAST))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.reason
    assert verdict.gpu_seconds == 0
    (job,) = scene.cluster.queued
    assert job.nested and job.held_gpus == 0
    (entry,) = scene.ledger().values()
    assert (entry.reserved_gpu_seconds, entry.charged_gpu_seconds, len(entry.attempts)) == (0, 0, 10)
    assert retime.worst_case_h100_hours(scene.config, 90) == 0


@pytest.mark.parametrize("where", ["allocation", "fresh"])
def test_the_node_is_at_rest_from_before_the_first_run_to_after_the_last(scene: Scene, where: str) -> None:
    scene.config.retime.where = where
    seen = []

    @contextmanager
    def rest() -> Iterator[None]:
        seen.append(len(list(scene.paths.submissions.rglob("trials/*.json"))))
        yield
        seen.append(len(list(scene.paths.submissions.rglob("trials/*.json"))))

    scene.desk._retimer = replace(scene.retimer, rest=rest)
    assert scene.submit(scene.candidate("fast", FAST)).outcome is Outcome.ACCEPTED
    assert seen == ([0, RUNS] if where == "allocation" else [])


@pytest.mark.parametrize("where", ["allocation", "fresh"])
def test_what_a_desk_leaves_runs_on_only_in_jobs_of_its_own(nested: Config, where: str) -> None:
    nested.retime.where = where
    scene = Scene(nested, FakeCluster(one_by_one=True))

    def interrupt() -> None:
        raise KeyboardInterrupt

    scene.desk._retimer = replace(scene.retimer, watch=interrupt)
    with pytest.raises(KeyboardInterrupt):
        scene.submit(scene.candidate("fast", FAST))
    assert bool(scene.cluster._pending["slurm_bench-id-0001"]) is (where == "fresh")


def test_what_does_not_fit_into_the_job_can_be_handed_in_again(scene: Scene) -> None:
    fast = scene.candidate("fast", FAST)
    scene.cluster.refusing = True
    refused = scene.submit(fast, "a1")
    assert refused.outcome is Outcome.UNDECIDED
    scene.cluster.refusing = False
    assert scene.submit(fast, "a2").level == 0.01


def test_a_job_is_long_enough_for_one_submission(nested: Config) -> None:
    """Two runs of a minute with five minutes around each, ten times; and ten minutes for the agent."""
    nested.cluster.session_hours = 1.9
    assert link.least_minutes(nested) == 10 + 10 * 12
    with pytest.raises(UsageError, match=r"cluster.session_hours must be 2\.2 or more"):
        link.check(nested)
    nested.retime.caches = "decoy"
    assert link.least_minutes(nested) == 10 + 10 * 12 + 2 * 12, "two decoy runs of two halves before them"
    nested.retime.design, nested.retime.caches = "classic", "empty"
    assert link.least_minutes(nested) == 10 + 10 * 6
    link.check(nested)
    nested.retime.where, nested.cluster.session_hours = "fresh", 0.01
    assert link.least_minutes(nested) == 10
    link.check(nested)


@pytest.mark.parametrize("design", ["paired", "classic"])
def test_nothing_has_to_be_left_beside_it(nested: Config, design: str) -> None:
    nested.retime.design = design
    assert link.shrinkable(nested, SessionPaths(nested.session_dir), FakeCluster()).keep == 0


def test_another_job_is_needed_for_what_waits_to_be_timed(scene: Scene) -> None:
    now = datetime.now(UTC)
    session = Session(id="id", name="one", campaign="c", revision="", state=SessionState.INTERRUPTED, started=now)
    over = session.model_copy(update={"agent_exit_code": 0})

    def needed(begun: Session) -> bool:
        return link.is_needed(scene.config, scene.paths, begun)

    assert needed(session) and not needed(over)
    scene.request(scene.candidate("fast", FAST))
    assert needed(over) and not needed(over.model_copy(update={"state": SessionState.FINISHED}))
    scene.config.retime.where = "fresh"
    assert not needed(over), "a desk alone can queue and collect"
    scene.config.retime.where = "allocation"
    scene.desk.serve()
    assert not needed(over)
    begun = Submission(number="0002", request="b", path="p", received_at=now)
    store.write(scene.paths.submission("0002").submission, begun)
    assert needed(over)
