"""What counts as a sign of an agent's work, and how long there was none."""

from datetime import UTC, datetime, timedelta

import pytest

from slurm_bench.pure.silence import BUSY_CORES, LOOK, Signs, Silence

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOTHING = Signs(processor_s=100, requests=7, is_asking=False)


@pytest.mark.parametrize(
    ("signs", "works"),
    [
        (NOTHING, False),
        (Signs(100, 8, is_asking=False), True),
        (Signs(100, 7, is_asking=True), True),
        (Signs(100 + 1.1 * BUSY_CORES * LOOK.total_seconds(), 7, is_asking=False), True),
        (Signs(100 + 0.9 * BUSY_CORES * LOOK.total_seconds(), 7, is_asking=False), False),
        (Signs(3, 7, is_asking=False), False),
    ],
    ids=["nothing", "has asked", "asks", "computes", "looks again and again", "a process has gone"],
)
def test_signs_of_work(signs: Signs, works: bool) -> None:
    silence = Silence(NOTHING, NOW)
    assert not silence.is_due(NOW) and silence.is_due(NOW + LOOK)
    assert silence.shows_work(signs, NOW + LOOK) == works
    assert not silence.shows_work(signs, NOW + 2 * LOOK) or signs.is_asking, "each sign counts once"


def test_silence_lasts_until_the_next_sign() -> None:
    silence = Silence(NOTHING, NOW)
    for number, works in enumerate([True, False, False], start=1):
        silence.note(NOW + number * LOOK, works=works)
    assert (silence.worked, silence.lasts) == (LOOK, 2 * LOOK)
    silence.note(NOW + 4 * LOOK, works=True)
    assert (silence.worked, silence.lasts) == (4 * LOOK, timedelta(0))


def test_what_nobody_saw_is_not_silence() -> None:
    silence = Silence(NOTHING, NOW)
    silence.note(NOW + timedelta(hours=9), works=False)
    assert silence.lasts <= timedelta(minutes=1)
