"""Codex, headless: `codex exec`, with its events as one JSON object a line."""

from collections.abc import Mapping, Sequence
from typing import Any

from slurm_bench.agents.agent import FINAL_WORDS, MODEL_URL, NO_KEY, Seen, indented

_KEY_VARIABLE = "BENCHMARK_MODEL_KEY"
_UNKNOWN = "no rollout found for thread id"

_NO_RETRIES = {"model_providers.proxy.stream_max_retries": "0"}


class Codex:
    """Its memory is CODEX_HOME, ~/.codex: a conversation lies there under sessions/, and keeps its thread id."""

    converses = True
    has_events = True
    shipped = None
    first_prompt: Sequence[str] = ("problem", "rules", "execution")

    def __init__(
        self,
        model: str,
        effort: str | None = None,
        executable: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._model, self._effort, self._further = model, effort, settings or {}
        self._executable = executable or "codex"
        self.asks_version: Sequence[str] = (self._executable, "--version")

    @property
    def environment(self) -> Mapping[str, str]:
        return {_KEY_VARIABLE: NO_KEY}

    @property
    def starts_alone(self) -> Sequence[str]:
        *started, dashes, prompt = self.command("Hello", None)
        return (*started, *_flags(_NO_RETRIES), dashes, prompt)

    def command(self, prompt: str, conversation: str | None) -> Sequence[str]:
        # Settings as arguments: a file of ours in its home would lie where the agent writes.
        freely = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
        options = ("--json", "-o", FINAL_WORDS, *freely, "-m", self._model, *_flags(self._settings()))
        what = ("resume", *options, conversation) if conversation else options
        return (self._executable, "exec", *what, "--", prompt)

    def _settings(self) -> dict[str, str]:
        """Values are TOML."""
        effort = {"model_reasoning_effort": f'"{self._effort}"'} if self._effort else {}
        where = f'name="proxy", base_url="{MODEL_URL}/v1", env_key="{_KEY_VARIABLE}"'
        how = 'wire_api="responses", supports_websockets=false'
        retries = "request_max_retries=0"  # its stream's five are enough: together they ask 30 times in 25 s
        return {
            "model_provider": '"proxy"',
            "model_providers.proxy": f"{{{where}, {how}, {retries}}}",
            "web_search": '"disabled"',
            "analytics.enabled": "false",
            "check_for_update_on_startup": "false",
            "allow_login_shell": "false",  # its profile would put another PATH in the place of ours
            "features.unbounded_connection_retries": "false",  # who waits, and how long, is decided outside
            **effort,
            **self._further,
        }

    def read(self, event: Mapping[str, Any]) -> Seen:
        match event:
            case {"type": "thread.started", "thread_id": str(thread)}:
                return Seen(thread, f"-- {self._model}, conversation {thread} --")
            case {"type": "item.started" | "item.completed" as when, "item": dict(item)}:
                return _done(item) if when == "item.completed" else _begun(item)
            case {"type": "turn.failed"}:
                message = _message(event)
                return Seen(text=f"-- failed: {message} --", failure=message)
            case {"type": "turn.completed"}:
                return Seen(text="-- its turn ends --", failure="")
            case {"type": "error", "message": str(message)}:
                return Seen(text=f"-- {message} --")  # it may still go on: the turn's end says whether it failed
        return Seen()

    def has_lost(self, failure: str) -> bool:
        return _UNKNOWN in failure


def _flags(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _message(event: Mapping[str, Any]) -> str:
    """Why a turn failed, in the service's words where there are any."""
    match event:
        case {"error": {"message": str(message)}} if message:
            return message
    return "it gives no reason"


def _begun(item: Mapping[str, Any]) -> Seen:
    command = item.get("command")
    return Seen(text=f"$ {command}", acted=True) if item.get("type") == "command_execution" else Seen()


def _done(item: Mapping[str, Any]) -> Seen:
    match item:
        case {"type": "agent_message", "text": str(text)}:
            return Seen(text=text)
        case {"type": "reasoning", "text": str(text)}:
            return Seen(text=f"(thinks) {text}")
        case {"type": "command_execution", "aggregated_output": str(output)}:
            return Seen(text=indented(output))
        case {"type": "file_change", "changes": list(changes)}:
            paths = [str(change.get("path")) for change in changes if isinstance(change, dict)]
            return Seen(text=f"$ edit {' '.join(paths)}", acted=True)
        case {"type": "error", "message": str(message)}:  # no error of the turn's, which goes on
            return Seen(text=f"-- {message} --", warning=message)
    return Seen()
