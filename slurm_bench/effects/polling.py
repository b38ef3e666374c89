"""One question an interval for all jobs of all sessions together, however many desks there are.

The desks of a user share a folder. Each leaves there the name of the job that it waits for; whoever finds the last
answer older than the interval asks for all of them and writes the answer down, and the others read it. An answer
may be that there is none: an error is shared too, so that a scheduler in trouble is not asked by everybody.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from slurm_bench.effects import store
from slurm_bench.words.errors import BenchError, SchedulerError
from slurm_bench.words.records import Attempt, JobState, Record

R = TypeVar("R", bound=Record)

_FORGOTTEN_S = 3600.0
"""A job that nobody has asked for in this time is not asked for any more."""


class _Watched(Record):
    name: str
    since: datetime


class Answer(Record):
    """What the scheduler said of the named jobs."""

    asked_at: datetime
    names: frozenset[str]
    live: dict[str, dict[int, JobState]] = Field(default_factory=dict)
    """Tasks in the queue by job name."""
    attempts: tuple[Attempt, ...] = ()
    cancelled_rests: dict[str, frozenset[int]] = Field(default_factory=dict)
    """By job name the arrays whose pending tasks were cancelled, with the tasks that are listed by themselves."""
    error: str = ""


class SharedPoll:
    """
    Args:
        folder: of this user and cluster, on the file system that all desks share.
        interval_s: how old an answer may be.
        ask: puts the question for these names, queued since then.
    """

    def __init__(self, folder: Path, interval_s: float, ask: Callable[[frozenset[str], datetime], Answer]) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._ask = ask

    def answer(self, name: str, since: datetime) -> Answer:
        """The newest answer that speaks of this job, at most an interval old.

        Raises:
            SchedulerError: the scheduler did not answer.
        """
        with store.lock(self._folder / "lock"):
            store.write(self._watched_folder / f"{name}.json", _Watched(name=name, since=since))
            answer = self._last()
            if answer is None or not self._serves(answer, name):
                answer = self._put_question()
        if answer.error:
            raise SchedulerError(answer.error)
        return answer

    @property
    def _watched_folder(self) -> Path:
        return self._folder / "watched"

    def _last(self) -> Answer | None:
        return _read_or_forget(self._folder / "answer.json", Answer)

    def _serves(self, answer: Answer, name: str) -> bool:
        age = (datetime.now(UTC) - answer.asked_at).total_seconds()
        return name in answer.names and 0 <= age < self._interval_s

    def _put_question(self) -> Answer:
        watched = self._watched()
        names = frozenset(watched)
        try:
            answer = self._ask(names, min(watched.values()))
        except SchedulerError as error:
            answer = Answer(asked_at=datetime.now(UTC), names=names, error=str(error))
        store.write(self._folder / "answer.json", answer)
        return answer

    def _watched(self) -> Mapping[str, datetime]:
        watched = {}
        for path in self._watched_folder.glob("[!.]*.json"):
            record = _read_or_forget(path, _Watched)
            if record and time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                path.unlink()
            elif record:
                watched[record.name] = record.since
        return watched


def _read_or_forget(path: Path, kind: type[R]) -> R | None:
    """A record that all desks share: one that nobody can read must not stop them all."""
    try:
        return store.read_if_there(path, kind)
    except BenchError:
        path.unlink(missing_ok=True)
        return None
