"""What a session ran with."""

from datetime import datetime
from typing import Any

from slurm_bench.words.model_use import ModelUse
from slurm_bench.words.records import Record


class Start(Record):
    """Of a session's desk and its agent, on one node."""

    at: datetime
    node: str
    revision: str
    """Of our code."""
    versions: dict[str, str]
    """Of programs, in their own words."""
    images: dict[str, str]
    """SHA-256 of each image, by its path."""


class Metadata(Record):
    session: str
    identity: str
    agent: str
    config: Any
    """As it was composed."""
    starts: tuple[Start, ...] = ()
    conversation: str | None = None
    program_starts: int = 0
    """Of the agent's program."""
    model_use: ModelUse | None = None
    exit_code: int | None = None
    ended_by: str = ""
