"""What a sealed agent may ask of its model's API, as its command lines ask it and as an attacker would."""

import json
from typing import Any

import pytest

from slurm_bench.pure.model_requests import parse, refusal, write

MODELS = frozenset({"large", "small"})
PICTURE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
AWAY = {"type": "url", "url": "https://example.org/picture.png"}
FILE = {"type": "file", "file_id": "file_1"}
FUNCTION = {"type": "function", "name": "exec_command", "strict": False, "parameters": {"Type": "any", "url": "any"}}


def anthropic(**fields: Any) -> str:
    return refusal("anthropic", {"model": "large", "max_tokens": 10, "messages": [], **fields}, MODELS)


def openai(**fields: Any) -> str:
    answers = {refusal(maker, {"model": "large", "input": "hi", **fields}, MODELS) for maker in ("openai", "azure")}
    assert len(answers) == 1
    return answers.pop()


def says(*blocks: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


def result(*blocks: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(blocks)}


def document(*blocks: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "content", "content": list(blocks)}}


# Anthropic.


def test_what_claude_code_sends_may_be_asked() -> None:
    assert not anthropic(
        stream=True,
        system=[{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            *says({"type": "text", "text": "Go on."}, {"type": "image", "source": PICTURE}),
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
                    {"type": "redacted_thinking", "data": "abc"},
                    {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"url": "https://x", "Type": 1}},
                ],
            },
            *says(result({"type": "text", "text": "hi"}, {"type": "image", "source": PICTURE})),
            *says({"type": "tool_result", "tool_use_id": "toolu_2", "content": "hi", "is_error": False}),
            *says(result({"type": "tool_reference", "tool_name": "Monitor"})),
            *says(document({"type": "text", "text": "hi"})),
        ],
        tools=[
            {"name": "Bash", "description": "Runs it.", "input_schema": {"type": "object", "properties": {"Url": {}}}},
            {"name": "Later", "input_schema": {}, "defer_loading": True},
            {"type": "custom", "name": "Own", "input_schema": {}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            {"type": "memory_20250818", "name": "memory"},
        ],
        tool_choice={"type": "auto"},
        metadata={"user_id": "somebody"},
        thinking={"type": "adaptive", "display": "updates"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "high"},
        temperature=1,
        service_tier="auto",
    )


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20250825",
        "bash_code_execution",
        "mcp_toolset",
        "computer_20250124",
        "advisor_20260301",
        "tool_search_tool_bm25_20251119",
        "custom\n",
        "Custom",
        "memory_20250818 ",
        "what_comes_next_year",
        ["custom"],
        {"custom": 1},
        7,
    ],
)
def test_only_tools_of_the_agents_own_side(kind: object) -> None:
    tool = {"type": kind, "name": "web_search"}
    assert "tool of type" in anthropic(tools=[{"name": "Bash", "input_schema": {}}, tool])
    inline = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}
    assert "tool of type" in anthropic(messages=[{"role": "system", "content": [inline]}])


@pytest.mark.parametrize("source", [AWAY, FILE, {**PICTURE, "url": "https://x"}, {"type": "s3"}, None, "https://x"])
@pytest.mark.parametrize("kind", ["image", "document"])
def test_pictures_and_documents_come_along(kind: str, source: Any) -> None:
    block = {"type": kind, "source": source}
    assert anthropic(messages=says(block))
    assert anthropic(messages=says(result(block)))
    assert anthropic(messages=says(result(document(block))))
    assert anthropic(system=[block])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "mcp_tool_use", "id": "1", "name": "n", "server_name": "s", "input": {}},
        {"type": "web_fetch_tool_result", "tool_use_id": "1", "content": {}},
        {"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "s"}},
        {"type": "text", "text": "x", "Type": "image"},
        {"type": "text", "text": "x", "\u017fource": AWAY},
        {"type": ["text"], "text": "x"},
        {"text": "x"},
        "text",
        7,
    ],
)
def test_other_blocks_are_refused(block: Any) -> None:
    assert anthropic(messages=says(block))
    assert anthropic(messages=says(result(block)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mcp_servers", [{"type": "url", "url": "https://example.org", "name": "n"}]),
        ("mcp_servers", []),
        ("container", "container_1"),
        ("container", {"skills": []}),
        ("fallbacks", [{"model": "other"}]),
        ("thread", {"type": "continue", "previous_message_id": "msg_1"}),
        ("speed", "fast"),
        ("billing_policy", {}),
        ("Tools", []),
        ("tools ", []),
        ("what_comes_next_year", 1),
    ],
)
def test_other_fields_are_refused(field: str, value: Any) -> None:
    assert field.strip() in anthropic(**{field: value})


def test_context_is_edited_but_by_no_unknown_means() -> None:
    assert not anthropic(context_management={"edits": [{"type": "compact_20260112"}]})
    assert anthropic(context_management={"edits": [{"type": "fetch_20270101"}]})
    assert anthropic(context_management=[{"type": "compaction"}])


# OpenAI, and Azure.


def test_what_codex_sends_may_be_asked() -> None:
    namespace = {"type": "namespace", "name": "functions", "description": "d", "tools": [FUNCTION, {"type": "custom"}]}
    assert not openai(
        stream=True,
        instructions="You are an agent.",
        input=[
            {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [namespace]},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Go."}]},
            {"role": "user", "content": "Go on."},
            {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;x"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "abc"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I go."}]},
            {"type": "function_call", "call_id": "c1", "name": "exec_command", "arguments": '{"url": "https://x"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "hi"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_image", "image_url": "data:image/png;base64,iV", "detail": "high"}],
            },
            {"type": "custom_tool_call", "call_id": "c3", "name": "apply_patch", "input": "*** Begin Patch"},
            {"type": "custom_tool_call_output", "call_id": "c3", "output": "Done"},
            {"type": "local_shell_call", "call_id": "c4", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            {"type": "shell_call_output", "call_id": "c5", "output": [{"stdout": "hi", "outcome": {"type": "exit"}}]},
            {"type": "tool_search_call", "execution": "client", "arguments": {}},
            {"type": "tool_search_output", "execution": "client", "tools": [namespace]},
            {"type": "compaction", "encrypted_content": "abc"},
            {"type": "compaction_trigger"},
        ],
        tools=[
            FUNCTION,
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark"}},
            {"type": "tool_search", "execution": "client", "description": "d", "parameters": {}},
            {"type": "local_shell"},
            {"type": "apply_patch"},
            {"type": "shell", "environment": {"type": "local"}},
            namespace,
        ],
        tool_choice="auto",
        parallel_tool_calls=True,
        reasoning={"effort": "medium", "summary": "auto"},
        store=False,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="abc",
        text={"verbosity": "low"},
        client_metadata={"thread_id": "abc"},
    )


@pytest.mark.parametrize(
    "tool",
    [
        *(
            {"type": kind}
            for kind in (
                "web_search",
                "web_search_preview",
                "web_search_2025_08_26",
                "file_search",
                "code_interpreter",
                "image_generation",
                "computer",
                "computer_use_preview",
                "programmatic_tool_calling",
                "what_comes_next_year",
                None,
                ["function"],
                "Function",
            )
        ),
        {"type": "mcp", "server_label": "s", "server_url": "https://example.org/sse"},
        {"type": "function", "name": "f", "server_url": "https://example.org/sse"},
        {"type": "function", "name": "f", "Type": "web_search"},
        {"type": "tool_search"},
        {"type": "tool_search", "execution": "server"},
        {"type": "shell"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}},
        {"name": "f"},
        "web_search",
    ],
)
def test_no_tools_of_the_service(tool: Any) -> None:
    assert openai(tools=[FUNCTION, tool])
    assert openai(tools=[{"type": "namespace", "tools": [tool]}])
    assert openai(input=[{"type": "additional_tools", "role": "developer", "tools": [tool]}])
    assert openai(input=[{"type": "tool_search_output", "execution": "client", "tools": [tool]}])


@pytest.mark.parametrize("choice", [{"type": "web_search_preview"}, {"type": "mcp", "server_label": "s"}])
def test_no_choice_of_them(choice: dict[str, str]) -> None:
    assert openai(tool_choice=choice)
    assert openai(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [choice]})
    assert not openai(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "https://example.org/picture.png"},
        {"type": "input_image", "image_url": "HTTP://example.org/picture.png"},
        {"type": "input_image", "image_url": " data:image/png"},
        {"type": "input_image", "image_url": {"url": "https://example.org"}},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_url": "https://example.org/paper.pdf"},
        {"type": "input_file", "file_id": "file_1"},
        {"type": "input_file", "file_data": "https://example.org/paper.pdf"},
        {"type": "input_text", "text": "x", "image_url": "https://example.org"},
        {"type": "input_audio"},
        {"type": "image_url", "image_url": "data:image/png"},
        {"text": "x"},
        7,
    ],
)
def test_parts_come_along(part: Any) -> None:
    assert openai(input=[{"role": "user", "content": [part]}])
    assert openai(input=[{"type": "message", "role": "user", "content": [part]}])
    for kind in ("function_call_output", "custom_tool_call_output"):
        assert openai(input=[{"type": kind, "call_id": "c", "output": [part]}])


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"id": "msg_1", "type": None},
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "open_page", "url": "https://x"}},
        {"type": "code_interpreter_call", "id": "ci_1"},
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
        {"type": "program", "code": "fetch('https://x')"},
        {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "c"}},
        {"type": "what_comes_next_year"},
        "hi",
    ],
)
def test_other_items_are_refused(item: Any) -> None:
    assert openai(input=[item])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", {"id": "pmpt_1"}),
        ("background", True),
        ("conversation", "conv_1"),
        ("previous_response_id", "resp_1"),
        ("image", {}),
        ("access_programs", {}),
        ("messages", []),
        ("Input", "hi"),
        ("what_comes_next_year", 1),
    ],
)
def test_other_fields_of_openai_are_refused(field: str, value: Any) -> None:
    assert f"field '{field}'" in openai(**{field: value}) or "request with" in openai(**{field: value})


# Any.


@pytest.mark.parametrize("maker", ["anthropic", "openai", "azure"])
@pytest.mark.parametrize("body", [None, [], "hi", 7, [{"model": "large"}], {}, {"model": None}, {"model": ["large"]}])
def test_nonsense_is_refused(maker: str, body: object) -> None:
    assert refusal(maker, body, MODELS)


@pytest.mark.parametrize("model", ["other", "Large", "large ", "", "large\n"])
def test_only_the_models_that_are_allowed(model: str) -> None:
    assert anthropic(model=model) == openai(model=model)
    assert "only large, small" in anthropic(model=model)
    assert not anthropic(model="small")


@pytest.mark.parametrize("tier", ["priority", "fast", ["auto"], 7])
def test_no_dearer_service(tier: object) -> None:
    assert anthropic(service_tier=tier)
    assert openai(service_tier=tier)


@pytest.mark.parametrize("messages", [7, {"role": "user"}, ["hi"], [["hi"]], [{"role": "user", "content": 7}]])
def test_what_has_another_form_is_refused(messages: Any) -> None:
    assert anthropic(messages=messages)
    assert openai(input=messages)


@pytest.mark.parametrize("tools", ["hi", 7, {"name": "Bash"}, ["hi"], [["hi"]]])
def test_tools_of_another_form_are_refused(tools: Any) -> None:
    assert anthropic(tools=tools)
    assert openai(tools=tools)


def test_nesting_has_an_end() -> None:
    block: Any = {"type": "text", "text": "x"}
    tool: Any = FUNCTION
    for _ in range(50):
        block = document(block)
        tool = {"type": "namespace", "tools": [tool]}
    assert "nested" in anthropic(messages=says(block))
    assert "nested" in openai(tools=[tool])


def test_what_is_forwarded_is_what_was_checked() -> None:
    """Parsers differ in which of two fields with the same name they read."""
    twice = b'{"model": "large", "tools": [{"type": "web_search_20250305"}], "messages": [], "tools": []}'
    body = parse(twice)
    assert not refusal("anthropic", body, MODELS)
    assert write(body) == b'{"model":"large","tools":[],"messages":[]}'


@pytest.mark.parametrize(
    "text",
    ["", "{", "{} {}", "NaN", "[Infinity]", "[" * 100_000, "1" * 5000, "{'a': 1}"],
)
def test_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text.encode())


def test_a_number_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        write(parse(b"[1e999]"))


def test_text_comes_out_as_it_went_in() -> None:
    text = {"text": "äöü \ud83d 🙂 \u2028"}
    assert json.loads(write(parse(json.dumps(text).encode()))) == text


def test_little_is_quoted_and_on_one_line() -> None:
    text = anthropic(tools=[{"type": "x\n" * 10_000}])
    assert "\n" not in text
    assert len(text) < 200


@pytest.mark.parametrize("part", ["[],", '{"a":0},', "0,"])
def test_a_body_of_ever_more_parts_is_not_read(part: str) -> None:
    with pytest.raises(ValueError, match="more than 1,000,000 parts"):
        parse(f"[{1_000_001 * part}0]".encode())


def test_a_long_conversation_is_read() -> None:
    said = "for each in (a, b): print(each[0], {each: 1})\n" * 50_000
    assert parse(json.dumps([said, said]).encode()) == [said, said]
