"""One agent's whole run: stage the workspace, time the incumbent, let the agent work while the desk serves.

Runs in the foreground with cluster=local, and as a job's trusted side on Slurm. Starting it again in the same
folder goes on from its records.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from slurm_bench import agents
from slurm_bench.agents import prompts
from slurm_bench.effects import locking, processes, store
from slurm_bench.effects.containers import Container
from slurm_bench.pure.silence import Limits
from slurm_bench.steps import judge, link, metadata, site, workspace
from slurm_bench.steps.conversation import Conversation, Terms
from slurm_bench.steps.desk import Desk
from slurm_bench.steps.enclosure import GRACE_S, Enclosure
from slurm_bench.steps.experiments import Experiments, Site
from slurm_bench.steps.link import Allocation
from slurm_bench.steps.meter import Meter
from slurm_bench.steps.retime import Retimer
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BenchError, InfrastructureError, SchedulerError, UsageError
from slurm_bench.words.paths import CampaignPaths, SessionPaths, starting_record
from slurm_bench.words.records import Session, SessionState

log = logging.getLogger("slurm_bench.steps.session")  # as a job's main module its __name__ is another

_DESK_POLL_S = 0.1
_LONG_WAIT = timedelta(minutes=15)
LOST_NODE_S = 600.0
"""Until a file system has taken back the lock of a desk whose node is lost."""


def run(folder: Path, patience_s: float = 0) -> Session:
    """Begin or go on with the session in this folder, and return it ended.

    Args:
        patience_s: how long another process that serves it is waited for.

    Raises:
        UsageError: another process serves this session already.
        InfrastructureError: the incumbent could not be timed.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the agent was ended and that was written down.
    """
    paths = SessionPaths(folder)
    config = site.load_config(paths)
    busy = f"session {config.session} is running already (in {folder})"
    with locking.lock(paths.lock, busy, patience_s):
        session = store.read(paths.session, Session)
        if session.state is SessionState.FINISHED:
            return session
        with log_file(paths.log), _sigterm_as_interrupt(), _end_written_down(paths):
            store.write(paths.desk_process, processes.identify(os.getpid()))
            return _Runner(config, paths, session).run()


def confirm(folder: Path) -> None:
    """Time the best accepted candidate of the session in this folder afresh, unless it has a score.

    Raises:
        UsageError: it is not over, or another process serves it.
    """
    paths = SessionPaths(folder)
    config = site.load_config(paths)
    with locking.lock(paths.lock, f"session {config.session} is running (in {folder})"):
        over = store.read(paths.session, Session)
        if over.state is not SessionState.FINISHED:
            raise UsageError(f"session {config.session} is not over ({over.state}); command=run goes on with it")
        with log_file(paths.log), _sigterm_as_interrupt():
            store.write(paths.desk_process, processes.identify(os.getpid()))
            _Runner(config, paths, over).confirm()


class LeavesAllocation(KeyboardInterrupt):
    """The session goes on in another job. Like Ctrl-C no Exception: no verdict must be made of it."""


class _Runner:
    def __init__(self, config: Config, paths: SessionPaths, session: Session) -> None:
        self._config, self._paths, self._session = config, paths, session
        self._cluster = site.cluster_of(config)
        container = site.container_of(config.container)
        self._ledger = site.ledger_of(config, paths, self._cluster)
        self._agent = agents.of(config.agent)
        self._enclosure = Enclosure(config, paths, self._agent, self._cluster.step)
        self._conversation: Conversation | None = None
        self._agents_problem: Exception | None = None
        self._is_paused = False
        """Whether the agent was ended only because its allocation is."""
        self._allocation = self._in_which_allocation()
        self._experiments = self._experiments_of(container)
        waits = self._experiments.all_wait_for_gpus if self._experiments else lambda: False
        self._meter = Meter(config, paths, self._ledger, waits=waits)
        retimer = Retimer(
            config,
            paths.seals,
            session.id,
            self._cluster,
            container,
            self._ledger,
            watch=self._watch,
            rest=self._agent_at_rest,
        )
        judged_by = judge.of(config, CampaignPaths(paths.root.parent).opinions, watch=self._watch)
        self._desk = Desk(config, paths, retimer, judged_by, workspace.mount(paths))

    def run(self) -> Session:
        self._keep(state=SessionState.RUNNING, problem="", problem_exit_code=0)
        record = starting_record(self._config.task.record)
        _end_leftover(self._paths)
        site.prepare_data(self._config)
        workspace.stage(self._config, self._paths, record)
        self._ledger.settle_finished()
        self._desk.take_incumbent(record)
        if self._session.agent_exit_code is None:
            self._let_agent_work()
        if self._experiments:
            self._experiments.end()
        self._desk.close()
        if self._config.retime.confirm and self._desk.waits_for_confirmation:
            self._confirm()
        metadata.finish(self._paths, self._session)
        self._keep(state=SessionState.FINISHED, ended=datetime.now(UTC))
        log.info("session %s is over", self._session.name)
        return self._session

    def confirm(self) -> None:
        """Time what is left to be confirmed of a session that is over."""
        site.prepare_data(self._config)
        self._ledger.settle_finished()
        self._desk.take_incumbent(starting_record(self._config.task.record))
        self._desk.confirm()

    def _confirm(self) -> None:
        """Time the best candidate afresh, beside whose jobs an allocation of GPUs would only wait."""
        if self._allocation and self._config.cluster.session_gpus:
            raise LeavesAllocation(f"the agent is over, and what is left needs no GPU of its own{self._by_hand()}")
        self._desk.confirm()

    def _experiments_of(self, container: Container) -> Experiments | None:
        if not self._config.agent.experiments:
            return None
        where = Site(self._session.id, self._cluster, container, self._ledger)
        return Experiments(self._config, self._paths, where, workspace.mount(self._paths))

    def _in_which_allocation(self) -> Allocation | None:
        with suppress(SchedulerError):
            self._ledger.settle_finished()  # to know when it began
        return Allocation.of(self._ledger)

    def _let_agent_work(self) -> None:
        with self._enclosure:
            workspace.begin_history(self._paths, self._enclosure.run)
            metadata.begin(self._config, self._paths, self._session, self._agent, self._enclosure)
            self._conversation = conversation = self._new_conversation()
            try:
                while self._session.agent_exit_code is None and not self._is_paused:
                    self._desk.serve()
                    self._watch()
                    if self._agents_problem:
                        raise self._agents_problem
                    self._leave_for_a_long_wait()
                    time.sleep(_DESK_POLL_S)
            finally:
                conversation.stop()
        if self._is_paused:
            raise self._allocation_ends()

    def _new_conversation(self) -> Conversation:
        paths, agent = self._paths, self._agent
        log.info("the agent is %s; its transcript will be %s", self._config.agent.kind, paths.transcript.trace)
        first, resume = workspace.prompt(paths, agent.first_prompt), workspace.prompt(paths, (prompts.RESUME,))
        terms = Terms(first, resume, Limits.of(self._config.agent))
        return Conversation(agent, terms, self._enclosure, paths)

    def _watch(self) -> None:
        """Keep the agent going, and end it when its time or its budget is over, also while the desk waits for trials.

        Raises:
            LeavesAllocation: the job's time is up.
        """
        works = self._session.agent_exit_code is None
        spent, now = works and self._meter.read(self._acted_at), datetime.now(UTC)
        if self._conversation and works and not self._is_paused:
            self._tick(self._conversation)
            if self._conversation.over:
                over = self._conversation.over
                log.info("the agent is over: %s", over.reason or f"exit code {over.exit_code}")
                self._keep(agent_exit_code=over.exit_code, agent_ended_by=over.reason)
            elif spent or now > self._last_moment or self._enclosure.has_spent_its_tokens():
                self._end_agent(self._why_for_good(spent))
        if works and self._experiments:
            self._experiments.tick()
        if self._allocation and now > self._allocation.ends_at:
            raise self._allocation_ends()

    def _tick(self, conversation: Conversation) -> None:
        """A problem of the agent's must not become the verdict that is awaited meanwhile: it is raised afterwards."""
        try:
            if self._agents_problem is None:
                conversation.tick()
        except Exception as error:  # noqa: BLE001
            self._agents_problem = error

    @property
    def _acted_at(self) -> datetime | None:
        return self._conversation.acted_at if self._conversation else None

    @property
    def _last_moment(self) -> datetime:
        """When the agent is ended, here, if it does not end by itself."""
        deadline = self._meter.deadline
        return min(deadline, self._allocation.agent_ends_at) if self._allocation else deadline

    def _leave_for_a_long_wait(self) -> None:
        """An allocation costs as much while its agent waits for its model's service: give it back meanwhile.

        Raises:
            LeavesAllocation: the session's next job begins when the service is there again.
            InfrastructureError: none follows, and the agent's hours would be over by then.
        """
        assert self._conversation is not None
        resume_at = self._conversation.next_at
        if self._session.agent_exit_code is not None or resume_at <= datetime.now(UTC) + _LONG_WAIT:
            return
        asks = f"its model's service asks to wait until {resume_at:%Y-%m-%d %H:%M} UTC"
        if self._allocation and link.has_relay(self._ledger.entries()):
            self._keep(resume_at=resume_at)
            raise LeavesAllocation(asks)
        if resume_at > self._meter.deadline:
            raise InfrastructureError(f"{asks}, when its hours would be over; the same command goes on then")

    def _why_for_good(self, spent: bool) -> str:
        """What ends the agent for good; empty if it can go on in another allocation."""
        if self._enclosure.has_spent_its_tokens():
            return "its tokens are spent"
        if not spent and (self._allocation is None or self._meter.deadline < self._allocation.agent_ends_at):
            return "its hours are over"
        job = link.next_job(self._config, self._paths, self._session, self._ledger.entries())
        least = link.shrinkable(self._config, self._paths, self._cluster)
        affordable = self._ledger.could_afford("session", job, least)
        return "the budget is spent" if spent or not affordable else ""

    def _end_agent(self, why: str) -> None:
        assert self._conversation is not None
        log.info("%s: ending the agent", why or "its allocation ends")
        if why:
            self._keep(agent_exit_code=0, agent_ended_by=why)
        self._is_paused = not why
        self._conversation.stop()

    def _allocation_ends(self) -> LeavesAllocation:
        assert self._allocation is not None
        limit = self._allocation.limit_minutes
        return LeavesAllocation(f"the session's job ends at its limit of {limit} minutes{self._by_hand()}")

    def _by_hand(self) -> str:
        return "" if link.has_relay(self._ledger.entries()) else "; the same command goes on"

    def _agent_at_rest(self) -> AbstractContextManager[None]:
        return self._conversation.at_rest() if self._conversation else nullcontext()

    def _keep(self, **changes: object) -> None:
        self._session = self._session.model_copy(update=changes)
        store.write(self._paths.session, self._session)


@contextmanager
def _end_written_down(paths: SessionPaths) -> Iterator[None]:
    """Whatever ends a session before its time is kept in its record."""

    def stopped(state: SessionState, problem: str, exit_code: int = InfrastructureError.exit_code) -> None:
        changes = {"state": state, "problem": problem, "problem_exit_code": exit_code}
        store.write(paths.session, store.read(paths.session, Session).model_copy(update=changes))

    try:
        yield
    except LeavesAllocation as pause:
        stopped(SessionState.PAUSED, str(pause))
        raise
    except BenchError as error:
        stopped(SessionState.INTERRUPTED, str(error), error.exit_code)
        raise
    except BaseException as error:
        stopped(SessionState.INTERRUPTED, str(error) or f"the session was ended by {type(error).__name__}")
        raise


def _end_leftover(paths: SessionPaths) -> None:
    """End the agent that a killed desk left behind; its successor takes up the same workspace."""
    leftover = store.read_if_there(paths.agent_process, processes.ProcessIdentity)
    if leftover is not None and processes.is_alive(leftover):
        log.info("ending the agent that an earlier desk left behind")
        processes.end_tree(leftover.pid, grace_s=GRACE_S)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write what is logged into the session's own log too."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("slurm_bench")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """scancel and `kill` end a session as Ctrl-C does: written down, with the agent ended."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def main(folder: str, _task: str) -> None:
    """The body of the session's job; what goes wrong is its log's last line and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        run(Path(folder), LOST_NODE_S)
    except LeavesAllocation as pause:
        log.info("%s", pause)
    except BenchError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
