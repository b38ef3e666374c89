"""The agents: of each its command line, its environment and how its stream is read."""

from slurm_bench.agents.agent import Agent
from slurm_bench.agents.autoresearch import Autoresearch
from slurm_bench.agents.claude import Claude
from slurm_bench.agents.codex import Codex
from slurm_bench.agents.command import Command
from slurm_bench.agents.scripted import Scripted
from slurm_bench.words.config import AgentConfig


def of(config: AgentConfig) -> Agent:
    """The agent that the configuration names."""
    model, effort, executable = str(config.model), config.effort, config.executable
    match config.kind:
        case "claude":
            return Claude(model, effort, executable)
        case "codex":
            window = {"model_context_window": str(config.context_window)} if config.context_window else {}
            return Codex(model, effort, executable, window | config.settings)
        case "autoresearch":
            return Autoresearch(model, effort, executable)
        case "command":
            return Command(config.program, config.api.maker)
        case _:
            return Scripted()
