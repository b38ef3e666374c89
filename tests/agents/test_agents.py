"""What each agent's stream says, by events as the real programs wrote them, and what it is told."""

from typing import Any

import pytest

from slurm_bench import agents
from slurm_bench.agents import prompts
from slurm_bench.agents.agent import Agent
from slurm_bench.pure import rules
from slurm_bench.words.config import AgentConfig, ApiConfig
from slurm_bench.words.errors import UsageError
from tests.conftest import REPOSITORY

Says = tuple[str | None, str, bool, str | None]
"""Conversation, text, whether it acted, failure."""
ID = "01993c5e-9a3f-7c11-a9f3-3b1f6a1f0c11"


def agent(kind: str) -> Agent:
    api = ApiConfig(maker="openai" if kind == "codex" else "anthropic", key_variable="KEY")
    return agents.of(
        AgentConfig(kind=kind, hours=1.0, submissions_per_hour=1, model="the-model", effort="max", api=api)
    )


CLAUDE: list[tuple[dict[str, Any], Says]] = [
    (
        {"type": "system", "subtype": "init", "session_id": ID, "model": "the-model", "tools": ["Bash"]},
        (ID, f"-- the-model, conversation {ID} --", False, None),
    ),
    (
        {
            "type": "assistant",
            "session_id": ID,
            "message": {
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "name": "Bash", "input": {"command": "ls -l", "description": "list"}},
                ]
            },
        },
        (None, "(thinks) hm\nI look.\n$ ls -l", True, None),
    ),
    (
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Read", "input": {"file": "a"}}]}},
        (None, '$ Read {"file": "a"}', True, None),
    ),
    (
        {
            "type": "user",
            "message": {"content": [{"type": "tool_result", "content": [{"type": "text", "text": "one\ntwo"}]}]},
        },
        (None, "  one\n  two", False, None),
    ),
    (
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": "$ no tool of its own"}]}},
        (None, "  $ no tool of its own", False, None),
    ),
    (
        {"type": "system", "subtype": "api_retry", "error_status": 529, "error": "overloaded", "session_id": ID},
        (None, "-- asks its model again (529 overloaded) --", False, None),
    ),
    (
        {"type": "result", "subtype": "success", "is_error": True, "result": "API Error: 529", "session_id": ID},
        (None, "-- failed: API Error: 529 --", False, "API Error: 529"),
    ),
    (
        {"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": ["no such thing"]},
        (None, '-- failed: ["no such thing"] --', False, '["no such thing"]'),
    ),
    (
        {"type": "result", "subtype": "success", "is_error": False, "result": "done", "num_turns": 2},
        (None, "-- its turn ends (2 steps) --", False, ""),
    ),
    ({"type": "assistant", "message": "odd"}, (None, "", False, None)),
    ({"type": 7}, (None, "", False, None)),
    (
        {"type": "system", "subtype": "init", "session_id": {"not": "text"}},
        (None, "-- None, conversation None --", False, None),
    ),
]
CODEX: list[tuple[dict[str, Any], Says]] = [
    ({"type": "thread.started", "thread_id": ID}, (ID, f"-- the-model, conversation {ID} --", False, None)),
    (
        {"type": "item.started", "item": {"type": "command_execution", "command": "ls", "status": "in_progress"}},
        (None, "$ ls", True, None),
    ),
    (
        {
            "type": "item.completed",
            "item": {"type": "command_execution", "command": "ls", "aggregated_output": "one\n", "exit_code": 0},
        },
        (None, "  one", False, None),
    ),
    ({"type": "item.completed", "item": {"type": "agent_message", "text": "I see."}}, (None, "I see.", False, None)),
    ({"type": "item.started", "item": {"type": "agent_message", "text": ""}}, (None, "", False, None)),
    (
        {"type": "item.completed", "item": {"type": "file_change", "changes": [{"path": "a.py", "kind": "add"}]}},
        (None, "$ edit a.py", True, None),
    ),
    ({"type": "error", "message": "Reconnecting... 1/5"}, (None, "-- Reconnecting... 1/5 --", False, None)),
    ({"type": "turn.completed", "usage": {"input_tokens": 1}}, (None, "-- its turn ends --", False, "")),
    ({"type": "turn.failed"}, (None, "-- failed: it gives no reason --", False, "it gives no reason")),
    ({"type": "turn.failed", "error": None}, (None, "-- failed: it gives no reason --", False, "it gives no reason")),
    ({"type": "turn.failed", "error": {"message": "no more"}}, (None, "-- failed: no more --", False, "no more")),
    ({"type": "item.completed", "item": {"type": "error", "message": "Oh."}}, (None, "-- Oh. --", False, None)),
    ({"type": "item.completed", "item": "odd"}, (None, "", False, None)),
]


@pytest.mark.parametrize(
    ("kind", "event", "expected"),
    [*(("claude", *case) for case in CLAUDE), *(("codex", *case) for case in CODEX)],
)
def test_what_an_event_says(
    kind: str, event: dict[str, Any], expected: tuple[str | None, str, bool, str | None]
) -> None:
    seen = agent(kind).read(event)
    assert (seen.conversation, seen.text, seen.acted, seen.failure) == expected


@pytest.mark.parametrize("kind", ["claude", "codex", "autoresearch"])
def test_a_prompt_is_one_last_argument_however_it_looks(kind: str) -> None:
    for conversation in (None, ID):
        command = list(agent(kind).command("--model other", conversation))
        assert command[-2:] == ["--", "--model other"]
        assert (conversation in command) == (conversation is not None)
        assert "the-model" in command and any("max" in part for part in command)


@pytest.mark.parametrize("kind", ["claude", "codex"])
def test_no_web_and_no_key(kind: str) -> None:
    command = " ".join(agent(kind).command("", None))
    assert "WebSearch,WebFetch" in command or 'web_search="disabled"' in command
    assert not [value for name, value in agent(kind).environment.items() if "KEY" in name and value != "none-in-here"]


def test_an_agent_needs_a_model_of_a_maker_that_it_can_talk_to() -> None:
    api = ApiConfig(maker="anthropic", key_variable="KEY")
    with pytest.raises(UsageError, match=r"agent\.api\.maker must be openai or azure, got 'anthropic'"):
        AgentConfig(kind="codex", hours=1.0, submissions_per_hour=1, model="m", api=api)
    with pytest.raises(UsageError, match=r"agent\.model must be the name of a model"):
        AgentConfig(kind="claude", hours=1.0, submissions_per_hour=1, api=api)
    with pytest.raises(UsageError, match=r"agent\.api\.prices must be empty, or input, output"):
        ApiConfig(maker="anthropic", key_variable="KEY", prices={"input": 1.0})


def told(nested: bool = False, gpus: int = 8, experiments: bool = False) -> dict[str, str]:
    """All prompts of a session of the published task."""
    where = "experiments" if experiments else "allocation" if nested else "fresh"
    facts = prompts.Facts(
        target_loss=3.28,
        gpus=gpus,
        timed_gpus=8,
        experiments=experiments,
        at_once=4,
        experiment_minutes=60.0,
        trial_minutes=15.0,
        hours=64.0,
        h100_hours=512.0,
        reserves=0.0 if nested else 55.2,
        nested=nested,
        rules=rules.as_markdown(3.28, 30, True, where, {}),
    )
    return prompts.texts(facts)


def test_people_can_read_what_an_agent_is_told(request: pytest.FixtureRequest) -> None:
    page = REPOSITORY / "docs/prompts.md"
    parts = {"At the start": "problem", "Its rules": "rules", "How it works": "execution", "Autoresearch": "program"}
    texts = {**told(), "resume": told()["resume"]}
    lines = ["# What an agent is told", "", "Of a session of the published task on eight GPUs; written by a test.", ""]
    for heading, name in {**parts, "After an interruption": "resume"}.items():
        lines += [f"## {heading}", "", *(f"> {line}".rstrip() for line in texts[name].splitlines()), ""]
    lines += ["## How it works with agent.gpus=experiments", ""]
    lines += [f"> {line}".rstrip() for line in told(gpus=0, experiments=True)["execution"].splitlines()] + [""]
    written = "\n".join(lines)
    if request.config.getoption("--write-goldens"):
        page.write_text(written)
    assert page.read_text() == written


def test_prompts_say_what_holds_in_their_mode_alone() -> None:
    fresh, nested, without = (told()["execution"], told(nested=True)["execution"], told(gpus=0)["execution"])
    assert "Its runs have GPUs of their own" in fresh and "pays for the allocation" in fresh
    assert "reserves about 55 H100-hours" in fresh and "reserves about 55 H100-hours" in without
    assert "all your processes stand still" in nested and "reserves" not in nested
    asking = told(gpus=0, experiments=True)["execution"]
    assert "`experiment FOLDER` runs `bash run.sh` in a copy" in asking and "pays for your experiments" in asking
    assert "experiment . > run.log" in asking and "bash run.sh > run.log" not in asking and "on 8 GPUs" in asking
    assert "experiment ." not in fresh + nested + without
    assert "as all that needs a GPU: `experiment FOLDER`" in told(gpus=0, experiments=True)["rules"]
    assert "pays for the allocation" not in without and "It pays for the timing of your candidates." in without


def test_prompts_tell_a_sessions_own_numbers() -> None:
    texts = told()
    assert "below 3.28" in texts["problem"] and "8 GPUs" in texts["problem"]
    assert "512 H100-hours and 64 hours" in texts["execution"]
    assert texts["rules"].startswith("# Rules")
    for name in ("claude", "codex", "autoresearch"):
        first = "".join(texts[part] for part in agent(name).first_prompt)
        assert ("results.tsv" in first) == (name == "autoresearch")
    assert not [name for name, text in texts.items() if "{{" in text or "{%" in text]
    ascii_only = {name: text for name, text in texts.items() if name != "rules" and not text.isascii()}
    assert not ascii_only
