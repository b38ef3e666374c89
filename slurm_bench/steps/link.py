"""A link: one Slurm job of a session, with the time limit that its budget can pay."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Cluster, Job, python_command
from slurm_bench.pure.rules import RUNS
from slurm_bench.steps import retime
from slurm_bench.steps.ledger import Ledger, Shrinkable
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState, Submission, Working

_LEAST_MINUTES = 10
"""Below this an agent is not started for what is left of a budget."""
_OPENING_S = 600.0
"""That a session may need at worst before its agent works."""
_CLOSING_S = 120.0
"""Before the end of its allocation that a session begins to end."""


def of_session(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """The links of a session, oldest first."""
    return sorted((entry for entry in entries if entry.kind == "session"), key=lambda entry: entry.reserved_at)


def still_open(entries: Iterable[LedgerEntry]) -> LedgerEntry | None:
    """The link that is queued or runs, if there is one."""
    return next((entry for entry in of_session(entries) if entry.settled_at is None), None)


def has_relay(entries: Iterable[LedgerEntry]) -> bool:
    """Whether something waits to go on with the session when its job is over."""
    return any(entry.kind == "relay" and entry.settled_at is None for entry in entries)


def has_run(entries: Iterable[LedgerEntry]) -> bool:
    """Whether the session's agent ever had an allocation."""
    return any(attempt.started for entry in of_session(entries) for attempt in entry.attempts)


def next_job(config: Config, paths: SessionPaths, session: Session, entries: Iterable[LedgerEntry]) -> Job:
    return Job(
        name=f"slurm_bench-{session.id}-session{len(of_session(entries)) + 1}",
        folder=paths.jobs,
        command=python_command("slurm_bench.steps.session", str(paths.root)),
        tasks=1,
        gpus=config.cluster.session_gpus,
        node_gpus=config.cluster.node_gpus,
        exclusive=config.retime.is_nested and config.cluster.exclusive,
        limit_minutes=min(config.cluster.session_minutes, math.ceil(_useful_s(config, paths) / 60)),
        cpu_only=not config.cluster.session_gpus,
    )


def _useful_s(config: Config, paths: SessionPaths) -> float:
    """What the agent may still work, and what comes around it."""
    working = store.read_if_there(paths.working, Working)
    left = working.deadline - working.seen_at if working else timedelta(hours=config.agent.hours)
    useful_s = _OPENING_S + max(0.0, left.total_seconds()) + _CLOSING_S
    return max(useful_s, 60.0 * least_minutes(config)) if config.retime.is_nested else useful_s


def least_minutes(config: Config) -> int:
    """The shortest job that a session is of use in: one submission can be timed, and be it there."""
    if not config.retime.is_nested:
        return _LEAST_MINUTES
    decoy_runs = 2 if config.retime.caches == "decoy" else 0
    nested = RUNS * retime.most_minutes_of_a_task(config) + decoy_runs * retime.most_minutes_of_a_decoy_run(config)
    return _LEAST_MINUTES + nested


def check(config: Config) -> None:
    """
    Raises:
        UsageError: candidates are to be timed in jobs that are too short for it.
    """
    least, got = least_minutes(config), config.cluster.session_hours * 60
    if config.retime.is_nested and got < least:
        raise UsageError(
            f"cluster.session_hours must be {least / 60:.1f} or more with retime.where=allocation, "
            f"since timing one candidate may take as long; got {config.cluster.session_hours:g}"
        )


def is_needed(config: Config, paths: SessionPaths, session: Session) -> bool:
    """Whether a session has anything left to do that needs an allocation."""
    if session.agent_exit_code is None:
        return True
    return config.retime.is_nested and session.state is not SessionState.FINISHED and _has_unanswered(paths)


def _has_unanswered(paths: SessionPaths) -> bool:
    """Whether anything that was handed in waits for its verdict; a confirmation needs no allocation of the session."""
    begun = [store.read(each.submission, Submission) for each in paths.timed() if not each.verdict.exists()]
    return any(not each.confirms for each in begun) or bool(unanswered(paths))


def unanswered(paths: SessionPaths) -> set[str]:
    """Requests in the outbox that have no verdict yet; a name that is no request's is none."""
    asked = {request.stem for request in paths.outbox.glob("*.json")}
    requests = {name for name in asked if name.isascii() and name.isalnum()}
    return {name for name in requests if not paths.verdict_in_inbox(name).exists()}


def shrinkable(config: Config, paths: SessionPaths, cluster: Cluster) -> Shrinkable:
    """An agent that can hand nothing in any more is of no use: one submission has to be left."""
    counts, keep = config.budget.counts, 0.0
    one = retime.worst_case_h100_hours(config, cluster.overrun_s)
    if "retiming" in counts:
        keep += one
    if "calibration" in counts and config.retime.design == "classic" and not paths.calibration.exists():
        keep += one  # what the first submission is compared with is timed like it
    return Shrinkable(least_minutes(config), keep)


@dataclass(frozen=True)
class Allocation:
    """The job that a session runs in, and when it has to leave it."""

    agent_ends_at: datetime
    """Early enough to end it, and to answer what it handed in if that does not take long."""
    ends_at: datetime
    """When the desk has to be gone."""
    limit_minutes: int

    @classmethod
    def of(cls, ledger: Ledger) -> "Allocation | None":
        """That of the link which is not over; None where a session runs in no job."""
        link = still_open(ledger.entries())
        if link is None:
            return None
        begun = [attempt.started for attempt in link.attempts if attempt.started]
        ends_at = max(begun, default=datetime.now(UTC)) + timedelta(seconds=link.limit_s)
        closing = timedelta(seconds=min(_CLOSING_S, link.limit_s / 4))
        return cls(ends_at - closing, ends_at - closing / 4, link.limit_s // 60)
