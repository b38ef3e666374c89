from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_bench.pure import usage
from slurm_bench.pure.usage import Account, CampaignAccount, Line, Reserved
from slurm_bench.words.accounting import JobState
from tests.pure.attempts import NOON, attempt, entry, running

LATE = datetime(2026, 11, 25, 23, 59, 30, 400000, tzinfo=UTC)


def test_an_attempt_that_spans_midnight_is_split_there() -> None:
    parts = usage.days(attempt(started=LATE, elapsed_s=100))
    assert parts == {"2026-11-25": 30, "2026-11-26": 70}
    three = usage.days(attempt(started=LATE, elapsed_s=30 + 86400 + 1))
    assert three == {"2026-11-25": 30, "2026-11-26": 86400, "2026-11-27": 1}


@pytest.mark.parametrize("elapsed_s", [0, 1, 29, 30, 31, 86430, 200000])
def test_its_parts_are_what_it_is_charged(elapsed_s: int) -> None:
    assert sum(usage.days(attempt(started=LATE, elapsed_s=elapsed_s)).values()) == elapsed_s


def test_one_that_never_started_was_attempted_and_cost_nothing() -> None:
    cancelled = attempt(state=JobState.CANCELLED, started=None, elapsed_s=0)
    (line,) = usage.lines([entry(attempts=(cancelled,))], {})
    assert (line.attempts, line.gpu_seconds) == (1, 0)


def test_lines_by_kind_and_day_with_what_was_idle() -> None:
    retiming = entry(attempts=(attempt(), attempt(task=1, raw_id="8", started=LATE, elapsed_s=60)))
    session = entry(kind="session", weight=0.5, attempts=(running(elapsed_s=3600),))
    lines = usage.lines([retiming, session], {"retiming": {"2026-11-25": 160.2}})
    assert lines == (
        Line("retiming", "2026-11-25", 2, 260, 260 / 3600, 100),
        Line("retiming", "2026-11-26", 0, 60, 60 / 3600, 60),
        Line("session", "2026-11-25", 1, 7200, 1.0, None),
    )
    assert usage.idle_share(lines) == pytest.approx(160 / 320), "of what could be seen"
    assert usage.idle_share(lines[2:]) is None


def test_a_session_without_gpus_leaves_the_idle_time_of_others_in_sight() -> None:
    attached = entry(kind="session", attempts=(running(elapsed_s=100),))
    without = entry(kind="session", attempts=(running(elapsed_s=500, gpus=0),))
    seen = usage.lines([attached], {"session": {"2026-11-25": 150.0}})
    unseen = usage.lines([without], {})
    assert usage.idle_share(unseen) is None, "none rather than 0 %"
    (line,) = usage.summed([*seen, *unseen])
    assert (line.attempts, line.gpu_seconds, line.idle_gpu_seconds) == (2, 200, 50)
    assert usage.summed(unseen) == unseen


def test_training_is_never_more_than_what_is_held() -> None:
    (line,) = usage.lines([entry(attempts=(attempt(),))], {"retiming": {"2026-11-25": 999.0}})
    assert line.idle_gpu_seconds == 0


def test_reserved_is_what_is_held_beyond_the_charge() -> None:
    open_one = entry(attempts=(running(elapsed_s=10),))
    settled = entry(kind="session", settled_at=NOON + timedelta(hours=1), attempts=(attempt(),))
    assert usage.reserved([open_one, settled]) == (Reserved("retiming", 580, 580 / 3600),)


def account(**changes: object) -> Account:
    fields = {
        "name": "one",
        "accounting": "sacct",
        "counts": ("retiming", "session"),
        "lines": usage.lines([entry(attempts=(attempt(elapsed_s=1800),)), entry(kind="calibration")], {}),
        "reserved": (Reserved("retiming", 3600, 1.0), Reserved("calibration", 3600, 1.0)),
        "rests_on": 0.0,
        "rests_on_reserved": 0.0,
        "limit": 10.0,
    }
    return Account(**{**fields, **changes})  # type: ignore[arg-type]


def test_what_does_not_count_is_shown_and_takes_nothing() -> None:
    assert (account().spent, account().held, account().left) == (1.0, 1.0, 8.0)
    assert account().reserved_gpu_seconds == 7200


def test_a_calibration_counts_in_each_session_and_once_in_the_campaign() -> None:
    sessions = (account(rests_on=1.5, rests_on_reserved=0.5), account(rests_on=1.5, rests_on_reserved=0.5))
    calibration = account(counts=("calibration",), lines=(), reserved=(Reserved("calibration", 7200, 2.0),))
    assert [each.left for each in sessions] == [6.0, 6.0]
    whole = CampaignAccount("campaign", 20.0, (*sessions, calibration))
    assert whole.left == 20.0 - 2 * 2.0 - 2.0
    assert CampaignAccount("campaign", None, sessions).left is None


HALF_DAY_S = 43200


@pytest.mark.parametrize(
    ("seconds", "parts"),
    [
        (0, {"2026-11-25": 0}),
        (HALF_DAY_S, {"2026-11-25": HALF_DAY_S}),
        (HALF_DAY_S + 1, {"2026-11-25": HALF_DAY_S, "2026-11-26": 1}),
        (4 * HALF_DAY_S, {"2026-11-25": HALF_DAY_S, "2026-11-26": 2 * HALF_DAY_S, "2026-11-27": HALF_DAY_S}),
    ],
)
def test_a_stretch_is_split_at_midnight(seconds: int, parts: dict[str, float]) -> None:
    assert usage.split(NOON, seconds) == parts


@given(st.integers(0, 2 * 86400 * 10**6), st.floats(0, 10 * 86400))
def test_the_parts_add_up(after_us: int, seconds: float) -> None:
    assert sum(usage.split(NOON + timedelta(microseconds=after_us), seconds).values()) == pytest.approx(seconds)
