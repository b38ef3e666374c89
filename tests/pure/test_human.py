import pytest

from slurm_bench.effects import human_records
from slurm_bench.pure.human import RULE_SETS, HumanRecord, Progress, describe, progress
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


def test_the_tables_hold_all_records() -> None:
    records = human_records.load()
    assert len(records) == 34
    assert [record.name for record in records if record.saved_s is None] == ["2025-12-11_NorMuonOptimsAndFixes"]
    assert sum(not record.keeps_warm_up for record in records) == 17
    assert sum(not record.plain_next_token for record in records) == 10


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
    only = HumanRecord(name="only", saved_s=0.0, keeps_warm_up=True, plain_next_token=True)
    assert progress([only], "only", saved(1)) == ()


def test_one_line_for_people() -> None:
    share = Progress("all records", 63.2192, 9.3, 9.1, 9.5)
    assert describe(share) == "9.3 % [9.1, 9.5] of human progress, all records (63.2 s)"
