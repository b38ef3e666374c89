"""How a ledger entry grows with what is seen of its job. Nothing here is released early, forgotten or guessed."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from slurm_bench.pure.sacct import merged
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry, Observation

_HOLDING = (JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED)
"""States of a task that holds its GPUs."""


def observed(entry: LedgerEntry, seen: Observation, grace: timedelta) -> LedgerEntry:
    """An entry after one more answer; settled if every task is over, or was absent from all answers of the grace.

    An answer counts at the time of its question, so that one that is read twice proves nothing more; and one to a
    question from before the job was queued says nothing of it.

    Args:
        grace: how long a task must be absent, each answer saying so, before it was cancelled without a trace.
    """
    now = seen.asked_at
    if entry.queued_at is not None and now < entry.queued_at:
        return entry
    attempts = tuple(merged(entry.attempts, seen.attempts)) if entry.attempts else seen.attempts
    tasks = set(range(entry.tasks))
    over = {task for task, state in seen.states.items() if state.is_terminal}
    absent = {task: entry.absent_since.get(task, now) for task in sorted(tasks - over - seen.queued)}
    vanished = {task for task, since in absent.items() if now - since > grace}
    # Whatever else is said of it: while an attempt has no end, nobody knows yet what it used.
    ran = sorted((Counter(entry.ran) | _runs(entry, seen)).elements())
    settled = (over | vanished) - _live(attempts) - _unaccounted(ran, attempts) >= tasks
    changed = {
        "attempts": attempts,
        "absent_since": absent,
        "ran": tuple(ran),
        "settled_at": now if settled else None,
    }
    return entry.model_copy(update=changed)


def _runs(entry: LedgerEntry, seen: Observation) -> Counter[int]:
    """How often each task has run at least, by what the queue shows: again, if it was known to be requeued before."""
    requeued = Counter(attempt.task for attempt in entry.attempts if attempt.state is JobState.REQUEUED)
    holding = Counter({task: 1 for task, state in seen.states.items() if state in _HOLDING})
    # A requeued task is COMPLETING until its node is done with the attempt that was ended.
    again = Counter({task: 1 + requeued[task] for task, state in seen.states.items() if state is JobState.RUNNING})
    return holding | again


def unanswered(entry: LedgerEntry) -> LedgerEntry:
    """An entry after a question without an answer: absence has to be proven anew."""
    return entry.model_copy(update={"absent_since": {}})


def runaways(entry: LedgerEntry, now: datetime, grace: timedelta) -> set[int]:
    """Tasks that run by the accounting, and that the queue has not known for the grace: only a person can tell."""
    return {task for task, since in entry.absent_since.items() if now - since > grace} & _live(entry.attempts)


def unaccounted(entry: LedgerEntry, now: datetime, grace: timedelta) -> set[int]:
    """Tasks that ran by the queue, are gone from it for the grace, and of which the accounting lacks an attempt."""
    gone = {task for task, since in entry.absent_since.items() if now - since > grace}
    return gone & _unaccounted(entry.ran, entry.attempts)


def _unaccounted(ran: Iterable[int], attempts: tuple[Attempt, ...]) -> set[int]:
    return set(Counter(ran) - Counter(attempt.task for attempt in attempts if attempt.started))


def _live(attempts: tuple[Attempt, ...]) -> set[int]:
    newest = {attempt.task: attempt for attempt in attempts}
    return {task for task, attempt in newest.items() if attempt.is_live}
