"""The agents: of each its command line, its environment and how its stream is read."""

from slurm_bench.agents.agent import Agent
from slurm_bench.agents.autoresearch import Autoresearch
from slurm_bench.agents.claude import Claude
from slurm_bench.agents.codex import Codex
from slurm_bench.agents.scripted import Scripted
from slurm_bench.words.config import AgentConfig


def of(config: AgentConfig) -> Agent:
    """The agent that the configuration names."""
    model, effort = str(config.model), config.effort
    match config.kind:
        case "claude":
            return Claude(model, effort)
        case "codex":
            return Codex(model, effort, config.context_window)
        case "autoresearch":
            return Autoresearch(model, effort)
        case _:
            return Scripted()
