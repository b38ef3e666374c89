"""GPU time by day."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_bench.pure import usage

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
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
    begin = NOON + timedelta(microseconds=after_us)
    parts = usage.split(begin, seconds)
    assert sum(parts.values()) == pytest.approx(seconds)
    assert min(parts) == f"{begin:%Y-%m-%d}"
    assert max(parts.values()) <= 86400
