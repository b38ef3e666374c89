"""What the report says of what a model may remember."""

from datetime import date

import pytest

from slurm_bench.effects import human_records
from slurm_bench.pure.contamination import Cutoff, lines
from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.yardstick import yardsticks

CUTOFFS = {
    "spring": Cutoff("spring", "2026-03", "training data", "its maker", "2026-11-30"),
    "autumn": Cutoff("autumn", "2025-08-31", "knowledge", "somebody else", "2026-11-30"),
}


@pytest.fixture
def said() -> tuple[str, ...]:
    every = yardsticks(human_records.load(), "2026-01-19_BigramHashEmbedding")[0]
    models = [("claude", "spring"), ("claude", "spring"), ("codex", "autumn"), ("codex", "unheard-of"), ("mine", "")]
    return lines(every.start, every.steps, models, CUTOFFS)


def test_the_dates_of_the_start_and_of_the_end_are_said(said: tuple[str, ...]) -> None:
    assert said[0] == (
        "Contamination: the start, 2026-01-19_BigramHashEmbedding, is public since 2026-01-19, the yardstick's last "
        "record, 2026-07-17_FP8DownProjection, since 2026-07-17."
    )


def test_records_before_the_cut_off_are_counted(said: tuple[str, ...]) -> None:
    """63 to 78, the last of 22 March: the whole month counts."""
    assert said[1] == (
        "spring: 16 of 27 records of the yardstick were public before the model's stated training cut-off; the start "
        "was. (Stated: training data until 2026-03; its maker, seen on 2026-11-30.)"
    )
    assert said[2] == (
        "autumn: 0 of 27 records of the yardstick were public before the model's stated training cut-off; the start "
        "was not. (Stated: knowledge until 2025-08-31, which its training data may outlast; somebody else, seen on "
        "2026-11-30.)"
    )


def test_what_is_not_known_is_said(said: tuple[str, ...]) -> None:
    unknown = "training cut-off is not known, nor how many of the 27 records of the yardstick were public before it."
    assert said[3:] == (f"unheard-of: its {unknown}", f"mine: no model is named, so its {unknown}")


def test_the_newest_record_as_the_start_has_its_own_date_alone() -> None:
    newest = HumanRecord("2026-03-22_VarlenMaxDocs", date(2026, 3, 22), None, 85.56)
    head, known, unknown = lines(newest, (), [("claude", "spring"), ("codex", "unheard-of")], CUTOFFS)
    assert head == (
        "Contamination: the start, 2026-03-22_VarlenMaxDocs, is public since 2026-03-22, none later is known."
    )
    assert known == (
        "spring: the start was public before the model's stated training cut-off. "
        "(Stated: training data until 2026-03; its maker, seen on 2026-11-30.)"
    )
    assert unknown == "unheard-of: its training cut-off is not known."


def test_a_start_that_is_no_human_record_is_said_to_be_none() -> None:
    (alone,) = lines(None, (), [("claude", "spring")], CUTOFFS)
    assert alone == ("Contamination: the start is no human record, and what a model may remember of it is not known.")


@pytest.mark.parametrize(
    ("until", "day", "covered"),
    [
        ("2026-03", date(2026, 3, 31), True),
        ("2026-03", date(2026, 4, 1), False),
        ("2026-03-14", date(2026, 3, 14), True),
        ("2026-03-14", date(2026, 3, 15), False),
    ],
)
def test_a_cut_off_covers_its_month_or_day(until: str, day: date, covered: bool) -> None:
    assert Cutoff("m", until, "knowledge", "", "").covers(day) == covered


def test_the_shipped_cut_offs_say_where_they_are_from() -> None:
    found = human_records.cutoffs()
    assert {name: each.until for name, each in found.items()} == {
        "claude-opus-4-6": "2025-08",
        "claude-opus-5-5": "2026-06",
        "gpt-5.4": "2025-08-31",
        "gpt-6.1-sol": "2026-04-30",
    }
    assert all(each.of in ("training data", "knowledge") and "." in each.source for each in found.values())
    assert all(date.fromisoformat(each.seen) for each in found.values())
