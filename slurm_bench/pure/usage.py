"""Ledger entries to what people read: GPU time by kind and day, what is reserved, left, and was idle."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from slurm_bench.pure.budget import h100_hours, held_gpu_seconds
from slurm_bench.words.accounting import Attempt, LedgerEntry
from slurm_bench.words.campaigns import Unreadable
from slurm_bench.words.kinds import KINDS, Kind

_DAY_S = 86400

Seconds = TypeVar("Seconds", int, float)


@dataclass(frozen=True)
class Line:
    """What jobs of one kind were charged for one day (UTC); an attempt that spans midnight is split there."""

    kind: Kind
    day: str
    attempts: int
    """That began on this day."""
    gpu_seconds: int
    h100_hours: float
    idle_gpu_seconds: int | None
    """Of these, with no training running; None where nobody could see that."""


@dataclass(frozen=True)
class Reserved:
    """What is held for jobs of one kind that are not settled, beyond what they were charged."""

    kind: Kind
    gpu_seconds: int
    h100_hours: float


@dataclass(frozen=True)
class Account:
    """The budget of a session, or of a calibration."""

    name: str
    accounting: str
    """Where usage is known from."""
    counts: tuple[Kind, ...]
    """Kinds of jobs that count against the limit."""
    lines: tuple[Line, ...]
    reserved: tuple[Reserved, ...]
    rests_on: float
    """H100-hours that calibrations were charged which count here too."""
    rests_on_reserved: float
    """And what is reserved for them."""
    limit: float
    """H100-hours."""

    @property
    def gpu_seconds(self) -> int:
        """Charged, whether it counts or not."""
        return sum(line.gpu_seconds for line in self.lines)

    @property
    def reserved_gpu_seconds(self) -> int:
        return sum(each.gpu_seconds for each in self.reserved)

    @property
    def spent(self) -> float:
        """H100-hours of its own jobs that count."""
        return sum(line.h100_hours for line in self.lines if line.kind in self.counts)

    @property
    def held(self) -> float:
        """H100-hours that are reserved for its own jobs, and count."""
        return sum(each.h100_hours for each in self.reserved if each.kind in self.counts)

    @property
    def left(self) -> float:
        """H100-hours."""
        return self.limit - self.spent - self.held - self.rests_on - self.rests_on_reserved

    @property
    def idle_share(self) -> float | None:
        return idle_share(self.lines)


@dataclass(frozen=True)
class CampaignAccount:
    name: str
    limit: float | None
    """H100-hours of all accounts together, if there is such a limit."""
    accounts: tuple[Account, ...]
    """Sessions, then calibrations."""
    unreadable: tuple[Unreadable, ...] = ()
    """What else there is, of which nobody here knows what it spent."""

    @property
    def spent(self) -> float:
        """H100-hours that count; a calibration's once, however many sessions rest on it."""
        return sum(account.spent for account in self.accounts)

    @property
    def held(self) -> float:
        return sum(account.held for account in self.accounts)

    @property
    def left(self) -> float | None:
        """None where there is no limit, or where not all that was spent is known."""
        return None if self.limit is None or self.unreadable else self.limit - self.spent - self.held


def idle_share(lines: Iterable[Line]) -> float | None:
    """Share of GPU time with no training running, of what could be seen; None if that is nothing."""
    seen = [line for line in lines if line.idle_gpu_seconds is not None and line.gpu_seconds]
    total = sum(line.gpu_seconds for line in seen)
    return sum(line.idle_gpu_seconds or 0 for line in seen) / total if total else None


def lines(entries: Iterable[LedgerEntry], busy: Mapping[Kind, Mapping[str, float]]) -> tuple[Line, ...]:
    """Relays take no GPUs, and are left out.

    Args:
        busy: GPU-seconds that training ran, by kind and day; a kind that is missing was not watched.
    """
    seconds, began = Counter[tuple[Kind, str]](), Counter[tuple[Kind, str]]()
    hours: dict[tuple[Kind, str], float] = {}
    for entry in (each for each in entries if each.kind in KINDS):
        by_day: dict[str, int] = {}
        for attempt in entry.attempts:
            elapsed = days(attempt)
            began[entry.kind, min(elapsed)] += 1
            for day, elapsed_s in elapsed.items():
                by_day[day] = by_day.get(day, 0) + elapsed_s * attempt.gpus
        for day, gpu_seconds in by_day.items():
            key = entry.kind, day
            seconds[key] += gpu_seconds
            hours[key] = hours.get(key, 0) + h100_hours(gpu_seconds, entry.weight)
    return tuple(
        Line(kind, day, began[kind, day], seconds[kind, day], hours.get((kind, day), 0.0), idle)
        for kind, day in sorted(seconds | began)
        for idle in [_idle(seconds[kind, day], busy[kind].get(day, 0)) if kind in busy else None]
    )


def summed(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines of several accounts as those of one; idle time that one of them could not see is not seen.

    One that held no GPUs, as the job of an agent that has none, takes no idle time out of sight.
    """
    by_day: dict[tuple[Kind, str], list[Line]] = {}
    for line in lines:
        by_day.setdefault((line.kind, line.day), []).append(line)
    return tuple(
        Line(
            kind,
            day,
            attempts=sum(line.attempts for line in same),
            gpu_seconds=sum(line.gpu_seconds for line in same),
            h100_hours=sum(line.h100_hours for line in same),
            idle_gpu_seconds=None if None in idle or not idle else sum(filter(None, idle)),
        )
        for (kind, day), same in sorted(by_day.items())
        for idle in [[line.idle_gpu_seconds for line in same if line.gpu_seconds]]
    )


def _idle(gpu_seconds: int, busy: float) -> int:
    return max(0, gpu_seconds - round(busy))


def reserved(entries: Sequence[LedgerEntry]) -> tuple[Reserved, ...]:
    """By kind; kinds for which nothing is held are left out."""
    found = []
    for kind in sorted({entry.kind for entry in entries}):
        of_kind = [entry for entry in entries if entry.kind == kind]
        beyond = [held_gpu_seconds(entry) - entry.charged_gpu_seconds for entry in of_kind]
        hours = [h100_hours(seconds, entry.weight) for seconds, entry in zip(beyond, of_kind, strict=True)]
        if sum(beyond):
            found.append(Reserved(kind, sum(beyond), sum(hours)))
    return tuple(found)


def days(attempt: Attempt) -> dict[str, int]:
    """The elapsed seconds of an attempt by UTC day; their sum is what it is charged."""
    begin = attempt.started or attempt.submitted
    return _by_day(begin.date(), _into_day(begin), attempt.elapsed_s)


def split(begin: datetime, seconds: float) -> dict[str, float]:
    """A stretch of time by UTC day."""
    return _by_day(begin.date(), _into_day(begin) + begin.microsecond / 1e6, seconds)


def _by_day(day: date, into_day: Seconds, seconds: Seconds) -> dict[str, Seconds]:
    parts: dict[str, Seconds] = {}
    room = _DAY_S - into_day
    while seconds > room:
        parts[day.isoformat()] = room
        seconds -= room
        day, room = day + timedelta(days=1), _DAY_S
    parts[day.isoformat()] = seconds
    return parts


def _into_day(time: datetime) -> int:
    """Whole seconds since its midnight."""
    return 3600 * time.hour + 60 * time.minute + time.second
