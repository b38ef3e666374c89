import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from slurm_bench.pure import budget
from slurm_bench.pure.budget import Balances, Terms, held_gpu_seconds
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry
from slurm_bench.words.errors import BudgetExceeded
from slurm_bench.words.kinds import Kind

NOW = datetime(2026, 11, 25, tzinfo=UTC)
EVERYTHING: tuple[Kind, ...] = ("session", "retiming", "calibration")


def entry(**changes: object) -> LedgerEntry:
    """Ten tasks of eight GPUs, each held for at most 450 s: 10 H100-hours."""
    made = LedgerEntry(
        job_name="x", kind="retiming", tasks=10, gpus=8, limit_s=360, overrun_s=90, weight=1.0, reserved_at=NOW
    )
    return made.model_copy(update=changes)


def attempt(elapsed_s: int, task: int = 0) -> Attempt:
    return Attempt(
        raw_id=str(task),
        job_id="1",
        job_name="x",
        task=task,
        state=JobState.COMPLETED,
        exit_code=0,
        elapsed_s=elapsed_s,
        gpus=8,
        submitted=NOW,
        started=NOW,
        ended=NOW + timedelta(seconds=elapsed_s),
        node="gpu1",
    )


def test_an_open_entry_holds_its_worst_case() -> None:
    assert held_gpu_seconds(entry()) == 36000
    assert held_gpu_seconds(entry(attempts=(attempt(450), attempt(3, task=1)))) == 36000


def test_what_a_task_uses_beyond_its_worst_case_is_held_too() -> None:
    assert held_gpu_seconds(entry(attempts=(attempt(460),))) == 36000 + 10 * 8


def test_a_requeued_attempt_is_held_beside_the_worst_case_of_the_next() -> None:
    first = replace(attempt(100), state=JobState.REQUEUED)
    second = replace(attempt(5), submitted=NOW + timedelta(minutes=5), state=JobState.RUNNING, ended=None)
    assert held_gpu_seconds(entry(attempts=(first, second))) == 36000 + 800


def test_a_settled_entry_holds_its_charge() -> None:
    assert held_gpu_seconds(entry(attempts=(attempt(10), attempt(20, task=1)), settled_at=NOW)) == 240


def test_what_is_left_counts_what_is_reserved_and_what_is_spent() -> None:
    balance = budget.balance([entry(attempts=(attempt(450),))], 20, EVERYTHING)
    assert (balance.spent, balance.reserved, balance.left) == (1, 9, 10)


def limited(limit: float, *entries: LedgerEntry, campaign: float = math.inf) -> Balances:
    return budget.balances(entries, entries, Terms(limit, 1.0, campaign_limit=campaign))


def test_admission_says_how_much_was_needed_and_left() -> None:
    budget.admit(entry(), limited(20, entry()), EVERYTHING)
    said = r"10\.000 H100-hours, but 9\.999 of 19\.999 are left \(10\.000 are reserved for what is not over: ask again"
    with pytest.raises(BudgetExceeded, match=said) as refused:
        budget.admit(entry(), limited(19.999, entry()), EVERYTHING)
    assert refused.value.exit_code == 4


def test_what_is_only_reserved_is_not_gone_for_good() -> None:
    spent = entry(attempts=tuple(attempt(450, task) for task in range(10)), settled_at=NOW)
    for held, for_good in ((entry(), False), (spent, True)):
        with pytest.raises(BudgetExceeded) as refused:
            budget.admit(entry(), limited(19, held), EVERYTHING)
        assert refused.value.for_good is for_good


def test_a_kind_that_does_not_count_neither_fills_the_budget_nor_is_bound_by_it() -> None:
    counts: tuple[Kind, ...] = ("session",)
    assert budget.balance([entry()], 5, counts).left == 5
    budget.admit(entry(), limited(5, entry()), counts)


def test_both_limits_bind() -> None:
    both = limited(40, entry(), entry(), campaign=25)
    assert (both.tightest.limit, both.tightest.left) == (25, 5)
    with pytest.raises(BudgetExceeded, match="of 25 are left"):
        budget.admit(entry(), both, EVERYTHING)


def test_the_share_is_that_of_the_limit_which_is_closer_to_its_end() -> None:
    spent = entry(attempts=tuple(attempt(450, task) for task in range(10)), settled_at=NOW)
    both = budget.balances([spent], [spent, entry(), entry()], Terms(10, 1.0, campaign_limit=29))
    assert both.tightest is both.campaign
    assert both.share == 1


def test_a_slower_gpu_counts_less() -> None:
    assert budget.h100_hours(3600, 0.5) == 0.5
    assert budget.balance([entry(weight=0.5)], 10, EVERYTHING).left == 5


@pytest.mark.parametrize(("left", "minutes"), [(10, 6), (9.99, 5), (2.0, 0), (1.0, -1)])
def test_a_limit_that_fits_what_is_left(left: float, minutes: int) -> None:
    """Ten tasks of eight GPUs: each minute of their limit costs 80 GPU-minutes, and the overrun of 90 s another 120."""
    assert budget.affordable_minutes(entry(), left) == minutes
