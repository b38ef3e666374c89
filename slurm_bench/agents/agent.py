"""What distinguishes one agent from another; all of them are started, read and stopped by the same loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MODEL_PORT = 8117
MODEL_URL = f"http://127.0.0.1:{MODEL_PORT}"
"""Where its container reaches its model: the near end of the key proxy."""
FINAL_WORDS = "agent_final.txt"
"""In the workspace: where an agent's last message may lie."""
NO_KEY = "none-in-here"
"""What stands for the key in the container: programs want one, and the proxy puts the true one in its place."""

_LONGEST_TEXT = 4000


@dataclass(frozen=True)
class Seen:
    """What one event of an agent's stream says."""

    conversation: str | None = None
    text: str = ""
    """For the readable trace."""
    acted: bool = False
    """Whether the agent did something: more than to speak."""
    failure: str | None = None
    """At the end of a turn why it failed, in the program's own words, empty if it did not; None before."""
    warning: str = ""
    """What the program says that it lacks, and goes on without."""


class Agent(Protocol):
    @property
    def converses(self) -> bool:
        """Whether its program is started again and again, each time with a prompt, until the session is over.

        Any other is over when it ends.
        """

    @property
    def has_events(self) -> bool:
        """Whether its output is events; of any other, each line counts as something done."""

    @property
    def shipped(self) -> Path | None:
        """Folder with its program, where that is not in the image."""

    @property
    def asks_version(self) -> Sequence[str]:
        """A command that prints its program's version; empty where there is none."""

    @property
    def starts_alone(self) -> Sequence[str]:
        """A command that starts it without its model, so that it says what it lacks; empty where it says nothing."""

    @property
    def first_prompt(self) -> Sequence[str]:
        """What it is told first: names of prompts."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables beside those of the contract, where its memory lies among them."""

    def command(self, prompt: str, conversation: str | None) -> Sequence[str]:
        """Its command line in the container, for a new conversation or to go on with one."""

    def read(self, event: Mapping[str, Any]) -> Seen:
        """What an event of its standard output says; a form that is not known says nothing."""

    def has_lost(self, failure: str) -> bool:
        """Whether it failed because it does not know its conversation any more."""


def short(text: str) -> str:
    """As much of a long output as a reader wants; the raw events have all of it."""
    left_out = len(text) - _LONGEST_TEXT
    return f"{text[:_LONGEST_TEXT]} … ({left_out} more characters)" if left_out > 0 else text


def indented(output: str) -> str:
    """What a tool answered, told apart from what the agent says."""
    return "\n".join(f"  {line}" for line in short(output).splitlines())
