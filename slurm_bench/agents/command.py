"""Any program as agent: its command lines, and where its events say what is wanted, are configuration."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slurm_bench.agents.agent import MODEL_URL, NO_KEY, Seen, indented, short
from slurm_bench.words.config import CONVERSATION, PROMPT, ProgramConfig

_SPEAKS_TO = {
    "anthropic": {"ANTHROPIC_BASE_URL": MODEL_URL, "ANTHROPIC_API_KEY": NO_KEY},
    "openai": {"OPENAI_BASE_URL": f"{MODEL_URL}/v1", "OPENAI_API_KEY": NO_KEY},
}
"""Variables that the makers' own clients read."""
_ON_STANDARD_INPUT = 'printf %s "$1" >"$HOME/prompt.md" && shift && exec "$@" <"$HOME/prompt.md"'
"""For sh: the first argument becomes the standard input of the command that the others are."""


class Command:
    """Its memory is its home, which is kept with the session, and whatever it writes into its workspace."""

    starts_alone: Sequence[str] = ()
    first_prompt: Sequence[str] = ("problem", "rules", "execution")

    def __init__(self, program: ProgramConfig, maker: str | None) -> None:
        self._program = program
        self.converses = program.again
        self.has_events = program.events.are_read
        self.asks_version: Sequence[str] = program.version
        self.shipped = Path(program.folder) if program.folder else None
        self.environment: Mapping[str, str] = _SPEAKS_TO.get("openai" if maker == "azure" else str(maker), {})

    def command(self, prompt: str, conversation: str | None) -> Sequence[str]:
        argv = self._program.resume if conversation else self._program.argv
        values = {PROMPT: prompt, CONVERSATION: conversation or ""}
        filled = [_filled(part, values) for part in argv]
        is_argument = any(PROMPT in part for part in argv)
        return filled if is_argument else ("sh", "-c", _ON_STANDARD_INPUT, "sh", prompt, *filled)

    def read(self, event: Mapping[str, Any]) -> Seen:
        if not self.has_events:
            return Seen(text=json.dumps(event), acted=True)
        at = self._program.events
        action, output = _text(event, at.action), _text(event, at.output)
        lines = [_text(event, at.text), action and f"$ {short(action)}", output and indented(output)]
        return Seen(
            # One that cannot be gone on with is none: then everything is told again.
            conversation=_text(event, at.conversation) or None if self._program.resume else None,
            text="\n".join(filter(None, lines)),
            acted=bool(action),
            failure=_text(event, at.failure) or None,
        )

    def has_lost(self, failure: str) -> bool:
        return bool(self._program.lost) and self._program.lost in failure


def _filled(part: str, values: Mapping[str, str]) -> str:
    """In one pass: what a prompt says of {prompt} stays as it is."""
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], part)


def _text(event: object, path: str) -> str:
    """What lies at a path such as part.state.input: a text as it is, anything else as JSON; empty if there is none."""
    for name in path.split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event if isinstance(event, str) else json.dumps(event) if event else ""
