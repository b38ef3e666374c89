"""What answers of models' APIs say of themselves, whole, in pieces and broken off."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_bench.pure.model_usage import Answer, cost, with_answer
from slurm_bench.words.model_use import ModelUse, Prices, TokenCount

START = {"input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 70, "output_tokens": 1}
AT_START = TokenCount(requests=1, input_tokens=10, cache_read_tokens=500, cache_write_tokens=70, output_tokens=1)
AT_END = AT_START.model_copy(update={"output_tokens": 90})
RESPONSE_USAGE = {
    "input_tokens": 580,
    "input_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 70},
    "output_tokens": 90,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 670,
}
PRICES = Prices(input=5, output=25, cache_read=0.5, cache_write=6.25)


def stream(*events: dict[str, Any], newline: str = "\n") -> bytes:
    lines = (line for event in events for line in (f"event: {event['type']}", f"data: {json.dumps(event)}", ""))
    return "".join(f"{line}{newline}" for line in lines).encode()


DELTA = {
    "type": "content_block_delta",
    "delta": {"type": "text_delta", "text": 'data: {"usage": {"output_tokens": 9}}\n'},
}
MESSAGE = stream(
    {"type": "message_start", "message": {"id": "msg_1", "usage": START}},
    {"type": "ping"},
    DELTA,
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 90}},
    {"type": "message_stop"},
)
RESPONSE = stream(
    {"type": "response.created", "response": {"id": "resp_1", "usage": None}},
    {"type": "response.output_text.delta", "delta": '"usage": {"output_tokens": 9}'},
    {"type": "response.completed", "response": {"id": "resp_1", "usage": RESPONSE_USAGE, "error": None}},
)
STREAMS = {"anthropic": MESSAGE, "openai": RESPONSE, "azure": RESPONSE}


def read(maker: str, pieces: Iterable[bytes], *, is_stream: bool = True) -> Answer:
    answer = Answer(maker, is_stream=is_stream)
    for piece in pieces:
        answer.feed(piece)
    answer.end()
    return answer


@pytest.mark.parametrize("maker", STREAMS)
@given(cuts=st.lists(st.integers(0, len(MESSAGE)), max_size=20))
def test_a_stream_in_any_pieces(maker: str, cuts: list[int]) -> None:
    text = STREAMS[maker]
    edges = [0, *sorted(cuts), len(text)]
    answer = read(maker, [text[start:end] for start, end in pairwise(edges)])
    assert answer.is_whole
    assert answer.error is None
    assert answer.tokens == (AT_END if maker == "anthropic" else AT_END.model_copy(update={"input_tokens": 10}))


def test_lines_may_end_as_on_windows_and_the_last_need_not_end() -> None:
    answer = read("anthropic", [MESSAGE.replace(b"\n", b"\r\n").rstrip()])
    assert answer.is_whole
    assert answer.tokens == AT_END


def test_a_stream_that_breaks_off_has_said_what_it_has_said() -> None:
    answer = read("anthropic", [MESSAGE[: MESSAGE.index(b"message_delta")]])
    assert not answer.is_whole
    assert answer.tokens == AT_START


def test_a_response_that_breaks_off_has_said_nothing() -> None:
    answer = read("openai", [RESPONSE[: RESPONSE.index(b"response.completed")]])
    assert not answer.is_whole
    assert answer.tokens == TokenCount(requests=1)


def test_counts_at_the_end_are_of_the_whole_and_compacting_is_not_in_them() -> None:
    usage = {
        "input_tokens": 30,
        "output_tokens": 90,
        "cache_read_input_tokens": None,
        "iterations": [
            {"type": "compaction", "input_tokens": 1000, "output_tokens": 200},
            {"type": "message", "input_tokens": 30, "output_tokens": 90},
        ],
    }
    start = {"type": "message_start", "message": {"usage": START}}
    tokens = read("anthropic", [stream(start, {"type": "message_delta", "usage": usage})]).tokens
    assert (tokens.input_tokens, tokens.output_tokens, tokens.cache_read_tokens) == (1030, 290, 500)


@pytest.mark.parametrize(
    ("maker", "body", "expected"),
    [
        ("anthropic", {"type": "message", "usage": {**START, "output_tokens": 90}}, AT_END),
        ("openai", {"status": "completed", "error": None, "usage": RESPONSE_USAGE}, AT_END),
    ],
)
def test_a_whole_answer(maker: str, body: dict[str, Any], expected: TokenCount) -> None:
    text = json.dumps(body, indent=1).encode()
    answer = read(maker, [text[:10], text[10:]], is_stream=False)
    assert answer.is_whole
    assert answer.tokens == expected


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b'{"usage": {"input_tok'])
def test_what_is_no_answer(text: bytes) -> None:
    for is_stream in (True, False):
        answer = read("openai", [text], is_stream=is_stream)
        assert not answer.is_whole
        assert answer.tokens.total == 0


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {"input_tokens": "5"}, {"input_tokens": -5}, {"input_tokens_details": {"cached_tokens": None}}],
)
def test_a_usage_that_nobody_foresaw_counts_nothing(usage: object) -> None:
    assert read("openai", [json.dumps({"usage": usage}).encode()], is_stream=False).tokens.total == 0
    assert read("anthropic", [stream({"type": "message_delta", "usage": usage})]).tokens.total == 0


def test_errors_in_a_stream() -> None:
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    assert read("anthropic", [stream({"type": "error", "error": overloaded})]).error == overloaded
    failed = {"status": "failed", "error": {"code": "server_error", "message": "x"}, "usage": None}
    assert read("openai", [stream({"type": "response.failed", "response": failed})]).error == failed["error"]
    plain = {"type": "error", "code": "server_error", "message": "x"}
    assert read("azure", [stream(plain)]).error == plain


def test_what_the_model_writes_is_no_event() -> None:
    """An answer's text comes as a JSON string, on one line, whatever the agent makes the model say."""
    text = 'x"}}\n\ndata: {"type":"message_delta","usage":{"output_tokens":0}}\n\n'
    delta = {"type": "content_block_delta", "delta": {"text": text}}
    before, after = MESSAGE.split(b"event: message_stop")
    assert read("anthropic", [before, stream(delta), b"event: message_stop", after]).tokens == AT_END


def test_use_is_summed_by_model_and_paid() -> None:
    use = with_answer(ModelUse(), "large", AT_END, PRICES)
    use = with_answer(use, "large", AT_END, PRICES)
    use = with_answer(use, "small", TokenCount(requests=1, output_tokens=1_000_000), PRICES)
    assert use.by_model["large"] == AT_END + AT_END
    assert use.by_model["large"].requests == 2
    assert use.tokens == 2 * (10 + 500 + 70 + 90) + 1_000_000
    assert use.usd == pytest.approx(2 * (10 * 5 + 500 * 0.5 + 70 * 6.25 + 90 * 25) / 1e6 + 25)
    assert use.usd == pytest.approx(2 * cost(AT_END, PRICES) + 25)


def test_use_without_prices_costs_nobody_knows_what() -> None:
    assert with_answer(ModelUse(), "large", AT_END, None).usd is None
