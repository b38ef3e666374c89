"""Claude Code, headless: `claude -p`, with its events as one JSON object a line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slurm_bench.agents.agent import MODEL_URL, NO_KEY, Seen, indented, short

_LONGEST_COMMAND_MS = 7 * 24 * 3_600_000
"""`submit` waits as long as verdicts take."""
_WEB = ("WebSearch", "WebFetch")
_SLEEPS = ("ScheduleWakeup", "CronCreate", "CronDelete", "CronList", "Monitor")
"""Tools by which a turn ends and another begins by the clock or by a line of output: meanwhile nothing works."""
_WORKTREES = ("EnterWorktree", "ExitWorktree")
"""They change its working directory, under whose name its memory lies."""
_UNKNOWN = "No conversation found with session ID"
_TOOL = "$ "


class Claude:
    """Its memory is ~/.claude: a conversation lies there under its working directory's name, and keeps its id."""

    converses = True
    has_events = True
    shipped = None
    starts_alone: Sequence[str] = ()
    first_prompt: Sequence[str] = ("problem", "rules", "execution")

    def __init__(self, model: str, effort: str | None, executable: str | None = None) -> None:
        self._model, self._effort, self._executable = model, effort, executable or "claude"
        self.asks_version: Sequence[str] = (self._executable, "--version")

    @property
    def environment(self) -> Mapping[str, str]:
        # One model for everything, helpers of its own included: what is measured is that model.
        roles = ("DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL", "SMALL_FAST_MODEL")
        return {
            "ANTHROPIC_BASE_URL": MODEL_URL,
            "ANTHROPIC_API_KEY": NO_KEY,
            **{f"ANTHROPIC_{role}": self._model for role in roles},
            "CLAUDE_CODE_SUBAGENT_MODEL": self._model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "BASH_DEFAULT_TIMEOUT_MS": str(_LONGEST_COMMAND_MS),
            "BASH_MAX_TIMEOUT_MS": str(_LONGEST_COMMAND_MS),
            "CLAUDE_CODE_PRINT_BG_WAIT_CEILING_MS": str(_LONGEST_COMMAND_MS),
            # Root of a user namespace is refused its permission bypass otherwise; the container is the sandbox.
            "IS_SANDBOX": "1",
        }

    def command(self, prompt: str, conversation: str | None) -> Sequence[str]:
        effort = ("--effort", self._effort) if self._effort else ()
        resume = ("--resume", conversation) if conversation else ()
        stream = ("--output-format", "stream-json", "--verbose")
        freely = ("--dangerously-skip-permissions", "--disallowedTools", ",".join((*_WEB, *_SLEEPS, *_WORKTREES)))
        return (self._executable, "-p", *stream, "--model", self._model, *effort, *freely, *resume, "--", prompt)

    def read(self, event: Mapping[str, Any]) -> Seen:
        whose = event.get("session_id")
        conversation = whose if isinstance(whose, str) and event.get("type") == "system" else None
        match event:
            case {"type": "system", "subtype": "init"}:
                return Seen(conversation, f"-- {event.get('model')}, conversation {conversation} --")
            case {"type": "system", "subtype": "api_retry"}:
                return Seen(text=f"-- asks its model again ({event.get('error_status')} {event.get('error')}) --")
            case {"type": "assistant" | "user" as role, "message": {"content": content}}:
                lines = list(_lines(content))
                acted = any(line.startswith(_TOOL) for line in lines) and role == "assistant"
                return Seen(text="\n".join(lines), acted=acted)
            case {"type": "result", "is_error": True}:
                return Seen(text=f"-- failed: {_failure(event)} --", failure=_failure(event))
            case {"type": "result"}:
                return Seen(text=f"-- its turn ends ({event.get('num_turns')} steps) --", failure="")
        return Seen(conversation)

    def has_lost(self, failure: str) -> bool:
        return _UNKNOWN in failure


def _failure(event: Mapping[str, Any]) -> str:
    said = event.get("result") or event.get("errors") or event.get("subtype") or "no reason given"
    return said if isinstance(said, str) else json.dumps(said)


def _lines(content: object) -> Iterator[str]:
    """A message's parts as a reader wants them."""
    if isinstance(content, str):
        yield content
        return
    for part in content if isinstance(content, list) else ():
        match part:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "thinking", "thinking": str(text)} if text:
                yield f"(thinks) {text}"
            case {"type": "tool_use", "input": {"command": command}}:
                yield f"{_TOOL}{command}"
            case {"type": "tool_use", "name": str(name), "input": given}:
                yield f"{_TOOL}{name} {short(json.dumps(given))}"
            case {"type": "tool_result", "content": result}:
                yield indented("\n".join(_lines(result)))
