"""What distinguishes one agent from another: its program and its environment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from slurm_bench.effects.containers import Container, Mount
from slurm_bench.words.paths import agent_program


class Agent(Protocol):
    @property
    def mounts(self) -> Sequence[Mount]:
        """Folders that the agent needs beside the workspace, read-only."""

    def command(self, container: Container) -> Sequence[str]:
        """The agent's command line as its container sees it."""


class ShippedProgram:
    """An agent whose program is part of this package: one Python file of the standard library."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._mount = Mount(program.parent, "/opt/slurm_bench/agent")

    @property
    def mounts(self) -> Sequence[Mount]:
        return (self._mount,)

    def command(self, container: Container) -> Sequence[str]:
        return ("python3", f"{container.inside(self._mount)}/{self._program.name}")


def by_kind(kind: str) -> Agent:
    """The agent of `agent.kind`."""
    return {"scripted": ShippedProgram(agent_program("scripted"))}[kind]
