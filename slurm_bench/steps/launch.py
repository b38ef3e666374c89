"""`command=run`: start a session here or as a Slurm job, or go on with one that stopped."""

import logging
import math
import uuid
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import processes, store
from slurm_bench.effects.cluster import Cluster, Job, python_command
from slurm_bench.steps import judge, report, retime, session, site
from slurm_bench.steps.ledger import Ledger, Shrinkable
from slurm_bench.words.config import Config
from slurm_bench.words.errors import AgentFailed, BenchError, BudgetExceeded, InfrastructureError, UsageError
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState

log = logging.getLogger(__name__)

_LEAST_MINUTES = 10
"""Below this an agent is not started for what is left of a budget."""


def perform(config: Config) -> None:
    """
    Raises:
        BenchError: with the exit code of what went wrong.
    """
    site.make_absolute(config)
    paths = SessionPaths(config.session_dir)
    follow = config.cluster.follow
    if paths.begun():
        config = site.load_config(paths)
        log.info("going on with %s, by the configuration that it began with", paths.root)
    cluster = site.check(config)
    judge.check(config)
    opened = _open(config, paths)
    log.info("session %s in %s", config.session, paths.root)
    if opened.state is not SessionState.FINISHED:
        if config.cluster.kind == "local" or _needs_its_desk_alone(config, paths, cluster, opened):
            session.run(paths.root)
        elif not _run_as_job(config, paths, cluster, follow):
            return
    campaign = CampaignPaths(paths.root.parent)
    sessions = report.write(campaign)
    report.show(campaign, [summary for summary in sessions if summary.session.name == config.session])
    _raise_what_failed(paths)


def _needs_its_desk_alone(config: Config, paths: SessionPaths, cluster: Cluster, opened: Session) -> bool:
    """Whether only what its agent handed in is left to answer, and no job of the session does: that needs no GPU."""
    if opened.agent_exit_code is None:
        return False
    ledger = site.ledger_of(config, paths, cluster)
    ledger.settle_finished()
    return not [entry for entry in ledger.entries() if entry.kind == "session" and entry.settled_at is None]


def _run_as_job(config: Config, paths: SessionPaths, cluster: Cluster, follow: bool) -> bool:
    """Queue the session's job and, if asked to, stay with it; return whether it is over."""
    try:
        name = _queue(config, paths, cluster)
    except BudgetExceeded as error:
        if not _has_run(config, paths, cluster):
            raise
        _end_for_good(paths, str(error))
        return True
    if follow:
        _follow(config, paths, cluster, name)
        if store.read(paths.session, Session).agent_exit_code is not None:
            session.run(paths.root)  # its job ended before the last verdict
    else:
        log.info("queued as %s; its log will be %s", name, paths.log)
        log.info("cluster.follow=true session=%s stays with it; scancel --name=%s ends it", config.session, name)
    return follow


def _has_run(config: Config, paths: SessionPaths, cluster: Cluster) -> bool:
    entries = site.ledger_of(config, paths, cluster).entries()
    return any(entry.kind == "session" for entry in entries)


def _end_for_good(paths: SessionPaths, why: str) -> None:
    """End a session whose budget does not pay for its agent any longer; what it handed in is still answered."""
    log.info("the budget is spent: %s", why)
    left = store.read(paths.session, Session)
    store.write(paths.session, left.model_copy(update={"agent_exit_code": 0, "agent_ended_by": "the budget is spent"}))
    session.run(paths.root)


def _raise_what_failed(paths: SessionPaths) -> None:
    """What went wrong in the session, here or in its job, with the exit code that goes with it."""
    ended = store.read(paths.session, Session)
    if ended.problem:
        problem = BenchError(ended.problem)
        problem.exit_code = ended.problem_exit_code
        raise problem
    if ended.state is not SessionState.FINISHED:
        raise InfrastructureError(f"the session did not finish; see {paths.jobs} and {paths.log}")
    if ended.agent_exit_code:
        raise AgentFailed(f"the agent ended with exit code {ended.agent_exit_code}; see {paths.agent_log}")


def _open(config: Config, paths: SessionPaths) -> Session:
    try:
        site.save_config(paths, config)
    except OSError as error:
        raise UsageError(f"runs: {error}") from None
    return store.once(
        paths.session,
        Session,
        lambda: Session(
            id=uuid.uuid4().hex[:12],
            name=config.session,
            campaign=config.campaign,
            revision=_revision(),
            state=SessionState.RUNNING,
            started=datetime.now(UTC),
        ),
    )


def _revision() -> str:
    """Git revision of this code, `-dirty` where it was edited; empty outside a checkout."""
    checkout = Path(__file__).parents[2]
    try:
        done = processes.run(["git", "-C", str(checkout), "describe", "--always", "--dirty"], timeout_s=10)
    except (FileNotFoundError, processes.TimedOut):
        return ""
    return done.stdout.strip() if done.exit_code == 0 else ""


def _queue(config: Config, paths: SessionPaths, cluster: Cluster) -> str:
    """Queue the session's job unless one is queued or running; return its name."""
    ledger = site.ledger_of(config, paths, cluster)
    with store.lock(paths.launch_lock):
        ledger.settle_finished()
        links = [entry for entry in ledger.entries() if entry.kind == "session"]
        settled = [entry for entry in links if entry.settled_at is not None]
        identity = store.read(paths.session, Session).id
        job = Job(
            # A link that is not over keeps its name: it is found again, queued or not.
            name=f"slurm_bench-{identity}-session{len(settled) + 1}",
            folder=paths.jobs,
            command=python_command("slurm_bench.steps.session", str(paths.root)),
            tasks=1,
            gpus=config.cluster.session_gpus,
            node_gpus=config.cluster.node_gpus,
            exclusive=False,
            limit_minutes=math.ceil(config.cluster.session_hours * 60),
        )
        entry = ledger.run_to_queue("session", job, _shrinkable(config, cluster))
        if entry.limit_s < job.limit_s:
            log.info("its time limit is cut to what the budget leaves: %d minutes", entry.limit_s // 60)
        return entry.job_name


def _shrinkable(config: Config, cluster: Cluster) -> Shrinkable:
    """An agent that can hand nothing in any more is of no use: one submission has to be left."""
    counts = "retiming" in config.budget.counts
    keep = retime.worst_case_h100_hours(config, cluster.overrun_s) if counts else 0.0
    return Shrinkable(_LEAST_MINUTES, keep)


def _follow(config: Config, paths: SessionPaths, cluster: Cluster, name: str) -> None:
    """Say what the session's own log says until its job is over."""
    news = _Tail(paths.log)
    ledger: Ledger = site.ledger_of(config, paths, cluster)
    try:
        ledger.wait_until_over(name, config.cluster.poll_seconds, lambda states: news.show())
    except KeyboardInterrupt:
        log.info("the session itself goes on as a job; scancel --name=%s ends it", name)
        raise
    left = store.read(paths.session, Session)
    if left.state is SessionState.RUNNING:  # its job was killed before it could write that down
        store.write(paths.session, left.model_copy(update={"state": SessionState.INTERRUPTED}))


class _Tail:
    """New lines of a growing file, to the log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def show(self) -> None:
        if not self._path.exists():
            return
        with self._path.open() as stream:
            stream.seek(self._offset)
            whole, _, _ = stream.read().rpartition("\n")
        for line in whole.splitlines():
            _, _, message = line.partition(" ")
            log.info("%s", message)
        self._offset += len(f"{whole}\n".encode()) if whole else 0
