"""Ledger entries to what people read: GPU time by kind and day, what is reserved, left, and was idle."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slurm_bench.pure.budget import h100_hours, held_gpu_seconds
from slurm_bench.words.accounting import Attempt, LedgerEntry
from slurm_bench.words.kinds import Kind


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
    """H100-hours spent and reserved of calibrations that count here too."""
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
        """H100-hours that count; of calibrations that it rests on too."""
        return self.rests_on + sum(line.h100_hours for line in self.lines if line.kind in self.counts)

    @property
    def held(self) -> float:
        """H100-hours that are reserved, and count."""
        return sum(each.h100_hours for each in self.reserved if each.kind in self.counts)

    @property
    def left(self) -> float:
        """H100-hours."""
        return self.limit - self.spent - self.held

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

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for account in self.accounts for line in account.lines)

    @property
    def left(self) -> float | None:
        """H100-hours; a calibration counts once, however many sessions rest on it."""
        if self.limit is None:
            return None
        return self.limit - sum(account.spent - account.rests_on + account.held for account in self.accounts)


def idle_share(lines: Iterable[Line]) -> float | None:
    """Share of GPU time with no training running, of what could be seen; None if that is nothing."""
    seen = [line for line in lines if line.idle_gpu_seconds is not None and line.gpu_seconds]
    total = sum(line.gpu_seconds for line in seen)
    return sum(line.idle_gpu_seconds or 0 for line in seen) / total if total else None


def lines(entries: Iterable[LedgerEntry], busy: Mapping[Kind, Mapping[str, float]]) -> tuple[Line, ...]:
    """
    Args:
        busy: GPU-seconds that training ran, by kind and day; a kind that is missing was not watched.
    """
    seconds, began = Counter[tuple[Kind, str]](), Counter[tuple[Kind, str]]()
    hours: dict[tuple[Kind, str], float] = {}
    for entry in entries:
        for attempt in entry.attempts:
            began[entry.kind, _day(attempt.started or attempt.submitted)] += 1
            for day, elapsed_s in days(attempt).items():
                key = entry.kind, day
                seconds[key] += elapsed_s * attempt.gpus
                hours[key] = hours.get(key, 0) + h100_hours(elapsed_s * attempt.gpus, entry.weight)
    return tuple(
        Line(kind, day, began[kind, day], seconds[kind, day], hours.get((kind, day), 0.0), idle)
        for kind, day in sorted(seconds | began)
        for idle in [_idle(seconds[kind, day], busy[kind].get(day, 0)) if kind in busy else None]
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
    begin = (attempt.started or attempt.submitted).replace(microsecond=0)
    return {day: round(seconds) for day, seconds in split(begin, attempt.elapsed_s).items()}


def split(begin: datetime, seconds: float) -> dict[str, float]:
    """A stretch of time by UTC day."""
    parts: dict[str, float] = {}
    while True:
        midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        part = min(seconds, (midnight - begin).total_seconds())
        parts[_day(begin)] = part
        seconds -= part
        if seconds <= 0:
            return parts
        begin = midnight


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"
