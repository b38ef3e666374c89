"""The clients of models, through the makers' own SDKs, against a server that fails as the services do."""

import asyncio
import json
import logging
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pydantic
import pytest

from slurm_bench.effects import models
from slurm_bench.effects.keys import Key
from slurm_bench.effects.models import ModelError, Patience, Question, Reply
from slurm_bench.words.config import ModelConfig
from slurm_bench.words.errors import InfrastructureError, UsageError
from slurm_bench.words.opinions import Message, Usage
from tests.model_server import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REFUSAL,
    Breaks,
    CutOff,
    ModelServer,
    Overloads,
    Refuses,
    Request,
    Says,
    Stalls,
    Status,
    Step,
)
from tests.waiting import LONG_S

HERE = Path(__file__).parent
SECRET = "sk-test-0123456789abcdef"
MAKERS = ("anthropic", "openai", "azure")
QUICK = Patience(tries=3, stall_s=LONG_S, longest_wait_s=0.02)
RESTLESS = replace(QUICK, stall_s=0.5)

Ask = Callable[..., Reply]


class Part(pydantic.BaseModel):
    line: int | None = None


class Answer(pydantic.BaseModel):
    cheating: bool
    parts: list[Part] = pydantic.Field(description="what shows it")


QUESTION = Question(
    system="You judge.",
    messages=[
        Message(role="user", text="Is this cheating?"),
        Message(role="assistant", text="{"),
        Message(role="user", text="That is no JSON."),
    ],
    answer=Answer,
)
GOOD = json.dumps({"cheating": False, "parts": [{"line": 3}]})


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def model_of(maker: str, base_url: str, patience: Patience = QUICK, effort: str | None = None) -> models.Model:
    config = ModelConfig(
        maker=maker,
        model="claude-opus-4-6" if maker == "anthropic" else "gpt-5.4",
        base_url=base_url,
        api_version=None,
        key_variable="UNUSED",
        key_file=None,
        effort=effort,
        max_output_tokens=1000,
    )
    return models.of(config, Key(SECRET), patience)


def ask(maker: str, server: ModelServer, patience: Patience = QUICK, effort: str | None = None) -> Reply:
    return asyncio.run(model_of(maker, server.base_url(maker), patience, effort).ask(QUESTION))


def replies(maker: str, *script: Step, patience: Patience = QUICK) -> Reply:
    with ModelServer(script) as server:
        return ask(maker, server, patience)


def fails(maker: str, *script: Step, patience: Patience = QUICK) -> tuple[ModelError, ModelServer]:
    with ModelServer(script) as server, pytest.raises(ModelError) as caught:
        ask(maker, server, patience)
    assert SECRET not in shown(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value, server


def shown(error: BaseException) -> str:
    """All that a traceback can show, local variables and suppressed contexts included."""
    stack = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), capture_locals=True)
    # A test's own frames know the key.
    frames = [frame for frame in stack if Path(frame.filename).parent not in (HERE, HERE.parent)]
    text = f"{error!r} {vars(error)}" + "".join(traceback.StackSummary.from_list(frames).format())
    return text + "".join(shown(other) for other in (error.__cause__, error.__context__) if other)


# A reply.


def test_a_reply_with_its_usage(maker: str) -> None:
    assert replies(maker, Says(GOOD)) == Reply(
        text=GOOD, complete=True, usage=Usage(input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS)
    )


def test_what_is_sent(maker: str) -> None:
    with ModelServer([Says(GOOD)]) as server:
        ask(maker, server)
    (request,) = server.requests
    assert request.maker == maker
    assert request.key == SECRET
    assert request.streams
    assert request.system == "You judge."
    assert request.texts == ["Is this cheating?", "{", "That is no JSON."]
    assert request.roles == ["user", "assistant", "user"]
    assert request.body["max_tokens" if maker == "anthropic" else "max_output_tokens"] == 1000
    assert request.schema["additionalProperties"] is False
    assert request.schema["required"] == ["cheating", "parts"]
    assert request.schema["$defs"]["Part"]["additionalProperties"] is False
    assert "thinking" not in request.body and "reasoning" not in request.body


@pytest.mark.parametrize("maker", ["openai", "azure"])
def test_openai_keeps_nothing_and_is_strict(maker: str) -> None:
    with ModelServer([Says(GOOD)]) as server:
        ask(maker, server)
    (request,) = server.requests
    assert request.body["store"] is False
    assert request.body["text"]["format"]["strict"] is True
    assert request.schema["$defs"]["Part"]["required"] == ["line"]


def test_azure_is_asked_by_its_version() -> None:
    with ModelServer([Says(GOOD)]) as server:
        ask("azure", server)
    (request,) = server.requests
    assert request.query == {"api-version": "2025-04-01-preview"}
    assert request.model == "gpt-5.4"


def test_effort_is_handed_on(maker: str) -> None:
    with ModelServer([Says(GOOD)]) as server:
        ask(maker, server, effort="high")
    (request,) = server.requests
    if maker == "anthropic":
        assert request.body["output_config"]["effort"] == "high"
        assert request.body["thinking"] == {"type": "adaptive"}
    else:
        assert request.body["reasoning"] == {"effort": "high"}


def test_one_model_serves_several_event_loops(maker: str) -> None:
    with ModelServer([Says(GOOD)]) as server:
        model = model_of(maker, server.base_url(maker))
        assert [asyncio.run(model.ask(QUESTION)).text for _ in range(2)] == [GOOD, GOOD]


def test_questions_at_the_same_time(maker: str) -> None:
    async def both(model: models.Model) -> list[Reply]:
        return list(await asyncio.gather(model.ask(QUESTION), model.ask(QUESTION)))

    with ModelServer(lambda request: Says(request.texts[0])) as server:
        got = asyncio.run(both(model_of(maker, server.base_url(maker))))
    assert [reply.text for reply in got] == ["Is this cheating?"] * 2


def test_the_name_of_a_model(maker: str) -> None:
    model = model_of(maker, "http://127.0.0.1")
    assert model.maker == maker
    assert model.name == ("anthropic/claude-opus-4-6" if maker == "anthropic" else f"{maker}/gpt-5.4")


@pytest.mark.parametrize("url", ["example.com/v1", "ftp://example.com", "https://", "https://a:b", "http://[::1"])
def test_a_base_url_that_is_none_is_refused(maker: str, url: str) -> None:
    with pytest.raises(UsageError, match="base_url"):
        model_of(maker, url)


# A reply that is not what was asked for.


def test_a_refusal(maker: str) -> None:
    reply = replies(maker, Refuses())
    assert not reply.complete
    assert reply.problem == f"refused: {REFUSAL}"


def test_a_reply_cut_off(maker: str) -> None:
    reply = replies(maker, CutOff('{"cheating": tr'))
    assert not reply.complete
    assert reply.problem == "cut off at max_output_tokens"
    assert reply.text == '{"cheating": tr'
    assert reply.usage.output_tokens == OUTPUT_TOKENS


@pytest.mark.parametrize("text", ["not JSON at all", '{"cheating": tr', '{"other": 1}', "[]"])
def test_malformed_json_passes_through(maker: str, text: str) -> None:
    reply = replies(maker, Says(text))
    assert reply.complete
    assert reply.text == text


@pytest.mark.parametrize("code_name", ["content_filter", "invalid_prompt"])
def test_a_filter_before_the_model_refuses(code_name: str) -> None:
    reply = replies("azure", Status(400, "the prompt was filtered", code_name=code_name))
    assert not reply.complete
    assert reply.problem.startswith("refused: ")
    assert "the prompt was filtered" in reply.problem


# Failures that pass.


@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 529])
def test_a_status_that_passes_is_tried_again(maker: str, code: int) -> None:
    reply = replies(maker, Status(code, "try later"), Says(GOOD))
    assert reply.text == GOOD
    (line,) = reply.retries
    assert f"HTTP {code}" in line and "try later" in line


def test_retry_after_is_waited_for(maker: str) -> None:
    with ModelServer([Status(429, retry_after="0.5"), Says(GOOD)]) as server:
        ask(maker, server, Patience(tries=2, stall_s=LONG_S, longest_wait_s=0.6))
    first, second = server.requests
    assert second.at - first.at >= 0.5


@pytest.mark.parametrize("header", ["3600", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "date"])
def test_a_longer_retry_after_is_capped(maker: str, header: str) -> None:
    """Else it would take longer than a test may."""
    with ModelServer([Status(429, retry_after=header), Says(GOOD)]) as server:
        ask(maker, server, Patience(tries=2, stall_s=LONG_S, longest_wait_s=0.2))
    first, second = server.requests
    assert second.at - first.at >= 0.2


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "-5", "", "Tue, 99 Foo 2020"])
def test_a_retry_after_that_says_nothing_is_ignored(header: str) -> None:
    assert replies("anthropic", Status(429, retry_after=header), Says(GOOD)).text == GOOD


@pytest.mark.parametrize("after_bytes", [0, 400])
def test_a_stall_is_tried_again(maker: str, after_bytes: int) -> None:
    # On a busy machine good answers take long too.
    reply = replies(maker, Stalls(after_bytes), Says(GOOD), patience=replace(RESTLESS, tries=100))
    assert reply.text == GOOD
    assert "ReadTimeout" in reply.retries[0]


@pytest.mark.parametrize("cleanly", [False, True])
def test_a_broken_stream_is_tried_again(maker: str, cleanly: bool) -> None:
    reply = replies(maker, Breaks(cleanly), Says(GOOD))
    assert reply.text == GOOD
    assert len(reply.retries) == 1


def test_an_overload_in_mid_stream_is_tried_again(maker: str) -> None:
    reply = replies(maker, Overloads(), Says(GOOD))
    assert reply.text == GOOD
    assert "overloaded" in reply.retries[0].lower()


def test_several_failures_before_a_reply(maker: str) -> None:
    reply = replies(maker, Status(500), Breaks(), Says(GOOD))
    assert reply.text == GOOD
    assert len(reply.retries) == 2


def test_a_refused_connection_is_tried_again(maker: str) -> None:
    refused = pytest.raises(ModelError, match=r"3 tries.*ConnectError")
    with socket.socket() as unheard, refused as caught:
        unheard.bind(("127.0.0.1", 0))
        asyncio.run(model_of(maker, f"http://127.0.0.1:{unheard.getsockname()[1]}").ask(QUESTION))
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    ("step", "says"),
    [(Status(529, "too much"), "HTTP 529"), (Overloads(), "overloaded"), (Breaks(), "RemoteProtocolError")],
)
def test_when_all_tries_fail(maker: str, step: Step, says: str) -> None:
    error, server = fails(maker, Status(500, "the first"), step)
    assert isinstance(error, InfrastructureError)
    assert len(server.requests) == 3
    assert len(error.retries) == 3
    assert "the first" in error.retries[0]
    message = str(error)
    assert message.startswith(f"{maker}/")
    assert "3 tries" in message and says.lower() in message.lower() and "the first" not in message


def test_when_all_tries_stall(maker: str) -> None:
    error, server = fails(maker, Stalls(), patience=replace(RESTLESS, tries=2))
    assert len(server.requests) == 2
    assert "ReadTimeout" in str(error)


# Failures that last.


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_not_tried_again_nor_quoted(maker: str, code: int) -> None:
    error, server = fails(maker, Status(code, f"Incorrect API key provided: {SECRET[:8]}*** and {SECRET}"))
    assert len(server.requests) == 1
    assert f"HTTP {code}" in str(error)
    assert "Incorrect" not in shown(error) and SECRET[:8] not in str(error)


@pytest.mark.parametrize("code", [400, 404, 413, 422])
def test_a_question_that_is_not_accepted_is_not_asked_again(maker: str, code: int) -> None:
    error, server = fails(maker, Status(code, f"too long a prompt\nof {SECRET}"))
    assert len(server.requests) == 1
    assert f"HTTP {code}" in str(error)
    assert "too long a prompt" in str(error) and "<key>" in str(error)


# Cancellation.


@pytest.mark.parametrize("step", [Stalls(0), Stalls(400), Status(429, retry_after=3600)])
def test_a_time_limit_ends_a_question_at_once(maker: str, step: Step) -> None:
    """Else it would take longer than a test may."""

    async def cut_off(model: models.Model) -> None:
        question = asyncio.create_task(model.ask(QUESTION))
        while not server.requests:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(0.15):
            await question

    with ModelServer([step]) as server:
        model = model_of(maker, server.base_url(maker), Patience(tries=3, stall_s=3600, longest_wait_s=3600))
        with pytest.raises(TimeoutError) as caught:
            asyncio.run(cut_off(model))
    assert len(server.requests) == 1
    assert SECRET not in shown(caught.value)


# The key.


@pytest.mark.parametrize("steps", [[Says(GOOD)], [Status(500, "later"), Stalls(), Breaks()], [Status(401, "no")]])
def test_the_key_is_in_no_log(maker: str, steps: list[Step], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("anthropic", "openai", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    with ModelServer(steps) as server:
        try:
            ask(maker, server, RESTLESS)
        except ModelError:
            assert len(steps) > 1 or isinstance(steps[0], Status)
    assert maker == "azure" or maker in {record.name.split(".")[0] for record in caplog.records}
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if SECRET in repr(vars(record))]


def test_the_environment_does_not_lead_the_key_elsewhere(maker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.setenv(name, "of-the-environment")
    with ModelServer([Says(GOOD)]) as server:
        ask(maker, server)
    assert server.requests[0].key == SECRET


def test_a_proxy_of_the_environment_is_used(maker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ModelServer([Says(GOOD)]) as server:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, server.url)
        base_url = "http://models.invalid" + ("/v1" if maker == "openai" else "")
        assert asyncio.run(model_of(maker, base_url).ask(QUESTION)).text == GOOD
    assert server.requests[0].headers["host"] == "models.invalid"


# The server itself, as other tests use it.


def test_a_server_whose_script_looks_at_the_request(maker: str) -> None:
    def script(request: Request) -> Step:
        return Says(f"{request.maker} {request.model} {request.texts[-1]}")

    with ModelServer(script) as server:
        assert ask(maker, server).text.endswith("That is no JSON.")
