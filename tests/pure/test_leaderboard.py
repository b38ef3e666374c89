import pytest

from slurm_bench.pure.leaderboard import Entry, parse
from tests.upstream_leaderboard import readme, row

LOG = "records/track_1_short/2030-01-01_First/runs/a.txt"


def entry(line: str) -> Entry:
    return parse(readme([line]))[-1]


def test_a_row_as_it_is_written() -> None:
    links = f"[log]({LOG}),[PR](https://example.org/pull/17)"
    found = entry(row(29, "1.650", "02/13/30", links, " @one, feat. @two & [Site](https://example.org) "))
    assert found == Entry(29, "1.650", "2030-02-13", "@one, feat. @two & Site", LOG, "17")
    assert found.folder == "records/track_1_short/2030-01-01_First"


def test_only_the_first_table_counts() -> None:
    assert [each.number for each in parse(readme([row(29, "1.0", "01/01/30"), row(30, "0.9", "01/02/30")]))] == [
        *(28, 29, 30),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "30 | soon | words | 01/01/30 | - | -",
        "30 | 1.0 minutes | words | 13/13/30 | - | -",
        "30 | 1.0 minutes | 01/01/30 | - | -",
        "thirty | 1.0 minutes | words | 01/01/30 | - | -",
    ],
)
def test_a_line_that_is_no_row_ends_the_table(line: str) -> None:
    assert [each.number for each in parse(readme([line, row(31, "0.8", "01/01/30")]))] == [28]


def test_a_readme_without_a_table_has_no_records() -> None:
    assert parse("# Title\n\nwords | words\n") == []


def test_a_folder_may_be_linked_or_nothing() -> None:
    folder = "records/track_1_short/2030-01-01_First"
    assert (entry(row(29, "1.0", "01/01/30", f"[log]({folder}/)")).log) == folder
    without = entry(row(29, "1.0", "01/01/30", "-", "-"))
    assert (without.log, without.folder, without.pull, without.contributors) == ("", "", "", "")


@pytest.mark.parametrize(
    ("credits", "made_by"),
    [
        ("@one, @two", "people"),
        ("@one & AI System [Robot](https://example.org)", "people+ai"),
        ("@one and AI system Robot", "people+ai"),
        ("AI System Robot", "ai"),
        ("@maintained, said @Systema", "people"),
        ("-", ""),
    ],
)
def test_who_made_it_by_the_credits(credits: str, made_by: str) -> None:
    assert entry(row(29, "1.0", "01/01/30", "-", credits)).made_by == made_by
