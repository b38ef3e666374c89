"""Budget arithmetic, in GPU-seconds inside and H100-hours towards people."""

from collections.abc import Iterable

from slurm_bench.words.errors import BudgetExceeded
from slurm_bench.words.records import LedgerEntry

SECONDS_PER_HOUR = 3600


def h100_hours(gpu_seconds: float, weight: float) -> float:
    """H100-hours of GPU-seconds on a GPU type that counts `weight` H100s."""
    return gpu_seconds * weight / SECONDS_PER_HOUR


def admit(entries: Iterable[LedgerEntry], new: LedgerEntry, limit: float, weight: float) -> None:
    """Let `new` pass only if spent + reserved + its worst case fits the limit (H100-hours).

    Raises:
        BudgetExceeded: it does not fit.
    """
    held = h100_hours(sum(entry.held_gpu_seconds for entry in entries), weight)
    worst_case = h100_hours(new.reserved_gpu_seconds, weight)
    if held + worst_case > limit:
        raise BudgetExceeded(f"{new.kind} {new.job_name}", worst_case, limit - held, limit)
