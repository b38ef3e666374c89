"""An agent of ours that plays a fixed part: one Python file of the standard library, without a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slurm_bench.agents.agent import Seen
from slurm_bench.words.paths import agent_program


class Scripted:
    converses = False
    has_events = False
    asks_version: Sequence[str] = ()
    starts_alone: Sequence[str] = ()
    first_prompt: Sequence[str] = ()
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._program = agent_program("scripted")

    @property
    def shipped(self) -> Path:
        return self._program.parent

    def command(self, prompt: str, conversation: str | None) -> Sequence[str]:
        return (self._program.name,)

    def read(self, event: Mapping[str, Any]) -> Seen:
        return Seen()

    def has_lost(self, failure: str) -> bool:
        return False
