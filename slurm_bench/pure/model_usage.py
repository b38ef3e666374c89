"""What an answer of a model's API says of itself while it passes: the tokens used, an error, whether it is whole."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from slurm_bench.words.model_use import ModelUse, Prices, TokenCount

_MILLION = 1_000_000
_FINAL_RESPONSES = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TELLING = (b'"usage"', b'"error"', b'"message_stop"')
"""An event without any of these says nothing that is asked for here, and is not parsed."""


class Answer:
    """One answer, fed with its bytes in whatever pieces they come.

    A stream that breaks off has said what it has said: Anthropic's names the tokens read at its beginning.
    """

    def __init__(self, maker: str, *, is_stream: bool) -> None:
        self.is_whole = False
        """Whether its end has come."""
        self.error: Mapping[str, Any] | None = None
        """What the service says went wrong, as it has it in the answer."""
        self._is_anthropic = maker == "anthropic"
        self._is_stream = is_stream
        self._rest: list[bytes] = []
        self._usage: dict[str, Any] = {}

    @property
    def tokens(self) -> TokenCount:
        """What has been said so far."""
        return _of_anthropic(self._usage) if self._is_anthropic else _of_openai(self._usage)

    def feed(self, piece: bytes) -> None:
        if not self._is_stream or b"\n" not in piece:
            self._rest.append(piece)
            return
        *lines, rest = b"".join([*self._rest, piece]).split(b"\n")
        self._rest = [rest]
        for line in lines:
            self._read_line(line)

    def end(self) -> None:
        """No more will come."""
        rest, self._rest = b"".join(self._rest), []
        if self._is_stream:
            self._read_line(rest)
        else:
            self._read_whole(_parse(rest))

    def _read_line(self, line: bytes) -> None:
        # Both APIs put an event's data on one line, which names the event's type again.
        if line.startswith(b"data:") and any(word in line for word in _TELLING):
            self._read_event(_parse(line.removeprefix(b"data:")))

    def _read_event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "error":
            self.error = _part(event, "error") or event
        elif kind == "message_start":
            self._take_usage(_part(_part(event, "message"), "usage"))
        elif kind == "message_delta":
            self._take_usage(_part(event, "usage"))
        elif kind == "message_stop":
            self.is_whole = True
        elif kind in _FINAL_RESPONSES:
            self._read_whole(_part(event, "response"))

    def _read_whole(self, answer: Mapping[str, Any]) -> None:
        self._take_usage(_part(answer, "usage"))
        self.error = _part(answer, "error") or None
        self.is_whole = bool(answer)

    def _take_usage(self, usage: Mapping[str, Any]) -> None:
        # Later counts include the earlier ones.
        self._usage.update({name: value for name, value in usage.items() if value is not None})


def with_answer(use: ModelUse, model: str, tokens: TokenCount, prices: Prices | None) -> ModelUse:
    """The use with one more answer of a model."""
    by_model = {**use.by_model, model: use.by_model.get(model, TokenCount()) + tokens}
    return ModelUse(by_model=by_model, usd=sum(cost(each, prices) for each in by_model.values()) if prices else None)


def cost(tokens: TokenCount, prices: Prices) -> float:
    """USD."""
    return (
        tokens.input_tokens * prices.input
        + tokens.cache_read_tokens * prices.cache_read
        + tokens.cache_write_tokens * prices.cache_write
        + tokens.output_tokens * prices.output
    ) / _MILLION


def _of_anthropic(usage: Mapping[str, Any]) -> TokenCount:
    # What compacting took is in no sum but its own.
    steps = [step for step in _list(usage, "iterations") if step.get("type") == "compaction"]
    counts = [usage, *steps]
    return TokenCount(
        requests=1,
        input_tokens=sum(_number(each, "input_tokens") for each in counts),
        cache_read_tokens=sum(_number(each, "cache_read_input_tokens") for each in counts),
        cache_write_tokens=sum(_number(each, "cache_creation_input_tokens") for each in counts),
        output_tokens=sum(_number(each, "output_tokens") for each in counts),
    )


def _of_openai(usage: Mapping[str, Any]) -> TokenCount:
    details = _part(usage, "input_tokens_details")
    read, written = _number(details, "cached_tokens"), _number(details, "cache_write_tokens")
    return TokenCount(
        requests=1,
        input_tokens=max(0, _number(usage, "input_tokens") - read - written),
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=_number(usage, "output_tokens"),
    )


def _parse(raw: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _list(value: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    items = value.get(name)
    return (item for item in items if isinstance(item, dict)) if isinstance(items, list) else iter(())


def _number(value: Mapping[str, Any], name: str) -> int:
    number = value.get(name)
    return number if isinstance(number, int) and number > 0 else 0
