"""A sweep's members: all are checked before one is performed, and each session has a name of its own."""

import re
import sys

import pytest

from slurm_bench.steps import cli
from slurm_bench.words.errors import UsageError

pytestmark = pytest.mark.whole

ON_SLURM = ("-m", "cluster=slurm", "container=apptainer")


@pytest.fixture(autouse=True)
def _own_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads sys.argv, into which a command line is written."""
    monkeypatch.setattr(sys, "argv", ["slurm_bench"])


def test_sessions_are_named_by_agent_and_seed() -> None:
    configs = cli.composed([*ON_SLURM, "agent=codex,codex_azure", "agent.api.base_url=http://azure", "seed=1,2"])
    names = [config.session for config in configs]
    assert [re.sub(r"^\d{8}-\d{6}-", "", name) for name in names] == [
        *("codex-1", "codex-2", "codex_azure-1", "codex_azure-2"),
    ]


@pytest.mark.parametrize("sweep", [["agent.hours=1,2"], ["session=first", "seed=1,2"]])
def test_two_sessions_of_one_name_are_refused(sweep: list[str]) -> None:
    with pytest.raises(UsageError, match=r"session must be another for each member of a sweep, got '.*' more"):
        cli.composed(["-m", *sweep])


def test_all_sessions_of_a_sweep_have_its_time_in_their_names() -> None:
    configs = cli.composed(["-m", "seed=range(12)"])
    assert len({config.session.rpartition("-")[0] for config in configs}) == 1
    assert len({config.session for config in configs}) == 12


def test_the_same_name_in_two_campaigns_is_two_sessions() -> None:
    assert len(cli.composed(["-m", "session=first", "task=rehearsal,nanogpt_speedrun"])) == 2


def test_commands_that_start_no_session_may_sweep_what_they_like() -> None:
    assert len(cli.composed(["-m", "command=budget", "format=csv,json"])) == 2


def test_one_wrong_member_is_named_and_stops_all() -> None:
    with pytest.raises(UsageError, match=r"^nothing is started, for #1: budget\.h100_hours must be above 0"):
        cli.composed(["-m", "budget.h100_hours=1,-1,-2", "session=a${budget.h100_hours}"])


@pytest.mark.parametrize("flag_at", range(4))
def test_flags_may_stand_anywhere(flag_at: int) -> None:
    line = ["command=budget", "campaign=a,b", "format=csv"]
    line.insert(flag_at, "-m")
    assert [config.campaign for config in cli.composed(line)] == ["a", "b"]
