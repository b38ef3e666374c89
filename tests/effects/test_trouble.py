"""Trouble of a file system is waited out, and no longer than its patience, however slowly it fails."""

import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import trouble
from slurm_bench.effects.clock import SystemClock
from slurm_bench.effects.trouble import Waiting
from slurm_bench.words.errors import StorageError


class FakeClock(SystemClock):
    def __init__(self) -> None:
        self.began = self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.mark.parametrize(("a_try_s", "over_s"), [(0, 60), (61, 61), (300, 300)])
def test_a_write_that_always_fails_ends_with_its_patience(a_try_s: float, over_s: float) -> None:
    clock = FakeClock()

    def write() -> None:
        clock.sleep(a_try_s)
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StorageError):
        trouble.waited_out(write, Path("/runs"), Waiting(patience_s=60), clock)
    assert (clock.time - clock.began).total_seconds() == over_s


def test_a_wait_that_worked_for_hours_is_patient_anew() -> None:
    clock, tries = FakeClock(), iter([3600.0, 0.0, 7200.0, 0.0])

    def wait() -> str:
        clock.sleep(next(tries))
        if clock.time - clock.began < timedelta(hours=3):
            raise OSError(errno.ESTALE, "Stale file handle")
        return "over"

    assert trouble.waited_out(wait, Path("/runs"), trouble.of_waits(60, 1), clock) == "over"
