"""What the scripts of sbatch ask it for; what becomes of that, tests/acceptance sees on a cluster."""

import pytest

from tests.conftest import REPOSITORY


def wishes(name: str) -> list[str]:
    """The options that sbatch reads: up to the first line that is a command."""
    lines = (REPOSITORY / "scripts" / name).read_text().splitlines()
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    return [line.removeprefix("#SBATCH ") for line in lines[:first_command] if line.startswith("#SBATCH ")]


@pytest.mark.parametrize("name", ["session.sbatch", "campaign.sbatch", "budget_report.sbatch"])
def test_what_would_queue_its_jobs_again_is_not_requeued(name: str) -> None:
    assert "--no-requeue" in wishes(name)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "scripts").glob("*.sbatch")), ids=lambda path: path.name)
def test_what_comes_along_is_listed_and_what_wins_over_the_list_is_said(path: object) -> None:
    name = str(path)
    (listed,) = [each for each in wishes(name) if each.startswith("--export=")]
    assert "ALL" not in listed and "PATH" in listed
    assert "SBATCH_EXPORT" in (REPOSITORY / "scripts" / name).read_text()
