"""A model that plays a whole agent by a script: what it says next follows from the request alone.

So it does not matter which program asks, how often it is started again, or whether an answer of the model was lost.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.model_server import Polls, Request, Runs, Says, Step, text_of

_PROGRAMS_OWN = re.compile(r"\s*(<[a-z_-]+>|\[Request interrupted)")
"""How programs begin what they tell their model in the user's name: <system-reminder>, <environment_context>."""
_ADDED = re.compile(r"\s*<system-reminder>.*?</system-reminder>", re.DOTALL)
"""What Claude Code puts behind an output: how many tokens are left, say."""
_GOES_ON = re.compile(r"^Process running with session ID (\d+)$", re.MULTILINE)
_HEAD = re.compile(r"\A.*?^Output:\n", re.MULTILINE | re.DOTALL)
"""What Codex puts before a command's output."""


@dataclass(frozen=True)
class Scene:
    """The conversation that a request sends along."""

    request: Request

    @cached_property
    def turns(self) -> list[tuple[str, list[str]]]:
        """Each prompt, with the output of each command since."""
        turns: list[tuple[str, list[str]]] = []
        for message in self.request.messages:
            if message.get("type") == "function_call_output":
                self._add_output(message, turns[-1][1])
            elif message.get("role") == "user":
                self._add_message(message["content"], turns)
        return turns

    @property
    def prompts(self) -> list[str]:
        return [prompt for prompt, _ in self.turns]

    @property
    def results(self) -> list[str]:
        """The output of each command since the last prompt."""
        return self.turns[-1][1]

    @property
    def waits_for(self) -> int | None:
        """Codex's session of a command that has not ended."""
        goes_on = _GOES_ON.search(text_of(self.request.messages[-1].get("output")))
        return int(goes_on[1]) if goes_on else None

    def _add_message(self, content: str | list[dict[str, Any]], turns: list[tuple[str, list[str]]]) -> None:
        """Claude Code's prompt may come in one message with the outputs before it."""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        outputs = [_ADDED.sub("", text_of(part["content"])) for part in parts if part["type"] == "tool_result"]
        if outputs:
            turns[-1][1].extend(outputs)
        prompt = "".join(part["text"] for part in parts if "text" in part and not _PROGRAMS_OWN.match(part["text"]))
        if prompt:
            turns.append((prompt, []))

    def _add_output(self, message: dict[str, Any], outputs: list[str]) -> None:
        """What a wait for more brings belongs to the command before."""
        output = _HEAD.sub("", text_of(message["output"]))
        if message["call_id"] in self._waits:
            outputs[-1] += output
        else:
            outputs.append(output)

    @cached_property
    def _waits(self) -> set[str]:
        return {each["call_id"] for each in self.request.messages if each.get("name") == "write_stdin"}


Instead = Callable[[Scene], Step | None]


class ScriptedModel:
    """The script of a ModelServer.

    Args:
        turns: shell commands for each prompt, run one after another, after which the turn ends; the last for all
            further prompts.
        instead: sees each scene first; a step that it returns is taken in the script's place.
    """

    def __init__(self, turns: Sequence[Sequence[str]], instead: Iterable[Instead] = ()) -> None:
        self.scenes: list[Scene] = []
        self._turns = turns
        self._instead = tuple(instead)

    def __call__(self, request: Request) -> Step:
        if not request.body.get("tools"):
            return Says("An agent")  # a title, a summary: whatever a program asks for beside its conversation
        scene = Scene(request)
        self.scenes.append(scene)
        steps = (instead(scene) for instead in self._instead)
        return next((step for step in steps if step), None) or self._next(scene)

    @property
    def printed(self) -> str:
        """What its one command printed, all of it: a slow one's output comes in parts."""
        return max((scene.results[0] for scene in self.scenes if scene.results), key=len)

    def _next(self, scene: Scene) -> Step:
        if scene.waits_for is not None:
            return Polls(scene.waits_for)
        number = len(scene.prompts) - 1
        commands = self._turns[min(number, len(self._turns) - 1)]
        done = len(scene.results)
        return Runs(commands[done]) if done < len(commands) else Says(f"Turn {number} ends.")


class Times:
    """A step for so many requests, from the one where a prompt has had so many of its commands run."""

    def __init__(self, step: Step, times: int, prompt: int = 0, command: int = 0) -> None:
        self._step, self._left, self._where = step, times, (prompt, command)

    def __call__(self, scene: Scene) -> Step | None:
        if self._left == 0 or (len(scene.prompts) - 1, len(scene.results)) != self._where:
            return None
        self._left -= 1
        return self._step
