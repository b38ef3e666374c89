"""Human progress from a start on: by whom it is known, where it ends, who counts, and percent of it."""

from datetime import date

import pytest

from slurm_bench.effects import human_records
from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.yardstick import (
    RULE_SETS,
    Conditions,
    Progress,
    Source,
    TimedRecord,
    Yardstick,
    describe,
    on_one_scale,
    progress,
    saved_here,
    yardsticks,
)
from slurm_bench.words.trials import Design, SpeedTest

FIRST, JANUARY, NEWEST = "2025-09-03_FA3", "2026-01-19_BigramHashEmbedding", "2026-07-17_FP8DownProjection"


@pytest.fixture
def to_today() -> list[HumanRecord]:
    """All 61 records."""
    return human_records.load()


def saved(seconds: float) -> SpeedTest:
    return SpeedTest(
        design=Design.PAIRED,
        incumbent_mean_s=160,
        candidate_mean_s=160 - seconds,
        saved_s=seconds,
        saved_low_s=seconds - 0.1,
        saved_high_s=seconds + 0.1,
        p_value=0.001,
    )


def record(name: str, saved_s: float | None, leaderboard_s: float, day: int = 1, **rules: str) -> HumanRecord:
    return HumanRecord(name, date(2025, 9, day), saved_s, leaderboard_s, **rules)


def by_rule_set(found: tuple[Yardstick, ...]) -> dict[str, tuple[float, str, Source]]:
    return {each.rule_set: (round(each.whole.saved_s, 4), each.whole.name, each.whole.source) for each in found}


def test_the_published_task_keeps_its_denominators(to_today: list[HumanRecord]) -> None:
    """Also with the newer records in the tables."""
    measures = yardsticks(to_today, FIRST, JANUARY)
    assert by_rule_set(measures) == {
        "all records": (63.2192, JANUARY, Source.PUBLISHED),
        "by people": (63.2192, JANUARY, Source.PUBLISHED),
        "objective of the start": (41.4436, "2025-12-21_SmoothedScalars", Source.PUBLISHED),
        "objective and warm-up of the start": (28.0412, "2025-11-18_RefineSkip", Source.PUBLISHED),
    }
    assert list(RULE_SETS) == [each.rule_set for each in measures]
    assert [len(each.steps) for each in measures] == [33, 31, 23, 16]
    published = progress(measures, saved(5.88))[0]
    assert published.percent == pytest.approx(9.3, abs=0.01)
    assert (published.low, published.high) == pytest.approx((100 * 5.78 / 63.2192, 100 * 5.98 / 63.2192))
    assert published.source is Source.PUBLISHED


def test_from_january_to_today_by_the_leaderboard(to_today: list[HumanRecord]) -> None:
    """99.3 s to 73.8 s."""
    measures = yardsticks(to_today, JANUARY)
    without_prefix = (23.94, "2026-06-11_RecursiveFromBest", Source.LEADERBOARD)
    assert by_rule_set(measures) == {
        "all records": (25.5, NEWEST, Source.LEADERBOARD),
        "by people": (25.5, NEWEST, Source.LEADERBOARD),
        "objective of the start": without_prefix,
        "objective and warm-up of the start": without_prefix,
    }
    every, people, objective, _ = measures
    assert [len(each.steps) for each in (every, people, objective)] == [27, 24, 25]
    assert {step.name for step in every.steps} - {step.name for step in people.steps} == {
        "2026-02-02_KernelTuning",
        "2026-02-10_ShortWindow",
        "2026-06-11_RecursiveFromBest",
    }
    assert every.steps[0].saved_s == pytest.approx(0.3) and every.steps[0].name == "2026-01-26-UntieValueEmbeddings"
    days = [step.date for step in every.steps]
    assert days == sorted(days) and days[-1] == date(2026, 7, 17)


def test_from_the_first_record_to_today_the_leaderboard_goes_on_where_the_retiming_ends(
    to_today: list[HumanRecord],
) -> None:
    every = yardsticks(to_today, FIRST)[0]
    assert (every.whole.name, every.whole.source) == (NEWEST, Source.LEADERBOARD)
    assert every.whole.saved_s == pytest.approx(63.2192 + 99.3 - 73.8)
    sources = {step.name: step.source for step in every.steps}
    assert sources[JANUARY] is Source.PUBLISHED
    assert list(sources.values()).count(Source.LEADERBOARD) == 28, "27, and the one that nobody retimed"


def test_every_record_but_the_newest_is_a_start(to_today: list[HumanRecord]) -> None:
    assert len(to_today) == 61
    for record in to_today:
        measures = yardsticks(to_today, record.name)
        assert bool(measures) == (record.name != NEWEST), record.name
        assert all(each.whole.saved_s > 0 and each.steps[0].date >= record.date for each in measures)


def test_a_record_that_was_not_retimed_stands_by_the_leaderboard_beside_the_one_before_it() -> None:
    """47 was at 2.193 minutes, and saved 31.2214 s; 48 was at 2.170."""
    scale = on_one_scale(human_records.load())
    assert scale["2025-12-11_NorMuonOptimsAndFixes"] == pytest.approx(31.2214 + 60 * (2.193 - 2.170))
    found = yardsticks(human_records.load(), "2025-12-11_NorMuonOptimsAndFixes", JANUARY)[0]
    assert {step.source for step in found.steps} == {Source.LEADERBOARD}
    assert found.whole.saved_s == pytest.approx(63.2192 - 32.6014)
    assert on_one_scale([record("alone", None, 100)]) == {}


def test_a_later_start_leaves_less_to_be_saved_and_asks_for_its_own_rules() -> None:
    found = by_rule_set(yardsticks(human_records.load(), "2025-11-18_RefineSkip", JANUARY))
    assert found["all records"][0] == pytest.approx(63.2192 - 28.0412)
    assert found["objective of the start"][0] == pytest.approx(41.4436 - 28.0412)
    assert "objective and warm-up of the start" not in found, "it was the last one with that warm-up"


@pytest.mark.parametrize("until", [None, "2025-09-10_Yarn", "2025-09-03_FA3"])
def test_an_end_that_is_no_later_than_the_start_is_none(to_today: list[HumanRecord], until: str | None) -> None:
    assert yardsticks(to_today, "2025-09-10_Yarn", until)[0].steps[-1].name == NEWEST


def test_an_earlier_record_is_no_progress() -> None:
    """Polar Express was slower than the record two days before it."""
    found = yardsticks(human_records.load(), "2025-09-29_PolarExpress")[0]
    assert found.steps[0].name == "2025-09-30_CustomBatching"
    slower = yardsticks(human_records.load(), "2025-09-27_BF16CE")[0]
    assert slower.steps[0].name == "2025-09-30_CustomBatching", "nor one that saves nothing"


@pytest.mark.parametrize("start", ["rehearsal", "", "/somewhere/2025-09-03_FA3"])
def test_no_human_start_no_percent(start: str) -> None:
    assert yardsticks(human_records.load(), start) == ()
    assert progress((), saved(1)) == ()


def test_nothing_is_a_share_of_nothing() -> None:
    assert yardsticks([record("only", 0.0, 100)], "only") == ()
    assert yardsticks([record("one", 0.0, 100), record("slower", -1.0, 90)], "one") == ()


# Timed here.

SAME = Conditions("5" * 64, "h100", 8)


def timed(name: str, array: str, mean_s: float, conditions: Conditions = SAME) -> TimedRecord:
    return TimedRecord(name, array, conditions, mean_s)


def test_what_was_timed_here_comes_first(to_today: list[HumanRecord]) -> None:
    found = yardsticks(to_today, JANUARY, None, {NEWEST: 22.0})[0]
    assert (found.whole.name, found.whole.saved_s, found.whole.source) == (NEWEST, 22.0, Source.HERE)
    assert max(step.saved_s for step in found.steps) == pytest.approx(24.72), "the one before it, by the leaderboard"
    assert [step.source for step in found.steps].count(Source.LEADERBOARD) == 26
    assert yardsticks(to_today, FIRST, JANUARY, {JANUARY: 60.0})[0].whole.saved_s == 60.0


def test_two_records_are_compared_under_the_same_conditions_only() -> None:
    start = timed("start", "start-1", 100.0)
    assert saved_here([start, timed("later", "later-1", 80.0)], "start", "h100", 8) == {"later": 20.0}
    for other in (
        Conditions("6" * 64, "h100", 8),
        Conditions(SAME.image, "h200", 8),
        Conditions(SAME.image, "h100", 4),
    ):
        assert saved_here([start, timed("later", "later-1", 80.0, other)], "start", "h100", 8) == {}
        both = [timed("start", "start-1", 100.0, other), timed("later", "later-1", 80.0, other)]
        assert bool(saved_here(both, "start", "h100", 8)) == (other.image != SAME.image), "the session has others"
    assert saved_here([timed("later", "later-1", 80.0)], "start", "h100", 8) == {}
    assert saved_here([start, timed("start", "start-2", 101.0)], "start", "h100", 8) == {}


@pytest.mark.parametrize("reverse", [False, True])
def test_two_of_one_array_come_before_two_of_different_times(reverse: bool) -> None:
    arms = [timed("start", "alone", 101.0), timed("start", "both", 100.0), timed("later", "both", 80.0)]
    assert saved_here(arms[::-1] if reverse else arms, "start", "h100", 8) == {"later": 20.0}


# In words.


def test_one_line_for_people() -> None:
    share = Progress("all records", 63.2192, Source.PUBLISHED, 9.3, 9.1, 9.5)
    assert describe(share) == "9.3 % [9.1, 9.5] of human progress, all records (63.2 s, published)"
