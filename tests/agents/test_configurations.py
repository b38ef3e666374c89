"""The agents' configurations, beside the table of docs/agents.md."""

import re

import pytest

from slurm_bench.steps import cli
from tests.conftest import REPOSITORY

TABLE = (REPOSITORY / "docs" / "agents.md").read_text().partition("## What differs")[0]
PINS = re.findall(r"^# npm: (\S+)@([\d.]+)", (REPOSITORY / "containers" / "agent.def").read_text(), re.MULTILINE)
WITH_A_MODEL = ["claude", "autoresearch", "codex", "claude_current", "codex_current", "opencode"]


@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_a_row_of_the_table(name: str) -> None:
    (config,) = cli.composed([f"agent={name}", "container=apptainer"])
    row = next(line for line in TABLE.splitlines() if line.startswith(f"| `{name}` "))
    agent = config.agent
    for value in (agent.model, agent.effort, agent.context_window and f"{agent.context_window:,}"):
        assert value is None or f"| {value} |" in row or "the same" in row
    prices = ", ".join(f"{agent.api.prices[kind]:g}" for kind in ("input", "output", "cache_read", "cache_write"))
    assert f"| {prices} |" in row or "the same" in row or "as `claude`" in row
    assert agent.title == name


def test_every_program_of_the_image_is_in_the_table() -> None:
    assert len(PINS) == 4
    assert [version for _, version in PINS if f" {version} |" not in TABLE] == []
