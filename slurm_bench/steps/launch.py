"""`command=run`: start a session here or as a Slurm job, or go on with one that stopped."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import folders, store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.steps import chain, enclosure, judge, link, metadata, session, site
from slurm_bench.steps.chain import Chain
from slurm_bench.words.config import Config
from slurm_bench.words.errors import AgentFailed, BenchError, InfrastructureError, UsageError
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState

log = logging.getLogger(__name__)


def perform(config: Config) -> None:
    """
    Raises:
        BenchError: with the exit code of what went wrong.
    """
    site.make_absolute(config)
    paths = SessionPaths(config.session_dir)
    follow = config.cluster.follow
    site.check_owner(paths)
    if paths.begun():
        config = site.load_config(paths)
        log.info("going on with %s, by the configuration that it began with", paths.root)
    else:
        config = site.with_guesses(config)
    link.check(config)
    cluster = site.check(config)
    judge.check(config)
    enclosure.check(config)
    opened = _open(config, paths)
    if opened.state is not SessionState.FINISHED:
        site.ledger_of(config, paths, cluster).refuse_unknown()
    log.info("session %s in %s", config.session, paths.root)
    if opened.state is not SessionState.FINISHED:
        if config.cluster.kind == "local":
            session.run(paths.root)
        elif not _run_as_job(config, paths, cluster, follow):
            return
    # Its tables and pages take a tenth of a second, which whatever cannot start would spend.
    from slurm_bench.steps import report  # noqa: PLC0415

    campaign = CampaignPaths(paths.root.parent)
    sessions = report.of_campaign(campaign)
    report.show(campaign, [summary for summary in sessions if summary.session.name == config.session])
    _raise_what_failed(paths)


def _run_as_job(config: Config, paths: SessionPaths, cluster: Cluster, follow: bool) -> bool:
    """Let the session go on by its next job and, if asked to, stay with it; return whether it is over."""
    jobs = Chain(config, paths, cluster)
    name = jobs.go_on()
    if name is not None and not follow:
        log.info("its job is %s; its log will be %s", name, paths.log)
        log.info("cluster.follow=true session=%s stays with it; scancel --name=%s interrupts it", config.session, name)
        return False
    if name is not None:
        _follow(paths, jobs, name)
    left = store.read(paths.session, Session)
    if left.agent_exit_code is not None and (name is None or not link.is_needed(config, paths, left)):
        session.run(paths.root)  # what its agent handed in is left to answer: that needs its desk alone, and no GPU
    return True


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
        why = ended.agent_ended_by or f"the agent ended with exit code {ended.agent_exit_code}"
        raise AgentFailed(f"{why}; see {paths.transcript.trace} and {paths.agent_log}")


def _open(config: Config, paths: SessionPaths) -> Session:
    try:
        if not paths.begun():  # its stamps rest on the bytes of it
            folders.make_own(paths.root)
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
            revision=metadata.own_revision(),
            state=SessionState.RUNNING,
            started=datetime.now(UTC),
        ),
    )


def _follow(paths: SessionPaths, jobs: Chain, name: str | None) -> None:
    """Say what the session's own log says until none of its jobs is left, or it is finished."""
    news = _Tail(paths.log)
    try:
        while name is not None and store.read(paths.session, Session).state is not SessionState.FINISHED:
            jobs.wait(name, news.show)
            name = jobs.open_job()
    except KeyboardInterrupt:
        log.info("the session itself goes on as a job; scancel --name=%s ends it", name)
        raise
    chain.amend(paths, _died)


def _died(left: Session) -> Mapping[str, object]:
    """What a session whose job was killed could not write down itself."""
    return {"state": SessionState.INTERRUPTED} if left.state is SessionState.RUNNING else {}


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
