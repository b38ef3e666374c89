from datetime import UTC, datetime

import pytest

from slurm_bench.pure import budget
from slurm_bench.words.errors import BudgetExceeded
from slurm_bench.words.records import Attempt, JobState, LedgerEntry

NOW = datetime.now(UTC)


def entry(tasks: int = 10, gpus: int = 8, worst_case_s: int = 450) -> LedgerEntry:
    return LedgerEntry(
        job_name="x", kind="retiming", tasks=tasks, gpus=gpus, worst_case_s=worst_case_s, reserved_at=NOW
    )


def attempt(elapsed_s: int) -> Attempt:
    return Attempt(
        job_id="1",
        job_name="x",
        task=0,
        state=JobState.COMPLETED,
        exit_code=0,
        elapsed_s=elapsed_s,
        gpus=8,
        submitted=NOW,
        started=NOW,
        ended=NOW,
        node="gpu1",
    )


def test_an_open_entry_holds_its_worst_case() -> None:
    assert entry().held_gpu_seconds == 36000
    assert entry().model_copy(update={"attempts": (attempt(9000),)}).held_gpu_seconds == 72000


def test_a_settled_entry_holds_its_charge() -> None:
    settled = entry().model_copy(update={"attempts": (attempt(10), attempt(20)), "settled_at": NOW})
    assert settled.held_gpu_seconds == 240


def test_admission_counts_what_is_reserved() -> None:
    budget.admit([entry()], entry(), limit=20, weight=1.0)
    with pytest.raises(BudgetExceeded, match=r"10\.000 H100-hours, but 9\.999") as refused:
        budget.admit([entry()], entry(), limit=19.999, weight=1.0)
    assert refused.value.exit_code == 4


def test_a_slower_gpu_counts_less() -> None:
    assert budget.h100_hours(3600, 0.5) == 0.5
    budget.admit([entry()], entry(), limit=10, weight=0.5)
