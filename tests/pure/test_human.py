from collections import defaultdict
from pathlib import Path

import pytest

from slurm_bench.effects import human_records
from slurm_bench.pure.human import HumanRun, Noise, NoiseRange, describe_noise, noise, noise_range, noises
from slurm_bench.words.errors import UsageError
from tests import human_tables


def test_the_tables_hold_all_records() -> None:
    records = human_records.load()
    assert len(records) == 61
    retimed = [record for record in records if record.saved_s is not None]
    assert (len(retimed), retimed[-1].name) == (33, "2026-01-19_BigramHashEmbedding")
    with_ai = {record.name: record.made_by for record in records if record.made_by != "people"}
    assert with_ai == {
        "2025-09-11_VectSigmoidBFloat16": "people+ai",
        "2026-01-16_FusedSoftcappedEntropy": "people+ai",
        "2026-02-02_KernelTuning": "people+ai",
        "2026-02-10_ShortWindow": "people+ai",
        "2026-06-11_RecursiveFromBest": "people+ai",
    }
    assert (records[0].leaderboard_s, records[-1].leaderboard_s) == pytest.approx((163.86, 73.8))
    assert sum(not record.keeps_warm_up for record in records) == 17 + 27
    assert sum(not record.plain_next_token for record in records) == 10 + 27


def test_a_record_without_its_rules_is_named(tmp_path: Path) -> None:
    rules = human_tables.write(tmp_path) / "human_rules.tsv"
    rules.write_text("".join(line for line in rules.open() if not line.startswith("2026-02-03_VeTuned")))
    with pytest.raises(UsageError, match=r"human_rules.tsv has no row of 2026-02-03_VeTuned"):
        human_records.load(tmp_path)


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
