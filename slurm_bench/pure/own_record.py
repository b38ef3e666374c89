"""Attempts without an accounting database: from what squeue said, and from what the tasks themselves wrote.

squeue knows the truth, but forgets a task soon after its end (MinJobAge). A task asks squeue for its own start and,
unless it is killed, knows its end. Where neither saw an end, a task is charged the most that it can have used. Only one
that ends before its own first line, and that no desk sees meanwhile, leaves no trace.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from slurm_bench.pure.sacct import epoch_time, gpus, job_state
from slurm_bench.words.accounting import Attempt, JobState, OwnJob, Sighting, Sightings
from slurm_bench.words.errors import SchedulerError

_COLUMNS = (
    "Name",
    "JobArrayID",
    "JobID",
    "State",
    "exit_code",
    "tres-alloc",
    "SubmitTime",
    "StartTime",
    "EndTime",
    "NodeList",
    "RestartCnt",
)
QUEUE_FORMAT = ",".join(f"{column}:|" for column in _COLUMNS)
"""Columns for `squeue --array --states=all --noheader --Format`; times as epoch seconds (SLURM_TIME_FORMAT=%s)."""

_BESIDE = timedelta(seconds=2)
"""How much longer than its command a task holds its allocation."""
_NOT_BEGUN = frozenset({JobState.PENDING, JobState.REQUEUED, JobState.REQUEUE_HOLD, JobState.SPECIAL_EXIT})


def rows(squeue: str) -> list[Sighting]:
    """What squeue says of each task, begun or not.

    Raises:
        SchedulerError: a row cannot be read.
    """
    return [_row(line) for line in squeue.splitlines()]


def _row(line: str) -> Sighting:
    values = line.split("|")
    if len(values) != len(_COLUMNS) + 1:
        raise SchedulerError(f"squeue printed a row with {len(values) - 1} columns: {line!r}")
    name, job_id, raw_id, state_text, exit_text, allocated, submit, start, end, node, restarts, _ = values
    job, _, task = job_id.partition("_")
    state = job_state(state_text)
    # One that completes may be on its way to a restart: its row is then already the next attempt's, with no start.
    begun = bool(node) and state not in _NOT_BEGUN and state is not JobState.COMPLETING
    try:
        started = epoch_time(start) if begun else None
        ended = epoch_time(end) if started and state.is_terminal else None
        attempt = Attempt(
            raw_id=raw_id,
            job_id=job,
            job_name=name,
            task=int(task or 0),
            state=state,
            exit_code=exit_code(exit_text),
            elapsed_s=_seconds(started, ended),
            gpus=gpus(allocated),
            submitted=datetime.fromtimestamp(int(submit), UTC),
            started=started,
            ended=ended,
            node=node,
        )
        return Sighting(attempt=attempt, restarts=int(restarts))
    except ValueError as error:
        raise SchedulerError(f"squeue printed a row that is none ({error}): {line!r}") from None


def exit_code(text: str) -> int:
    """Exit code, 128+n for signal n, of a wait status (`768`) or of code and signal (`3:0`)."""
    code, colon, signal = text.partition(":")
    numbers = (int(code), int(signal)) if colon else (int(code) >> 8, int(code) & 0x7F)
    return numbers[0] or (128 + numbers[1] if numbers[1] else 0)


def _seconds(started: datetime | None, ended: datetime | None) -> int:
    return max(0, math.ceil((ended - started).total_seconds())) if started and ended else 0


def seen(before: Sightings, answer: Sequence[Sighting], tasks: Iterable[Sighting], asked_at: datetime) -> Sightings:
    """What squeue has said of a job after one more answer.

    Args:
        answer: its rows of this job.
        tasks: what the tasks themselves wrote.
    """
    known = {sighting.key: sighting for sighting in (*before.attempts, *filter(_is_telling, answer))}
    queued = {row.attempt.raw_id for row in answer if not row.attempt.state.is_terminal}
    gone = {sighting.attempt.raw_id for sighting in (*known.values(), *tasks)} - queued
    absent = {raw_id: before.absent_since.get(raw_id, asked_at) for raw_id in sorted(gone)}
    return Sightings(attempts=tuple(known.values()), absent_since=absent)


def _is_telling(row: Sighting) -> bool:
    """Whether it says of an attempt that it began, or that the one before it is over."""
    restarted = row.restarts > 0 and row.attempt.state is not JobState.COMPLETING
    return row.attempt.started is not None or restarted


def attempts(
    job: OwnJob, queue: Sightings, tasks: Iterable[Sighting], now: datetime, grace: timedelta
) -> list[Attempt]:
    """Every attempt that either witness knows of, oldest first.

    Args:
        grace: how long a task must be absent from the queue before it counts as lost.
    """
    by_queue = {sighting.key: sighting.attempt for sighting in queue.attempts}
    by_task = {sighting.key: sighting.attempt for sighting in tasks}
    lost = frozenset(raw_id for raw_id, since in queue.absent_since.items() if now - since >= grace)
    book = _Book(job, by_queue, by_task, frozenset(queue.absent_since), lost, now)
    return sorted(book.attempts(), key=lambda attempt: attempt.submitted)


_Key = tuple[str, int]


@dataclass(frozen=True)
class _Book:
    job: OwnJob
    by_queue: Mapping[_Key, Attempt]
    by_task: Mapping[_Key, Attempt]
    gone: frozenset[str]
    """Tasks, by their own numbers, that are not in the queue."""
    lost: frozenset[str]
    """Those that have been gone for the grace."""
    now: datetime

    def attempts(self) -> Iterator[Attempt]:
        for raw_id, newest in self._newest().items():
            for restarts in range(newest + 1):
                begun = self._begun((raw_id, restarts))
                if begun is not None:
                    yield self._named(self._ended(begun, (raw_id, restarts)), restarts)

    def _newest(self) -> Mapping[str, int]:
        """Highest count of restarts by task."""
        newest: dict[str, int] = {}
        for raw_id, restarts in (*self.by_queue, *self.by_task):
            newest[raw_id] = max(restarts, newest.get(raw_id, 0))
        return newest

    def _begun(self, key: _Key) -> Attempt | None:
        """An attempt as it began; one before a restart did, even if nobody saw it."""
        seen, told, later = self.by_queue.get(key), self.by_task.get(key), self._next(key)
        if seen and seen.started:
            return seen
        if told:
            return replace(told, ended=None, exit_code=0)
        if later:
            return replace(later, started=self.job.queued_at, ended=None, exit_code=0, node="")
        return None

    def _next(self, key: _Key) -> Attempt | None:
        """The known attempt after this one."""
        later = sorted(other for other in (*self.by_queue, *self.by_task) if other[0] == key[0] and other[1] > key[1])
        return (self.by_queue.get(later[0]) or self.by_task[later[0]]) if later else None

    def _ended(self, begun: Attempt, key: _Key) -> Attempt:
        """Its end by the best witness: the queue, the next attempt's beginning, the task itself, its worst case."""
        if begun.ended:
            return begun
        told, later, gone = self.by_task.get(key), self._next(key), begun.raw_id in self.gone
        worst_end = self._worst_end(begun)
        told_end = _after(told.ended) if told and told.ended else None
        if later:
            return _until(begun, min(later.submitted, told_end or worst_end, worst_end), JobState.REQUEUED)
        if gone and told and told_end:
            return replace(_until(begun, told_end, told.state), exit_code=told.exit_code)
        if begun.raw_id in self.lost or (gone and self.now >= worst_end):
            return _until(begun, worst_end, JobState.FAILED)
        state = JobState.RUNNING if begun.state.is_terminal else begun.state
        return replace(_until(begun, min(self.now, worst_end), state), ended=None)

    def _worst_end(self, begun: Attempt) -> datetime:
        assert begun.started
        return begun.started + timedelta(seconds=self.job.limit_s + self.job.overrun_s)

    def _named(self, attempt: Attempt, restarts: int) -> Attempt:
        """With the same key whoever saw it, and a requeued attempt's key after that of the one before it."""
        submitted = self.job.queued_at + timedelta(seconds=restarts)
        return replace(attempt, submitted=submitted, gpus=attempt.gpus or self.job.gpus)


def _after(moment: datetime) -> datetime:
    return moment.replace(microsecond=0) + timedelta(seconds=moment.microsecond > 0) + _BESIDE


def _until(begun: Attempt, end: datetime, state: JobState) -> Attempt:
    return replace(begun, state=state, ended=end, elapsed_s=_seconds(begun.started, end))
