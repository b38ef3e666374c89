"""One question an interval for all jobs of all sessions together, however many desks there are.

The desks of a user share a folder. Each leaves there the name of the job that it waits for; whoever finds the last
answer older than the interval asks for all of them and writes the answer down, and the others read it. An answer
may be that there is none: an error is shared too, and is asked about ever more seldom, so that a scheduler in
trouble is not asked by everybody.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from slurm_bench.effects import locking, store
from slurm_bench.effects.cluster import Queued
from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.errors import BenchError, SchedulerError
from slurm_bench.words.records import Record

R = TypeVar("R", bound=Record)

_FORGOTTEN_S = 3600.0
"""A job that nobody has asked for in this time is not asked for any more."""
_LONG_PAUSE_S = 10.0
"""Or three intervals: after a longer one the scheduler may have been away unnoticed."""
SERVES = (0.8, 0.9)
"""For how much of the interval an answer serves: not always the same, so that no two users ask in step, and less than
the shortest time after which a desk looks again (steps/ledger.py): alone, it never finds its own last answer."""
_MOST_BACKOFF = 8
"""Intervals between two questions to a scheduler that gives no answer, at most."""


class _Watched(Record):
    name: str
    since: datetime


class Answer(Record):
    """What the scheduler said of the named jobs."""

    asked_at: datetime
    good_until: datetime | None = None
    failures: int = 0
    """Questions in a row that were not answered, this one included."""
    answering_since: datetime | None = None
    """From when on every question was answered, without a long pause; None where this one was not."""
    names: frozenset[str]
    live: dict[str, dict[int, JobState]] = Field(default_factory=dict)
    """Tasks in the queue by job name."""
    attempts: tuple[Attempt, ...] = ()
    cancelled_rests: dict[str, frozenset[int]] = Field(default_factory=dict)
    """By job name the arrays whose pending tasks were cancelled, with the tasks that are listed by themselves."""
    stuck: dict[str, str] = Field(default_factory=dict)
    """By job name why nothing of it can start, as things are."""
    error: str = ""


class SharedPoll:
    """
    Args:
        folder: of this user and cluster, on the file system that all desks share.
        interval_s: how old an answer may be, at the most.
        ask: puts the question for these names, queued since then.
    """

    def __init__(self, folder: Path, interval_s: float, ask: Callable[[frozenset[str], datetime], Answer]) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._ask = ask

    def answer(self, jobs: Collection[Queued]) -> Answer:
        """The newest answer that speaks of these jobs, at most an interval old.

        Raises:
            SchedulerError: the scheduler did not answer.
        """
        self._watch(jobs)  # while others ask: whoever is next asks for all that wait
        with locking.lock(self._folder / "lock"):
            answer = self._last()
            if answer is None or not _serves(answer, {job.name for job in jobs}):
                self._watch(jobs)  # it may have been forgotten meanwhile
                answer = self._put_question(answer)
        if answer.error:
            raise SchedulerError(answer.error)
        return answer

    def _watch(self, jobs: Collection[Queued]) -> None:
        for job in jobs:
            watched = _Watched(name=job.name, since=job.since)
            store.write(self._watched_folder / f"{job.name}.json", watched)

    @property
    def _watched_folder(self) -> Path:
        return self._folder / "watched"

    def _last(self) -> Answer | None:
        return _read_or_forget(self._folder / "answer.json", Answer)

    def _put_question(self, before: Answer | None) -> Answer:
        watched = self._watched()
        names = frozenset(watched)
        try:
            answer = self._ask(names, min(watched.values()))
            further: dict[str, object] = {"answering_since": self._answering_since(before, answer)}
        except SchedulerError as error:
            answer = Answer(asked_at=datetime.now(UTC), names=names, error=str(error))
            further = {"failures": (before.failures if before else 0) + 1}
        answer = answer.model_copy(update=further)
        answer = answer.model_copy(update={"good_until": answer.asked_at + self._interval(answer.failures)})
        store.write(self._folder / "answer.json", answer)
        return answer

    def _answering_since(self, before: Answer | None, answer: Answer) -> datetime:
        if before is None or before.answering_since is None:
            return answer.asked_at
        pause = timedelta(seconds=max(_LONG_PAUSE_S, 3 * self._interval_s))
        steady = timedelta(0) <= answer.asked_at - before.asked_at <= pause
        return before.answering_since if steady else answer.asked_at

    def _interval(self, failures: int) -> timedelta:
        backoff = min(2**failures, _MOST_BACKOFF)
        return timedelta(seconds=self._interval_s * backoff * random.uniform(*SERVES))

    def _watched(self) -> Mapping[str, datetime]:
        watched = {}
        for path in self._watched_folder.glob("[!.]*.json"):
            record = _read_or_forget(path, _Watched)
            if record and time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                path.unlink()
            elif record:
                watched[record.name] = record.since
        return watched


def _serves(answer: Answer, names: set[str]) -> bool:
    """Whether an answer is new enough, and speaks of these jobs; that there is none is said of all."""
    fresh = answer.good_until is not None and answer.asked_at <= datetime.now(UTC) < answer.good_until
    return fresh and (bool(answer.error) or names <= answer.names)


def _read_or_forget(path: Path, kind: type[R]) -> R | None:
    """A record that all desks share: one that nobody can read must not stop them all."""
    try:
        return store.read_if_there(path, kind)
    except BenchError:
        path.unlink(missing_ok=True)
        return None
