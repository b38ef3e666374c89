from collections import defaultdict
from datetime import date

import pytest

from slurm_bench.effects import human_records
from slurm_bench.pure.human import (
    RULE_SETS,
    HumanRecord,
    HumanRun,
    Noise,
    NoiseRange,
    Progress,
    describe,
    describe_noise,
    noise,
    noise_range,
    noises,
    progress,
    trajectory,
)
from slurm_bench.words.trials import Design, SpeedTest

FIRST = "2025-09-03_FA3"


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


def record(name: str, saved_s: float | None, day: int = 1, *, keeps: bool = True) -> HumanRecord:
    return HumanRecord(name, date(2025, 9, day), saved_s, keeps_warm_up=keeps, plain_next_token=True)


def test_the_tables_hold_all_records() -> None:
    records = human_records.load()
    assert len(records) == 61
    retimed = [record for record in records if record.saved_s is not None]
    assert (len(retimed), retimed[-1].name) == (33, "2026-01-19_BigramHashEmbedding")
    assert sum(not record.keeps_warm_up for record in records) == 17 + 27
    assert sum(not record.plain_next_token for record in records) == 10 + 27


def test_each_rule_set_has_its_denominator() -> None:
    shares = {share.rule_set: share for share in progress(human_records.load(), FIRST, saved(5.88))}
    assert list(shares) == list(RULE_SETS)
    denominators = [share.human_saved_s for share in shares.values()]
    assert denominators == pytest.approx([63.2192, 41.4436, 28.0412])
    published = shares["all records"]
    assert published.percent == pytest.approx(9.3, abs=0.01)
    assert (published.low, published.high) == pytest.approx((100 * 5.78 / 63.2192, 100 * 5.98 / 63.2192))


def test_a_later_start_leaves_less_to_be_saved() -> None:
    shares = progress(human_records.load(), "2025-11-18_RefineSkip", saved(1))
    assert [share.rule_set for share in shares] == ["all records", "before multi-token training"]
    assert shares[0].human_saved_s == pytest.approx(63.2192 - 28.0412)


@pytest.mark.parametrize("start", ["rehearsal", "2025-12-11_NorMuonOptimsAndFixes"])
def test_no_human_start_no_percent(start: str) -> None:
    assert progress(human_records.load(), start, saved(1)) == ()


def test_nothing_is_a_share_of_nothing() -> None:
    only = record("only", 0.0)
    assert progress([only], "only", saved(1)) == ()


def test_one_line_for_people() -> None:
    share = Progress("all records", 63.2192, 9.3, 9.1, 9.5)
    assert describe(share) == "9.3 % [9.1, 9.5] of human progress, all records (63.2 s)"


@pytest.mark.parametrize(
    ("rule_set", "timed", "last", "saved_s"),
    [
        ("all records", 33, "2026-01-19_BigramHashEmbedding", 63.2192),
        ("before multi-token training", 23, "2025-12-21_SmoothedScalars", 41.4436),
        ("records that keep every rule", 17, "2025-11-18_RefineSkip", 28.0412),
    ],
)
def test_human_progress_over_time(rule_set: str, timed: int, last: str, saved_s: float) -> None:
    milestones = trajectory(human_records.load(), rule_set)
    assert len(milestones) == timed
    assert (milestones[0].name, milestones[0].best_s) == (FIRST, 0)
    assert (milestones[-1].name, milestones[-1].saved_s, milestones[-1].best_s) == (last, saved_s, saved_s)
    days = [each.date for each in milestones]
    assert days == sorted(days)
    assert date(2025, 9, 3) <= days[0] and days[-1] <= date(2026, 1, 19)
    best = [each.best_s for each in milestones]
    assert best == sorted(best), "progress is never lost"
    assert all(each.best_s >= each.saved_s for each in milestones)


def test_progress_is_the_best_until_then() -> None:
    """By day, not by the order of the table; the slower, the untimed and the other rule set's do not count."""
    records = [
        record("late", 4, day=5),
        record("first", 0),
        record("breaks a rule", 9, day=2, keeps=False),
        record("fast", 5, day=3),
        record("untimed", None, day=4),
    ]
    found = trajectory(records, "records that keep every rule")
    assert [(each.name, each.saved_s, each.best_s) for each in found] == [
        ("first", 0, 0),
        ("fast", 5, 5),
        ("late", 4, 5),
    ]


def test_the_one_record_that_was_slower_than_an_earlier_one() -> None:
    slower = [each.name for each in trajectory(human_records.load(), "all records") if each.best_s > each.saved_s]
    assert slower == ["2025-09-29_PolarExpress"]


def test_single_runs_are_in_seconds_and_agree_with_themselves() -> None:
    runs = human_records.runs()
    assert len(runs) == 318 + 211
    without = {record.name for record in human_records.load()} - {run.record for run in runs}
    assert without == {"2026-01-31_Torch210", "2026-05-27_XSARewrite"}
    for run in runs:
        assert 75 < run.time_s < 170
        assert 3.26 < run.loss < 3.29
        assert 1000 * run.time_s / run.steps == pytest.approx(run.step_ms, abs=0.006)


def test_the_runs_of_a_record_have_one_number_of_steps() -> None:
    """Else their times would differ by more than noise."""
    steps = defaultdict(set)
    for run in human_records.runs():
        steps[run.record].add(run.steps)
    assert all(len(numbers) == 1 for numbers in steps.values())


def test_noise_is_the_sample_deviation_and_of_time_a_share() -> None:
    found = noise([3.0, 3.2, 3.4], [90.0, 100.0, 110.0])
    assert (found.loss, found.time) == pytest.approx((0.2, 0.1))
    assert noise([3.0, 3.2, 3.4], [90e3, 100e3, 110e3]).time == pytest.approx(0.1), "in any unit"


def test_two_runs_tell_nothing_of_a_records_noise() -> None:
    runs = [HumanRun(name, 3.0 + each, 100 + each, 50, 2000) for name in ("two", "three") for each in range(3)]
    assert set(noises(runs[:2] + runs[3:])) == {"three"}


def test_the_noise_of_the_human_records() -> None:
    """Of the 34 that were retimed, the last one's runs are of two kinds, 1 % apart: the only one above 0.15 %."""
    found = noises(run for run in human_records.runs() if run.record <= "2026-01-19_BigramHashEmbedding")
    assert len(found) == 34
    spread = noise_range(found.values())
    assert 100 * spread.least.time == pytest.approx(0.018, abs=0.001)
    assert 100 * spread.most.time == pytest.approx(0.589, abs=0.001)
    assert (spread.least.loss, spread.most.loss) == pytest.approx((0.0005, 0.0036), abs=0.00005)
    assert [name for name, each in found.items() if each.time > 0.0015] == ["2026-01-19_BigramHashEmbedding"]
    assert [name for name, each in found.items() if each.loss > 0.00205] == ["2025-12-18_CautiousWDAdam"]
    assert spread.least.time < spread.median.time < 0.001
    assert spread.least.loss < spread.median.loss < 0.002


def test_the_noise_of_the_newer_records() -> None:
    """Within the other 34's range; one of the 25 with logs has a single run."""
    found = noises(run for run in human_records.runs() if run.record > "2026-01-20")
    assert len(found) == 24
    spread = noise_range(found.values())
    assert (100 * spread.least.time, 100 * spread.most.time) == pytest.approx((0.034, 0.354), abs=0.0005)
    assert (spread.least.loss, spread.most.loss) == pytest.approx((0.0005, 0.0015), abs=0.00005)


def test_noise_in_one_line_for_people() -> None:
    human = noise_range([Noise(0.0005, 0.0002), Noise(0.001, 0.006), Noise(0.0036, 0.0007)])
    assert human == NoiseRange(Noise(0.0005, 0.0002), Noise(0.001, 0.0007), Noise(0.0036, 0.006))
    assert describe_noise({"mine": Noise(0.0008, 0.0006)}, human) == (
        "noise of a run: mine: time 0.06 %, loss 0.0008; human records: "
        "time 0.02 to 0.60 % (median 0.07 %), loss 0.0005 to 0.0036 (median 0.0010)"
    )
