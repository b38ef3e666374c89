"""One agent's whole run: stage the workspace, time the incumbent, let the agent work while the desk serves.

Runs in the foreground with cluster=local, and as a job's trusted side on Slurm. Starting it again in the same
folder goes on from its records.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from slurm_bench.effects import processes, standstill, store
from slurm_bench.effects.containers import Container, Mount, Program
from slurm_bench.pure import rules
from slurm_bench.steps import agents, judge, link, site
from slurm_bench.steps.desk import Desk
from slurm_bench.steps.link import Allocation
from slurm_bench.steps.meter import Meter
from slurm_bench.steps.retime import Retimer
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BenchError, InfrastructureError, SchedulerError
from slurm_bench.words.paths import CampaignPaths, SessionPaths, shipped, starting_record
from slurm_bench.words.records import Session, SessionState

log = logging.getLogger("slurm_bench.steps.session")  # as a job's main module its __name__ is another

_DESK_POLL_S = 0.1
_AGENT_GRACE_S = 5.0
_MAX_AGENT_LOG = 2**30
_BY_SIGTERM = (-signal.SIGTERM, 128 + signal.SIGTERM)
_SIGTERM_S = 3.0


def run(folder: Path) -> Session:
    """Begin or go on with the session in this folder, and return it ended.

    Raises:
        UsageError: another process serves this session already.
        InfrastructureError: the incumbent could not be timed.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the agent was ended and that was written down.
    """
    paths = SessionPaths(folder)
    config = site.load_config(paths)
    with store.lock(paths.lock, busy=f"session {config.session} is running already (in {folder})"):
        session = store.read(paths.session, Session)
        if session.state is SessionState.FINISHED:
            return session
        with _log_file(paths.log), _sigterm_as_interrupt():
            return _Runner(config, paths, session).run()


class AllocationEnds(KeyboardInterrupt):
    """Like Ctrl-C no Exception: no verdict must be made of it."""


class _Runner:
    def __init__(self, config: Config, paths: SessionPaths, session: Session) -> None:
        self._config, self._paths, self._session = config, paths, session
        self._cluster = site.cluster_of(config)
        self._container = site.container_of(config.container)
        self._ledger = site.ledger_of(config, paths, self._cluster)
        self._agent: subprocess.Popen[bytes] | None = None
        self._is_paused = False
        """Whether the agent was ended only because its allocation is."""
        self._allocation = self._in_which_allocation()
        self._deadline = self._last_moment()
        self._meter = Meter(config, paths, self._ledger, self._deadline)
        retimer = Retimer(
            config,
            paths.seals,
            session.id,
            self._cluster,
            self._container,
            self._ledger,
            watch=self._watch,
            rest=self._agent_at_rest,
        )
        judged_by = judge.of(config, CampaignPaths(paths.root.parent).opinions, watch=self._watch)
        self._desk = Desk(config, paths, retimer, judged_by, workspace_mount(paths))

    def run(self) -> Session:
        try:
            self._keep(state=SessionState.RUNNING, problem="", problem_exit_code=0)
            record = starting_record(self._config.task.record)
            _end_leftover(self._paths)
            site.prepare_data(self._config)
            stage(self._config, self._paths, record)
            self._ledger.settle_finished()
            self._desk.take_incumbent(record)
            if self._session.agent_exit_code is None:
                self._let_agent_work()
            self._desk.close()
        except BenchError as error:
            self._keep(state=SessionState.INTERRUPTED, problem=str(error), problem_exit_code=error.exit_code)
            raise
        except BaseException as error:
            problem = str(error) or f"the session was ended by {type(error).__name__}"
            self._keep(state=SessionState.INTERRUPTED, problem=problem, problem_exit_code=InfrastructureError.exit_code)
            raise
        self._keep(state=SessionState.FINISHED, ended=datetime.now(UTC))
        log.info("session %s is over", self._session.name)
        return self._session

    def _in_which_allocation(self) -> Allocation | None:
        with suppress(SchedulerError):
            self._ledger.settle_finished()  # to know when it began
        return Allocation.of(self._ledger)

    def _last_moment(self) -> datetime:
        """When the agent is ended if it does not end by itself."""
        hours = datetime.now(UTC) + timedelta(hours=self._config.agent.hours)
        return min(hours, self._allocation.agent_ends_at) if self._allocation else hours

    def _let_agent_work(self) -> None:
        self._agent = agent = self._start_agent()
        try:
            while agent.poll() is None:
                self._desk.serve()
                self._watch()
                time.sleep(_DESK_POLL_S)
            self._watch()
            if self._is_paused:
                raise self._allocation_ends()
        finally:
            processes.end_tree(agent.pid, grace_s=_AGENT_GRACE_S)
            agent.wait()

    def _watch(self) -> None:
        """End the agent when its time or its budget is over, also while the desk waits for trials.

        Raises:
            AllocationEnds: the job's time is up.
        """
        spent, now = self._meter.read(), datetime.now(UTC)
        if self._agent and self._session.agent_exit_code is None and not self._is_paused:
            if self._agent.poll() is not None:
                self._agent_has_ended(self._agent.returncode)
            elif spent or now > self._deadline:
                self._end_agent(self._why_now(spent))
        if self._allocation and now > self._allocation.ends_at:
            raise self._allocation_ends()

    def _agent_has_ended(self, exit_code: int) -> None:
        if exit_code in _BY_SIGTERM:
            time.sleep(_SIGTERM_S)  # whoever ends our job ends the agent's step first: then we are interrupted here
        self._keep(agent_exit_code=exit_code)

    def _why_now(self, spent: bool) -> str:
        """What ends the agent for good; empty if it can go on in another allocation."""
        if not spent and (self._allocation is None or self._deadline < self._allocation.agent_ends_at):
            return "its hours are over"
        job = link.next_job(self._config, self._paths, self._session, self._ledger.entries())
        least = link.shrinkable(self._config, self._paths, self._cluster)
        affordable = self._ledger.could_afford("session", job, least)
        return "the budget is spent" if spent or not affordable else ""

    def _end_agent(self, why: str) -> None:
        assert self._agent is not None
        log.info("%s: ending the agent", why or "its allocation ends")
        if why:
            self._keep(agent_exit_code=0, agent_ended_by=why)
        self._is_paused = not why
        standstill.end(self._paths.agent_head)
        processes.end_tree(self._agent.pid, grace_s=_AGENT_GRACE_S)

    def _allocation_ends(self) -> AllocationEnds:
        assert self._allocation is not None
        limit = self._allocation.limit_minutes
        return AllocationEnds(f"the session's job ends at its limit of {limit} minutes; the same command goes on")

    def _start_agent(self) -> "subprocess.Popen[bytes]":
        program = agent_program(self._config, self._paths, self._container)
        log.info("starting the agent (%s)", self._config.agent.kind)
        recorded = standstill.recorded(self._paths.agent_head) if self._config.retime.is_nested else ()
        argv = [*self._cluster.step, *recorded, *self._container.argv(program)]
        agent = processes.start(argv, output=self._paths.agent_log, most_output=_MAX_AGENT_LOG)
        store.write(self._paths.agent_process, processes.identify(agent.pid))
        return agent

    def _agent_at_rest(self) -> AbstractContextManager[None]:
        is_there = self._agent is not None and self._agent.poll() is None
        return standstill.of(self._paths.agent_head) if is_there else nullcontext()

    def _keep(self, **changes: object) -> None:
        self._session = self._session.model_copy(update=changes)
        store.write(self._paths.session, self._session)


def workspace_mount(paths: SessionPaths) -> Mount:
    return Mount(paths.workspace, "/workspace", writable=True)


def agent_program(config: Config, paths: SessionPaths, container: Container) -> Program:
    """The agent's command line with all that it gets to see, and nothing that a verdict rests on."""
    agent, inside = agents.by_kind(config.agent.kind), container.inside
    outbox = Mount(paths.outbox, "/desk/outbox", writable=True)
    inbox = Mount(paths.inbox, "/desk/inbox")
    tools = Mount(shipped("containers") / "bin", "/opt/slurm_bench/bin")
    data = Mount(Path(config.task.data), "/workspace/data")
    workspace = workspace_mount(paths)
    folder = inside(workspace)
    environment = {
        "BENCHMARK_RUN_ID": config.session,
        "BENCHMARK_AGENT": config.agent.kind,
        "BENCHMARK_TIMEOUT_SEC": str(round(config.agent.hours * 3600)),
        "BENCHMARK_WORKSPACE": folder,
        "BENCHMARK_EXPERIMENT_DIR": f"{folder}/experiments",
        "BENCHMARK_SUBMISSION_DIR": f"{folder}/{paths.candidates.name}",
        "BENCHMARK_OUTBOX": inside(outbox),
        "BENCHMARK_INBOX": inside(inbox),
    }
    return Program(
        command=agent.command(container),
        mounts=[workspace, data, outbox, inbox, tools, *agent.mounts],
        home=Mount(paths.agent_home, "/home/agent", writable=True),
        directory=workspace,
        environment=environment,
        path=[inside(tools)],
    )


def stage(config: Config, paths: SessionPaths, record: Path) -> None:
    """Lay out the workspace: the starting record, the rules, and the folders of the contract."""
    for folder in (paths.outbox, paths.inbox, paths.agent_home, paths.candidates, paths.workspace / "experiments"):
        _move_aside(folder, unless=Path.is_dir)
        folder.mkdir(parents=True, exist_ok=True)
    for file in record.iterdir():
        target = paths.workspace / file.name
        # A session that goes on finds a workspace that was the agent's: a link in it must not lead us out.
        if file.is_file() and not os.path.lexists(target):
            shutil.copy(file, target)
    _move_aside(paths.workspace / "RULES.md", unless=Path.is_file)
    store.write_text(
        paths.workspace / "RULES.md",
        rules.as_markdown(
            config.task.target_loss, config.agent.submissions_per_hour, config.retime.level, config.retime.where
        ),
    )
    data = paths.workspace / "data"
    if config.container.kind == "none" and not data.is_symlink():
        data.symlink_to(config.task.data)
    elif config.container.kind != "none":
        data.mkdir(exist_ok=True)  # the point that the shards are mounted on


def _move_aside(path: Path, unless: Callable[[Path], bool]) -> None:
    """Make room in a workspace that was the agent's, for what we put there; a link in the way is not followed."""
    if os.path.lexists(path) and (path.is_symlink() or not unless(path)):
        path.rename(path.with_name(f"{path.name}.moved-{uuid.uuid4().hex[:8]}"))


def _end_leftover(paths: SessionPaths) -> None:
    """End the agent that a killed desk left behind; its successor takes up the same workspace."""
    leftover = store.read_if_there(paths.agent_process, processes.ProcessIdentity)
    if leftover is not None and processes.is_alive(leftover):
        log.info("ending the agent that an earlier desk left behind")
        processes.end_tree(leftover.pid, grace_s=_AGENT_GRACE_S)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
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
        run(Path(folder))
    except BenchError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
