"""How a ledger entry grows with what is seen of its job. Nothing here is released early, forgotten or guessed."""

from datetime import datetime, timedelta

from slurm_bench.pure.sacct import merged
from slurm_bench.words.accounting import Attempt, LedgerEntry, Observation


def observed(entry: LedgerEntry, seen: Observation, now: datetime, grace: timedelta) -> LedgerEntry:
    """An entry after one more answer; settled if every task is over, or was absent from all answers of the grace.

    Args:
        grace: how long a task must be absent, each answer saying so, before it was cancelled without a trace.
    """
    attempts = tuple(merged(entry.attempts, seen.attempts))
    absent = {
        task: entry.absent_since.get(task, now)
        for task in range(entry.tasks)
        if not _is_over(task, seen) and task not in seen.queued
    }
    vanished = {task for task, since in absent.items() if now - since > grace}
    over = {task for task in range(entry.tasks) if _is_over(task, seen)}
    # Whatever else is said of it: while an attempt has no end, nobody knows yet what it used.
    settled = (over | vanished) - _live(attempts) >= set(range(entry.tasks))
    changed = {"attempts": attempts, "absent_since": absent, "settled_at": now if settled else None}
    return entry.model_copy(update=changed)


def unanswered(entry: LedgerEntry) -> LedgerEntry:
    """An entry after a question without an answer: absence has to be proven anew."""
    return entry.model_copy(update={"absent_since": {}})


def runaways(entry: LedgerEntry, now: datetime, grace: timedelta) -> set[int]:
    """Tasks that run by the accounting, and that the queue has not known for the grace: only a person can tell."""
    return {task for task, since in entry.absent_since.items() if now - since > grace} & _live(entry.attempts)


def _is_over(task: int, seen: Observation) -> bool:
    state = seen.states.get(task)
    return state is not None and state.is_terminal


def _live(attempts: tuple[Attempt, ...]) -> set[int]:
    newest = {attempt.task: attempt for attempt in attempts}
    return {task for task, attempt in newest.items() if attempt.is_live}
