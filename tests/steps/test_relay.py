"""A session's chain of jobs, on a cluster in memory: what is queued after what, and never two links at once."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Job
from slurm_bench.steps import link, site
from slurm_bench.steps.chain import Chain
from slurm_bench.steps.relay import Relay
from slurm_bench.words.accounting import JobState
from slurm_bench.words.config import Config
from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState, Submission, Working
from tests.fake_cluster import FakeCluster
from tests.steps.test_meter import SetClock

LINK_H100_HOURS = (3600 + FakeCluster.overrun_s) / 3600
"""One GPU for an hour."""


class Scene:
    """A session that has begun, on a cluster whose jobs end as the test says."""

    def __init__(self, config: Config) -> None:
        config.cluster.chain, config.cluster.session_gpus = True, 1
        config.cluster.poll_seconds, config.cluster.silence_minutes = 0.01, 0.02
        config.cluster.absent_grace_seconds, config.budget.counts = 0.1, ["session"]
        self.config, self.paths = config, SessionPaths(config.session_dir)
        self.cluster, self.clock = FakeCluster(by_hand=True), SetClock()
        self.clock.time = datetime.now(UTC)  # by which its jobs begin
        site.save_config(self.paths, config)
        begun = Session(id="id", name="one", campaign="test", revision="", state=SessionState.RUNNING, started=START)
        store.write(self.paths.session, begun)

    @property
    def chain(self) -> Chain:
        """Anew each time, as by another process."""
        return Chain(self.config, self.paths, self.cluster)

    def queued(self) -> list[str]:
        return [job.name.removeprefix("slurm_bench-id-") for job in self.cluster.queued]

    def job(self, name: str) -> Job:
        (job,) = [each for each in self.cluster.queued if each.name == f"slurm_bench-id-{name}"]
        return job

    def end(self, name: str, ended: JobState, **changes: object) -> None:
        """A job ends, and leaves the session's record with these changes."""
        self.cluster.end(f"slurm_bench-id-{name}", ended)
        left = self.session()
        store.write(self.paths.session, left.model_copy(update=changes))

    def relay(self, name: str) -> bool:
        """Let it run; whether it would go on as the session's desk."""
        followed = self.job(name).command[-1]
        desk_is_left = Relay(self.config, self.paths, self.cluster, clock=self.clock).take_over(followed)
        links = link.of_session(self.chain.ledger.entries())
        assert sum(entry.settled_at is None for entry in links) <= 1, "never two links at once"
        return desk_is_left

    def pass_on(self, number: int, ended: JobState, **changes: object) -> None:
        """A link ends and its relay does its work."""
        self.end(f"session{number}", ended, **changes)
        self.relay(f"relay{number}")
        self.cluster.end(f"slurm_bench-id-relay{number}", JobState.COMPLETED)

    def session(self) -> Session:
        return store.read(self.paths.session, Session)


START = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def scene(config: Config) -> Scene:
    return Scene(config)


def test_beside_a_link_a_relay_waits_for_it_that_costs_nothing(scene: Scene) -> None:
    assert scene.chain.go_on() == "slurm_bench-id-session1"
    assert scene.queued() == ["session1", "relay1"]
    relay = scene.job("relay1")
    assert (relay.after, relay.gpus, relay.cpu_only, relay.limit_minutes) == ("1", 0, True, 60)
    assert scene.chain.go_on() == "slurm_bench-id-session1"
    assert scene.queued() == ["session1", "relay1"], "neither is queued twice"
    left = scene.chain.ledger.balances().own.left
    assert left == pytest.approx(512 - LINK_H100_HOURS), "only the link is reserved for"


@pytest.mark.parametrize(("gpus", "cpu_only"), [(0, True), (1, False)])
def test_a_session_without_gpus_is_a_job_without_gpus(scene: Scene, gpus: int, cpu_only: bool) -> None:
    scene.config.cluster.session_gpus = gpus
    scene.chain.go_on()
    assert (scene.job("session1").gpus, scene.job("session1").cpu_only) == (gpus, cpu_only)


def test_a_relay_is_queued_though_its_launcher_died_after_the_link(scene: Scene) -> None:
    scene.cluster.dying_after_queueing = True
    with pytest.raises(KeyboardInterrupt):
        scene.chain.go_on()
    assert scene.queued() == ["session1"]
    scene.cluster.dying_after_queueing = False
    assert scene.chain.go_on() == "slurm_bench-id-session1"
    assert scene.queued() == ["session1", "relay1"]


def test_without_a_chain_no_relay_is_queued(scene: Scene) -> None:
    scene.config.cluster.chain = False
    scene.chain.go_on()
    assert scene.queued() == ["session1"]


def test_a_site_that_refuses_jobs_without_gpus_only_gets_a_warning(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.cluster.gpus_only = True
    assert scene.chain.go_on() == "slurm_bench-id-session1"
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "the same command has to be given again" in warning.getMessage()
    scene.end("session1", JobState.TIMEOUT)
    assert scene.chain.go_on() == "slurm_bench-id-session2"


def test_a_dead_link_is_followed_by_the_next_with_its_own_relay(scene: Scene) -> None:
    scene.chain.go_on()
    scene.end("session1", JobState.NODE_FAIL)
    assert not scene.relay("relay1")
    assert scene.queued() == ["session1", "relay1", "session2", "relay2"]
    assert scene.job("relay2").after == "3"
    assert scene.session().fruitless_links == 1


def test_a_launch_while_a_relay_waits_queues_nothing(scene: Scene) -> None:
    scene.chain.go_on()
    scene.end("session1", JobState.TIMEOUT)
    assert scene.chain.go_on() == "slurm_bench-id-relay1"
    assert scene.queued() == ["session1", "relay1"]
    scene.end("relay1", JobState.CANCELLED)
    assert scene.chain.go_on() == "slurm_bench-id-session2", "a relay that a person cancelled has stopped the chain"


def test_a_relay_that_comes_late_leaves_the_next_link_alone(scene: Scene) -> None:
    scene.chain.go_on()
    scene.pass_on(1, JobState.TIMEOUT)
    assert not scene.relay("relay1")
    assert scene.queued() == ["session1", "relay1", "session2", "relay2"]
    assert scene.session().fruitless_links == 1


def test_a_later_relay_that_may_have_been_queued_is_not_queued_twice(scene: Scene) -> None:
    scene.chain.go_on()
    scene.end("session1", JobState.TIMEOUT)
    name = scene.chain.new_name()
    scene.cluster.dying_after_queueing = True
    with pytest.raises(KeyboardInterrupt):
        scene.chain.relay_at(scene.clock.now(), name)
    scene.cluster.dying_after_queueing = False
    scene.chain.relay_at(scene.clock.now(), name)
    assert scene.queued() == ["session1", "relay1", "relay1-2"]


def test_a_cancelled_link_stops_the_session(scene: Scene) -> None:
    scene.chain.go_on()
    scene.pass_on(1, JobState.CANCELLED)
    assert scene.queued() == ["session1", "relay1"]
    left = scene.session()
    assert (left.state, left.problem_exit_code) == (SessionState.INTERRUPTED, 3)
    assert left.problem == "the session's job was cancelled; the same command goes on"
    assert scene.chain.go_on() == "slurm_bench-id-session2"


def test_a_finished_session_is_left_alone(scene: Scene) -> None:
    scene.chain.go_on()
    scene.end("session1", JobState.COMPLETED, state=SessionState.FINISHED)
    before = scene.paths.session.read_bytes()
    assert not scene.relay("relay1")
    assert scene.queued() == ["session1", "relay1"] and scene.paths.session.read_bytes() == before
    (settled,) = link.of_session(scene.chain.ledger.entries())
    assert settled.settled_at, "what it held is free, though nobody else looks"


def test_a_paused_session_waits_without_a_job_that_runs(scene: Scene) -> None:
    scene.chain.go_on()
    resume_at = scene.clock.now() + timedelta(hours=5)
    scene.pass_on(1, JobState.COMPLETED, state=SessionState.PAUSED, resume_at=resume_at)
    assert scene.queued() == ["session1", "relay1", "relay1-2"]
    later = scene.job("relay1-2")
    assert (later.begin, later.after, later.command[-1]) == (resume_at, None, "slurm_bench-id-session1")
    assert scene.chain.go_on() == "slurm_bench-id-relay1-2"
    scene.clock.sleep(5 * 3600)
    assert not scene.relay("relay1-2")
    assert scene.queued()[3:] == ["session2", "relay2"]
    assert scene.session().fruitless_links == 0, "it was sent away"


def test_a_budget_that_is_only_reserved_is_asked_again_later(scene: Scene) -> None:
    scene.config.budget.h100_hours, scene.config.budget.counts = 1.5 * LINK_H100_HOURS, ["session", "calibration"]
    scene.chain.go_on()
    scene.end("session1", JobState.TIMEOUT)
    scene.chain.ledger.settle_finished()
    other = Job("other", scene.paths.jobs, ["true"], 1, 1, 1, False, limit_minutes=85)
    scene.chain.ledger.run_to_queue("calibration", other)
    assert not scene.relay("relay1")
    assert scene.queued() == ["session1", "relay1", "other", "relay1-2"]
    assert scene.job("relay1-2").begin == scene.clock.now() + timedelta(seconds=0.2)
    scene.end("relay1", JobState.COMPLETED)
    scene.cluster.end("other", JobState.COMPLETED)
    scene.clock.sleep(1)
    assert not scene.relay("relay1-2")
    assert scene.queued()[4:] == ["session2", "relay2"]


def test_a_spent_budget_leaves_the_desk_which_another_relay_guards(scene: Scene) -> None:
    scene.config.budget.h100_hours = 1.0
    scene.config.cluster.session_hours = 0.5
    scene.chain.go_on()
    scene.config.budget.h100_hours = 0.1
    scene.end("session1", JobState.TIMEOUT)
    assert scene.relay("relay1"), "its desk is left"
    left = scene.session()
    assert (left.agent_exit_code, left.agent_ended_by) == (0, "the budget is spent")
    assert scene.queued() == ["session1", "relay1", "relay1-2"]
    guard = scene.job("relay1-2")
    assert (guard.after, guard.command[-1]) == ("2", "slurm_bench-id-relay1")
    scene.end("relay1", JobState.TIMEOUT)
    assert scene.relay("relay1-2"), "Slurm ended the first"
    scene.end("relay1-2", JobState.FAILED)
    assert not scene.relay("relay1-3"), "the second had its say"
    assert scene.queued()[3:] == ["relay1-3"]


def test_an_agent_that_is_over_needs_no_link(scene: Scene) -> None:
    scene.chain.go_on()
    scene.end("session1", JobState.COMPLETED, state=SessionState.PAUSED, agent_exit_code=0)
    assert scene.relay("relay1")
    assert scene.queued() == ["session1", "relay1", "relay1-2"]


def test_three_links_in_which_the_agent_did_nothing_stop_the_session(scene: Scene) -> None:
    scene.chain.go_on()
    for number in (1, 2):
        scene.pass_on(number, JobState.FAILED)
    scene.pass_on(3, JobState.FAILED)
    assert scene.queued()[-2:] == ["session3", "relay3"]
    left = scene.session()
    assert (left.state, left.problem_exit_code) == (SessionState.INTERRUPTED, 3)
    assert left.problem.startswith("3 links in a row in which the agent did nothing; the last one: its job ended")


def test_links_in_which_it_did_something_may_be_many(scene: Scene) -> None:
    scene.chain.go_on()
    for number in range(1, 6):
        now = datetime.now(UTC) + timedelta(seconds=1)
        store.write(scene.paths.working, Working(deadline=now, seen_at=now, progressed_at=now))
        scene.pass_on(number, JobState.TIMEOUT)
    assert scene.queued()[-2:] == ["session6", "relay6"]
    assert scene.session().fruitless_links == 0


def test_who_hands_in_does_something(scene: Scene) -> None:
    scene.chain.go_on()
    now = datetime.now(UTC) + timedelta(seconds=1)
    handed_in = Submission(number="0001", request="1", path="/workspace/submissions/one", received_at=now)
    store.write(scene.paths.submission("0001").submission, handed_in)
    scene.pass_on(1, JobState.TIMEOUT)
    assert scene.session().fruitless_links == 0


def test_a_scheduler_that_does_not_answer_is_waited_for_and_then_said(scene: Scene) -> None:
    scene.chain.go_on()
    scene.end("session1", JobState.TIMEOUT)
    scene.cluster.silent = True
    relay = Relay(scene.config, scene.paths, scene.cluster, clock=scene.clock)
    assert not relay.take_over("slurm_bench-id-session1")
    left = scene.session()
    assert (left.state, left.problem_exit_code) == (SessionState.INTERRUPTED, SchedulerError.exit_code)
    assert "connection refused" in left.problem


@pytest.mark.parametrize(("left_h", "minutes"), [(None, 60), (0.25, 10 + 15 + 2), (-1, 12), (30, 60)])
def test_a_link_is_no_longer_than_what_its_agent_has_left(scene: Scene, left_h: float | None, minutes: int) -> None:
    if left_h is not None:
        seen = datetime.now(UTC)
        store.write(scene.paths.working, Working(deadline=seen + timedelta(hours=left_h), seen_at=seen))
    scene.chain.go_on()
    assert scene.job("session1").limit_minutes == minutes
