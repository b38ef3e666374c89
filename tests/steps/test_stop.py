"""What `command=stop` ends, in which order, and what it leaves: on a cluster in memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.effects.cluster import Job
from slurm_bench.effects.containers import NoContainer
from slurm_bench.effects.processes import ProcessIdentity
from slurm_bench.steps import calibration, link, site, stop, workspace
from slurm_bench.steps.books import Book
from slurm_bench.steps.calibration import Program
from slurm_bench.steps.chain import Chain
from slurm_bench.steps.experiments import Experiments, Site
from slurm_bench.steps.stop import BY_HAND, Stop
from slurm_bench.words.accounting import JobState
from slurm_bench.words.config import Config
from slurm_bench.words.errors import SchedulerError, UsageError
from slurm_bench.words.experiments import ExperimentNote, ExperimentRequest
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.trials import Retiming
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.fake_cluster import FakeCluster
from tests.steps import test_desk, test_relay
from tests.steps.test_desk import FAST


def opened(config: Config, cluster: FakeCluster) -> list[Book]:
    campaign = CampaignPaths(config.session_dir.parent)
    folders = [*members(campaign).sessions, *members(campaign).calibrations]
    return [Book(paths, config, cluster, site.ledger_of(config, paths, cluster)) for paths in folders]


def end(books: Sequence[Book], *names: str, say: Callable[[str], None] = lambda text: None) -> None:
    sessions = [book for book in books if isinstance(book.paths, SessionPaths)]
    calibrations = [book for book in books if book not in sessions]
    Stop(sessions, names, lambda: calibrations, say).perform()


class Recorded(FakeCluster):
    """Remembers what was cancelled; meanwhile something may happen."""

    def __init__(self, one_by_one: bool = False, by_hand: bool = False) -> None:
        super().__init__(one_by_one=one_by_one, by_hand=by_hand)
        self.cancels: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda name: None

    def cancel(self, name: str) -> None:
        super().cancel(name)
        self.cancels.append(name.removeprefix("slurm_bench-id-"))
        self.meanwhile(name)


@pytest.fixture
def chained(config: Config) -> Iterator[test_relay.Scene]:
    """A session whose first link runs, and whose relay waits for it."""
    scene = test_relay.Scene(config)
    scene.cluster = Recorded(by_hand=True)
    scene.chain.go_on()
    yield scene


def cancels(scene: test_relay.Scene) -> list[str]:
    assert isinstance(scene.cluster, Recorded)
    return scene.cluster.cancels


def check_stopped(scene: test_relay.Scene) -> None:
    assert all(entry.settled_at for entry in scene.chain.ledger.entries())
    assert scene.chain.ledger.balances().own.reserved == 0
    left = scene.session()
    assert (left.state, left.problem, left.problem_exit_code) == (SessionState.INTERRUPTED, BY_HAND, 3)


def test_the_relay_goes_first_and_each_job_is_cancelled_once(chained: test_relay.Scene) -> None:
    said: list[str] = []
    end(opened(chained.config, chained.cluster), "one", say=said.append)
    assert cancels(chained) == ["relay1", "session1"]
    assert "waiting for the end of slurm_bench-id-relay1, slurm_bench-id-session1" in said
    check_stopped(chained)


def test_the_same_command_goes_on_with_it(chained: test_relay.Scene) -> None:
    end(opened(chained.config, chained.cluster), "one")
    assert chained.chain.go_on() == "slurm_bench-id-session2"
    assert chained.queued() == ["session1", "relay1", "session2", "relay2"]
    assert link.of_session(chained.chain.ledger.entries())[-1].settled_at is None


def test_a_relay_that_fires_meanwhile_and_queues_another(chained: test_relay.Scene) -> None:
    """As one may that was about to wait for a better time: that takes no lock."""

    def fire(name: str) -> None:
        if name.endswith("session1"):
            chained.chain.relay_at(chained.clock.now(), chained.chain.new_name())

    assert isinstance(chained.cluster, Recorded)
    chained.cluster.meanwhile = fire
    end(opened(chained.config, chained.cluster), "one")
    assert cancels(chained) == ["relay1", "session1", "relay1-2"]
    check_stopped(chained)


def test_a_job_that_reaches_the_queue_only_after_it_was_cancelled_is_cancelled_again(chained: test_relay.Scene) -> None:
    """Its launcher was killed, and sbatch lived on."""
    (first,) = link.of_session(chained.chain.ledger.entries())
    unanswered = first.model_copy(update={"job_id": None, "queued_at": None})
    store.write(chained.paths.ledger / f"{first.job_name}.json", unanswered)
    on_its_way = chained.cluster.queued.pop(0)
    pending = chained.cluster._pending.pop(first.job_name)

    def arrive(name: str) -> None:
        if name == first.job_name and on_its_way not in chained.cluster.queued:
            chained.cluster.queued.append(on_its_way)
            chained.cluster._pending[name] = pending

    assert isinstance(chained.cluster, Recorded)
    chained.cluster.meanwhile = arrive
    end(opened(chained.config, chained.cluster), "one")
    assert cancels(chained) == ["relay1", "session1", "session1"]
    check_stopped(chained)


def test_experiments_are_cancelled_and_their_agent_is_told_when_it_goes_on(chained: test_relay.Scene) -> None:
    config, paths = chained.config, chained.paths
    config.budget.counts = ["session", "experiment"]
    asked = paths.workspace / "experiments" / "first"
    for folder in (asked, paths.experiments_outbox):
        folder.mkdir(parents=True)
    (asked / "run.sh").write_text("true")
    (Path(config.task.data) / "fineweb10B").mkdir(parents=True, exist_ok=True)

    def desk() -> Experiments:
        where = Site("id", chained.cluster, NoContainer(), chained.chain.ledger)
        return Experiments(config, paths, where, workspace.mount(paths))

    store.write(paths.experiments_outbox / "a1.json", ExperimentRequest(id="a1", path=str(asked)))
    desk().tick()
    assert chained.queued()[-1] == "experiment0001"
    end(opened(config, chained.cluster), "one")
    assert cancels(chained) == ["relay1", "session1", "experiment0001"], "after what could queue more of them"
    check_stopped(chained)
    desk().tick()
    told = store.read(paths.experiment_note("a1"), ExperimentNote)
    assert (told.state, told.exit_code, told.note) == ("over", 130, "it was cancelled")


def test_a_session_that_is_over_stays_so_and_its_relay_ends(chained: test_relay.Scene) -> None:
    chained.end("session1", JobState.COMPLETED, state=SessionState.FINISHED)
    before = chained.paths.session.read_bytes()
    end(opened(chained.config, chained.cluster), "one")
    assert cancels(chained) == ["relay1"] and chained.paths.session.read_bytes() == before
    assert all(entry.settled_at for entry in chained.chain.ledger.entries())


def test_a_silent_scheduler_leaves_what_the_next_command_ends(chained: test_relay.Scene) -> None:
    chained.cluster.silent = True
    with pytest.raises(SchedulerError, match="connection refused"):
        end(opened(chained.config, chained.cluster), "one")
    assert chained.session().problem == "" and chained.chain.ledger.balances().own.reserved > 0
    chained.cluster.silent = False
    end(opened(chained.config, chained.cluster), "one")
    check_stopped(chained)


def test_what_does_not_end_is_named(chained: test_relay.Scene) -> None:
    """E.g. on a node that does not answer: its job stays in the queue."""
    kept = dict(chained.cluster._pending)

    def resist(name: str) -> None:
        chained.cluster._pending[name] = kept[name]

    assert isinstance(chained.cluster, Recorded)
    chained.cluster.meanwhile = resist
    with pytest.raises(SchedulerError, match=r"not over by squeue and sacct: .*relay1, .*session1"):
        end(opened(chained.config, chained.cluster), "one")
    assert chained.session().problem == ""


def test_another_session_runs_on(chained: test_relay.Scene) -> None:
    config = replace(chained.config, session="two")
    beside = SessionPaths(config.session_dir)
    site.save_config(beside, config)
    store.write(beside.session, chained.session().model_copy(update={"id": "id2", "name": "two"}))
    chain = Chain(config, beside, chained.cluster)
    chain.go_on()
    end(opened(chained.config, chained.cluster), "one")
    check_stopped(chained)
    assert chain.open_job() == "slurm_bench-id2-session1"
    end(opened(chained.config, chained.cluster), "one", "two")
    assert chain.open_job() is None and store.read(beside.session, Session).problem == BY_HAND


@pytest.mark.parametrize(
    ("every", "sessions", "said"),
    [
        (False, ["one", "two"], "session: none of that name in campaign test: session=NAME of one, two; or all=true"),
        (False, [], "session: none of that name in campaign test: it has no sessions"),
        (True, [], "no sessions in FOLDER/test; name another with campaign="),
    ],
)
def test_which_sessions_there_are_is_said(tmp_path: Path, every: bool, sessions: list[str], said: str) -> None:
    campaign = CampaignPaths(tmp_path / "test")
    for name in sessions:
        store.write_text(SessionPaths(campaign.root / name).config, "")
    with pytest.raises(UsageError) as refused:
        stop._chosen("20261128-120000-scripted-0", every, members(campaign), campaign)
    assert str(refused.value) == said.replace("FOLDER", str(tmp_path))


def test_a_session_of_this_machine_alone_is_stopped_where_it_runs(config: Config) -> None:
    scene = Interrupted(config)
    scene.request(scene.candidate("fast", FAST))
    with scene.ended_after(3), pytest.raises(KeyboardInterrupt):
        scene.desk.serve()
    store.write(scene.paths.desk_process, ProcessIdentity(host="elsewhere", pid=1, created=0.0))
    with pytest.raises(UsageError, match="session one runs on elsewhere: stop it there"):
        end(opened(config, scene.cluster), "one")
    assert scene.ledger()["0001"].settled_at is None


class Interrupted(test_desk.Scene):
    """A desk that is ended in the middle of an array."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, Recorded(one_by_one=True))
        site.save_config(self.paths, config)
        begun = Session(
            id="id", name="one", campaign="test", revision="", state=SessionState.RUNNING, started=test_relay.START
        )
        store.write(self.paths.session, begun)

    def submit_and_stop(self, tasks: int) -> None:
        self.request(self.candidate("fast", FAST))
        with self.ended_after(tasks), pytest.raises(KeyboardInterrupt):
            self.desk.serve()
        self.cluster.by_hand = True  # its looks run no further task
        end(opened(self.config, self.cluster), "one")
        self.cluster.by_hand = False

    @contextmanager
    def ended_after(self, tasks: int) -> Iterator[None]:
        def watch() -> None:
            if len(list(self.paths.submission("0001").retiming.trials.glob("*.json"))) >= tasks:
                raise KeyboardInterrupt

        retimer = self.desk._retimer
        self.desk._retimer = replace(retimer, watch=watch)
        yield
        self.desk._retimer = retimer

    def go_on(self) -> Verdict:
        self.desk = self.another_desk()
        self.desk.serve()
        return store.read(self.paths.verdict_in_inbox("a1"), Verdict)


def test_a_submission_whose_array_was_stopped_is_undecided_and_may_be_asked_again(config: Config) -> None:
    scene = Interrupted(config)
    scene.submit_and_stop(3)
    assert all(entry.settled_at for entry in scene.ledger().values())
    queued = len(scene.cluster.queued)
    verdict = scene.go_on()
    assert verdict.outcome is Outcome.UNDECIDED, verdict.reason
    assert len(scene.cluster.queued) == queued, "nothing was queued for it"
    again = scene.submit(scene.paths.candidates / "fast", "a2")
    assert again.outcome is Outcome.ACCEPTED, again.reason


def test_few_blocks_that_were_stopped_are_run_once_more_on_the_record(config: Config) -> None:
    scene = Interrupted(config)
    scene.submit_and_stop(7)
    verdict = scene.go_on()
    assert verdict.outcome is Outcome.ACCEPTED, verdict.reason
    assert len(verdict.rerun) == 3


def test_a_calibration_that_another_session_needs_is_left_alone(
    classic: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene = Calibrating(classic)
    two = replace(classic, session="two")
    beside = SessionPaths(two.session_dir)
    site.save_config(beside, two)
    ledger = site.ledger_of(two, beside, scene.cluster)
    ledger.run_to_queue("session", Job("two-session1", beside.jobs, ["true"], 1, 1, 1, False, 60))
    end(opened(classic, scene.cluster), "one")
    (left,) = [entry for book in scene.calibrations() for entry in book.ledger.entries()]
    assert left.settled_at is None and "is left alone: two needs it too" in caplog.text
    scene.cluster.end("two-session1", JobState.COMPLETED)
    ledger.settle_finished()
    end(opened(classic, scene.cluster), "one")
    (ended,) = [entry for book in scene.calibrations() for entry in book.ledger.entries()]
    assert ended.settled_at is not None


def test_a_calibration_that_was_stopped_is_timed_anew_at_once(classic: Config) -> None:
    scene = Calibrating(classic)
    end(opened(classic, scene.cluster), "one")
    assert scene.cluster.cancels == [scene.cluster.queued[0].name]
    scene.cluster.by_hand = False
    assert len(scene.calibrate().trials) == 10


def test_all_ends_calibrations_that_no_session_asked_for(classic: Config) -> None:
    scene = Calibrating(classic)
    scene.paths.rests_on.unlink()
    end(opened(classic, scene.cluster), "one")
    assert scene.cluster.cancels == []
    (named,) = scene.calibrations()
    end(opened(classic, scene.cluster), "one", named.name)
    assert scene.cluster.cancels == [scene.cluster.queued[0].name]


class Calibrating:
    """A session whose desk was ended while its calibration waits."""

    def __init__(self, config: Config) -> None:
        config.cluster.poll_seconds, config.cluster.absent_grace_seconds = 0.01, 0.1
        self.config, self.cluster = config, Recorded(by_hand=True)
        self.paths = SessionPaths(config.session_dir)
        Path(config.task.data).mkdir()
        site.save_config(self.paths, config)
        begun = Session(
            id="id", name="one", campaign="test", revision="", state=SessionState.RUNNING, started=test_relay.START
        )
        store.write(self.paths.session, begun)
        self.cluster.dying_after_queueing = True
        with pytest.raises(KeyboardInterrupt):
            self.calibrate()
        self.cluster.dying_after_queueing = False

    def calibrate(self) -> Retiming:
        program = Program("quick", Path(self.config.task.record))
        payer = site.ledger_of(self.config, self.paths, self.cluster)
        return calibration.calibrate(self.config, self.cluster, NoContainer(), [program], payer=payer)

    def calibrations(self) -> list[Book]:
        return [book for book in opened(self.config, self.cluster) if book.name not in ("one", "two")]
