"""The study that the default design rests on comes out again, number by number, from a command of its own."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.long
def test_the_study_comes_out_as_committed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "scripts/study_designs.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "came out again" in done.stdout


def test_the_study_stops_where_the_configuration_does() -> None:
    conf = (REPOSITORY / "conf/retime/paired.yaml").read_text()
    simulations = (REPOSITORY / "scripts/study/simulations.py").read_text()
    (configured,) = re.findall(r"^stop_below: (\S+)$", conf, re.MULTILINE)
    assert f"\nSTOP_BELOW = {configured}\n" in simulations


def test_what_is_said_of_the_study_is_in_it() -> None:
    """Shares to a hundredth of a percent are copied from its tables; what is rounded further is not looked at."""
    said, found = (
        set(re.findall(r"\d+\.\d\d %", (REPOSITORY / f"docs/{page}.md").read_text()))
        for page in ("statistics", "study_designs")
    )
    assert len(said) > 30
    assert said <= found
