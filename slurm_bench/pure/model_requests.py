"""What a sealed agent may ask of its model's API.

The model's host reaches the internet where the agent cannot: it searches and fetches the web, runs code, calls remote
tools and opens URLs, and it keeps files, prompts and conversations of the whole account. So the fields of a request,
its tools, its items and the parts of its content are an allow-list: what Claude Code, Codex and the makers' SDKs send
for tools that run on the agent's own side, from bytes that the request itself brings along.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

_LONGEST_QUOTE = 60
"""Characters that are quoted of a request."""
_DEEPEST = 4
"""Levels of content inside content: a tool's result may hold a document, which holds text."""
_BETWEEN_PARTS = (b",", b":", b"[", b"{")
_MOST_PARTS = 1_000_000
"""Read in 0.3 s at most. Five megabytes of program text have 600,000, the commas of its lines counted too."""
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_REFERENCES = frozenset({"url", "file_url", "server_url", "file_id", "connector_id", "container", "container_id"})
"""What points at something that the request does not bring along."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHARED_FIELDS = _words("model stream tools tool_choice metadata context_management temperature top_p service_tier")
_CHEAP_TIERS = frozenset({"auto", "default", "flex", "standard_only"})
"""Others cost more than the prices say."""
_ANTHROPIC_FIELDS = _SHARED_FIELDS | _words(
    "max_tokens messages system stop_sequences thinking output_config output_format top_k cache_control compaction"
    " diagnostics"
)
_ANTHROPIC_TOOL = re.compile(r"custom|(bash|text_editor|memory)_\d{8}", re.ASCII)
_ANTHROPIC_BLOCKS = _words(
    "text image document search_result thinking redacted_thinking tool_use tool_result tool_reference tool_addition"
    " tool_removal compaction"
)
_ANTHROPIC_SOURCES = frozenset({"base64", "text", "content"})
_ANTHROPIC_EDIT = re.compile(r"(clear_thinking|clear_tool_uses|compact)_\d{8}", re.ASCII)

_OPENAI_FIELDS = _SHARED_FIELDS | _words(
    "input instructions max_output_tokens max_tool_calls parallel_tool_calls reasoning include store stream_options"
    " text top_logprobs truncation user safety_identifier prompt_cache_key prompt_cache_retention"
    " prompt_cache_options client_metadata"
)
_OPENAI_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch", "shell", "tool_search", "namespace"})
_OPENAI_ITEMS = _words(
    "message agent_message reasoning function_call function_call_output custom_tool_call custom_tool_call_output"
    " local_shell_call local_shell_call_output shell_call shell_call_output apply_patch_call apply_patch_call_output"
    " tool_search_call tool_search_output additional_tools configuration_update compaction context_compaction"
    " compaction_trigger"
)
_OPENAI_PARTS = _words(
    "input_text output_text text refusal summary_text reasoning_text encrypted_content input_image input_file"
)
_OPENAI_CHOICES = _OPENAI_TOOLS | {"allowed_tools"}


class _Refused(Exception):
    """A part of a request that may not be asked."""


def parse(raw: bytes) -> object:
    """
    Raises:
        ValueError: it is no JSON, or so much of it that reading it would hold up whoever does.
    """
    if sum(map(raw.count, _BETWEEN_PARTS)) > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS:,} parts")
    try:
        return json.loads(raw, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("too many levels") from None


def write(body: object) -> bytes:
    """The JSON to forward in place of what came: of two fields with one name, say, it has the one that was checked.

    Raises:
        ValueError: it has a number that JSON has not.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def refusal(maker: str, body: object, models: Collection[str]) -> str:
    """Why this may not be asked of this maker's API (anthropic, openai, azure); empty if it may.

    The text is for the agent's side, which wrote the body, and quotes little of it.
    """
    try:
        request = _object(body, "the request")
        _check_model(request.get("model"), models)
        _check_tier(request.get("service_tier"))
        if maker == "anthropic":
            _check_anthropic(request)
        else:
            _check_openai(request)
    except _Refused as refused:
        return str(refused)
    return ""


def _check_model(model: object, models: Collection[str]) -> None:
    if not isinstance(model, str) or model not in models:
        raise _Refused(f"model {_quote(model)} is not available here: only {', '.join(sorted(models))}")


def _check_tier(tier: object) -> None:
    if tier is not None and (not isinstance(tier, str) or tier not in _CHEAP_TIERS):
        _refuse("service_tier", tier)


# Anthropic's Messages API.


def _check_anthropic(request: dict[str, Any]) -> None:
    _only(request, _ANTHROPIC_FIELDS)
    for tool in _objects(request.get("tools"), "tools"):
        _check_anthropic_tool(tool)
    edits = _object(request.get("context_management") or {}, "context_management").get("edits")
    for edit in _objects(edits, "context_management.edits"):
        if not _ANTHROPIC_EDIT.fullmatch(str(edit.get("type"))):
            _refuse("context_management of type", edit.get("type"))
    _check_blocks(request.get("system"))
    for message in _objects(request.get("messages"), "messages"):
        _check_blocks(message.get("content"))


def _check_anthropic_tool(tool: dict[str, Any]) -> None:
    if not _ANTHROPIC_TOOL.fullmatch(str(tool.get("type") or "custom")):
        _refuse("tool of type", tool["type"])


def _check_blocks(content: object, depth: int = 0) -> None:
    if content is None or isinstance(content, str):
        return
    if depth > _DEEPEST:
        raise _Refused("content is nested too deeply")
    for block in _objects(content, "content"):
        kind = _kind(block, _ANTHROPIC_BLOCKS, "content")
        if kind in ("image", "document"):
            source = _object(block.get("source"), "source")
            _kind(source, _ANTHROPIC_SOURCES, f"{kind} source")
            _check_blocks(source.get("content"), depth + 1)
        elif kind == "tool_addition":
            _check_tool_addition(_object(block.get("tool"), "tool"))
        elif kind != "tool_use":  # whose input is the model's, for a tool of the agent's
            _check_blocks(block.get("content"), depth + 1)


def _check_tool_addition(tool: dict[str, Any]) -> None:
    if _kind(tool, frozenset({"tool_reference", "tool_definition"}), "added tool") == "tool_definition":
        _check_anthropic_tool(_object(tool.get("definition"), "definition"))


# OpenAI's Responses API, at OpenAI or on Azure.


def _check_openai(request: dict[str, Any]) -> None:
    _only(request, _OPENAI_FIELDS)
    _check_openai_tools(request.get("tools"))
    _check_openai_choice(request.get("tool_choice"))
    items = request.get("input")
    if not isinstance(items, str):
        for item in _objects(items, "input"):
            _check_item(item)


def _check_openai_tools(tools: object, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise _Refused("tools are nested too deeply")
    for tool in _objects(tools, "tools"):
        kind = _kind(tool, _OPENAI_TOOLS, "tool")
        if kind == "namespace":
            _check_openai_tools(tool.get("tools"), depth + 1)
        elif kind == "tool_search" and tool.get("execution") != "client":
            _refuse("tool_search with execution", tool.get("execution"))
        elif kind == "shell":
            _check_environment(tool.get("environment"))


def _check_environment(environment: object) -> None:
    if _object(environment, "environment").get("type") != "local":
        raise _Refused("a shell is only available here with the environment of type local")


def _check_openai_choice(choice: object) -> None:
    if choice is None or isinstance(choice, str):
        return
    chosen = _object(choice, "tool_choice")
    _kind(chosen, _OPENAI_CHOICES, "tool_choice")
    for tool in _objects(chosen.get("tools"), "tool_choice.tools"):
        _kind(tool, _OPENAI_TOOLS, "tool_choice")


def _check_item(item: dict[str, Any]) -> None:
    # Without a type it is a message, which has a role, or else a reference to something stored.
    kind = "message" if "role" in item and "type" not in item else _kind(item, _OPENAI_ITEMS, "input")
    if kind in ("additional_tools", "tool_search_output"):
        _check_openai_tools(item.get("tools"))
    elif kind == "shell_call" and item.get("environment"):
        _check_environment(item["environment"])
    elif kind != "shell_call_output":  # whose output has parts of another form: text alone
        for part in ("content", "output", "summary"):
            _check_parts(item.get(part))


def _check_parts(content: object) -> None:
    if content is None or isinstance(content, str):
        return
    for part in _objects(content, "content"):
        _kind(part, _OPENAI_PARTS, "content")
        for name in ("image_url", "file_data"):
            data = part.get(name)
            if data is not None and not (isinstance(data, str) and data.startswith("data:")):
                raise _Refused(f"{name} is only available here as a data: URL")


# Any request.


def _only(request: dict[str, Any], fields: frozenset[str]) -> None:
    for name in request:
        if name not in fields:
            _refuse("field", name)


def _objects(value: object, what: str) -> Iterator[dict[str, Any]]:
    if value is None:
        return
    if not isinstance(value, list):
        raise _Refused(f"{what} is no list")
    for each in value:
        yield _object(each, what)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Refused(f"{what} is no object")
    for name in value:
        # Somebody's parser may take Type for type, or one letter for another that looks the same.
        if not _NAME.fullmatch(name) or (name in _REFERENCES and value[name] is not None):
            _refuse(f"{what} with", name)
    return value


def _kind(value: dict[str, Any], known: frozenset[str], what: str) -> str:
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in known:
        _refuse(f"{what} of type", kind)
    return kind


def _refuse(what: str, value: object) -> NoReturn:
    raise _Refused(f"{what} {_quote(value)} is not available here")


def _quote(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else f"of the kind {type(value).__name__}"
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
