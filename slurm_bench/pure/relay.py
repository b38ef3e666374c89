"""How a session goes on when one of its jobs is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from itertools import takewhile

from slurm_bench.words.accounting import JobState, LedgerEntry
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.records import Session, SessionState

MOST_FRUITLESS = 3
"""Links in a row in which an agent may do nothing."""
_BY_ITSELF = (JobState.COMPLETED, JobState.FAILED)


class Move(Enum):
    NEXT = auto()
    """Its next link."""
    CLOSE = auto()
    """Its desk alone: no agent, no GPU."""
    STOP = auto()
    """A person has to ask for it again, and is told why."""
    LEAVE = auto()
    """Its record says all."""


@dataclass(frozen=True)
class Decision:
    move: Move
    why: str


def decide(session: Session, before: LedgerEntry, needs_link: bool) -> Decision:
    """
    Args:
        before: the job that is over: a link, or a relay that served as its desk.
        needs_link: whether what is left to do needs an allocation: its agent, or trials inside the session's own job.
    """
    return _stays(session, before) or _goes_on(session, end_of(before), needs_link)


def _stays(session: Session, before: LedgerEntry) -> Decision | None:
    """Why nothing comes next, if nothing does."""
    ended = end_of(before)
    if session.state is SessionState.FINISHED:
        return Decision(Move.LEAVE, "the session is over")
    if ended is JobState.CANCELLED:
        return Decision(Move.STOP, "the session's job was cancelled; the same command goes on")
    if before.kind == "relay" and ended in _BY_ITSELF:
        return Decision(Move.LEAVE, "the relay before this one has said what there is to say")
    if session.problem_exit_code not in (0, InfrastructureError.exit_code):
        return Decision(Move.LEAVE, f"the session stops: {session.problem}")
    return None


def _goes_on(session: Session, ended: JobState, needs_link: bool) -> Decision:
    how = _how(session, ended)
    if not needs_link:
        return Decision(Move.CLOSE, f"the agent is over, and its desk answers what it has handed in: {how}")
    if session.fruitless_links >= MOST_FRUITLESS:
        row = f"{session.fruitless_links} links in a row in which the agent did nothing"
        return Decision(Move.STOP, f"{row}; the last one: {how}")
    return Decision(Move.NEXT, f"the session goes on in its next job: {how}")


def _how(session: Session, ended: JobState) -> str:
    if session.state is SessionState.RUNNING:
        return f"its job ended without a word ({ended}); see the last files of its folder jobs"
    return session.problem or f"its job ended ({ended})"


def end_of(entry: LedgerEntry) -> JobState:
    """How a job that is over ended; one that never began was cancelled."""
    return entry.attempts[-1].state if entry.attempts else JobState.CANCELLED


def fruitless(links: Sequence[LedgerEntry], progressed_at: datetime | None) -> int:
    """How many links in a row, up to the last one, the agent did nothing in.

    Args:
        links: oldest first; what a person cancelled does not count.
        progressed_at: when it last did something.
    """
    ran = [link for link in links if end_of(link) is not JobState.CANCELLED]
    return sum(1 for _ in takewhile(lambda link: not _saw(link, progressed_at), reversed(ran)))


def _saw(link: LedgerEntry, progressed_at: datetime | None) -> bool:
    """Whether the agent did something in it, or in a later one."""
    began = link.attempts[0].started or link.reserved_at
    return progressed_at is not None and progressed_at >= began
