"""What failures of models' services mean, in the forms in which services tell of them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from slurm_bench.pure.model_troubles import Trouble, duration_s, of_error, of_response, of_silence

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=90)


def told(status: int = 429, headers: Mapping[str, str] | None = None, **error: Any) -> Trouble | None:
    return of_response(status, headers or {}, json.dumps({"error": error}).encode(), NOW)


def retry_at(headers: dict[str, str] | None = None, **error: Any) -> datetime | None:
    trouble = told(429, headers, **error)
    assert trouble
    return trouble.retry_at


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "90"},
        {"retry-after": "90.0"},
        {"retry-after-ms": "90000", "retry-after": "5"},
        {"retry-after": format_datetime(SOON, usegmt=True)},
        {"retry-after": "90", "anthropic-ratelimit-tokens-reset": "2026-03-01T13:00:00Z"},
        {"anthropic-ratelimit-unified-reset": str(int(SOON.timestamp()))},
        {"anthropic-ratelimit-unified-reset": "2026-03-01T12:01:30Z"},
        {"anthropic-ratelimit-input-tokens-reset": "2026-03-01T12:01:30Z"},
        {
            "anthropic-ratelimit-input-tokens-reset": "2026-03-01T12:01:30Z",
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-03-01T13:00:00Z",
            "anthropic-ratelimit-requests-remaining": "49",
        },
        {"x-ratelimit-reset-tokens": "1m30s", "x-ratelimit-reset-requests": "20ms"},
        {
            "x-ratelimit-reset-tokens": "1m30s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-requests": "6m0s",
            "x-ratelimit-remaining-requests": "10",
        },
        {"x-ratelimit-reset-tokens": "90"},
        {"retry-after": "0", "x-ratelimit-reset-tokens": "1m30s"},
        {"retry-after": "soon", "retry-after-ms": "nan", "x-ratelimit-reset-tokens": "1m30s"},
    ],
)
def test_when_headers_say_to_ask_again(headers: dict[str, str]) -> None:
    assert retry_at(headers) == SOON


@pytest.mark.parametrize(
    "error",
    [
        {"type": "usage_limit_reached", "resets_at": int(SOON.timestamp())},
        {"type": "usage_limit_reached", "resets_in_seconds": 90},
        {"type": "usage_limit_reached", "resets_at": None, "resets_in_seconds": 90},
        {"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 1m30s. Visit x."},
        {"code": "rate_limit_exceeded", "message": "Please try again in 90.0s."},
    ],
)
def test_when_the_error_says_to_ask_again(error: dict[str, Any]) -> None:
    assert retry_at(**error) == SOON


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": "-5"},
        {"retry-after": "1e999"},
        {"retry-after": "1e12"},
        {"retry-after": "Mon, 99 Foo 2026"},
        {"anthropic-ratelimit-unified-reset": "1e300"},
        {"anthropic-ratelimit-tokens-reset": "tomorrow"},
        {"anthropic-ratelimit-tokens-reset": "2099-01-01T00:00:00Z"},
        {"x-ratelimit-reset-tokens": "a while"},
        {"x-reset": "90"},
    ],
)
def test_when_nobody_says(headers: dict[str, str]) -> None:
    assert retry_at(headers) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1d", 86400), ("", 0), ("6", 0), ("6m!", 0), ("m", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"type": "authentication_error"}),
        (403, {"type": "permission_error"}),
        (402, {"type": "billing_error"}),
        (404, {"type": "not_found_error", "message": "model: claude-x"}),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}),
        (404, {"code": "DeploymentNotFound"}),
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}),
        (429, {"code": "billing_hard_limit_reached"}),
        (302, {}),
    ],
)
def test_what_does_not_pass_by_itself(status: int, error: dict[str, Any]) -> None:
    trouble = told(status, headers={"retry-after": "90"}, **error)
    assert trouble
    assert trouble.is_hopeless
    assert trouble.retry_at is None
    assert trouble.status == status


@pytest.mark.parametrize(
    ("says", "again_at"),
    [
        ("You will regain access on 2026-04-01 at 00:00 UTC.", datetime(2026, 4, 1, tzinfo=UTC)),
        ("You will regain access on 2026-03-02 at 07:30 UTC.", datetime(2026, 3, 2, 7, 30, tzinfo=UTC)),
        ("Increase it under Billing, or have access again on 2026-04-01.", datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_a_limit_of_spending_that_ends(says: str, again_at: datetime) -> None:
    """Anthropic's API calls it a bad request."""
    message = f"You have reached your specified API usage limits. {says}"
    trouble = told(400, type="invalid_request_error", message=message)
    assert trouble == Trouble(400, f"HTTP 400 invalid_request_error: {message}", again_at, NOW)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass(status: int) -> None:
    trouble = told(status, {"retry-after": "90"}, type="overloaded_error", message="Over\nloaded")
    assert trouble == Trouble(status, f"HTTP {status} overloaded_error: Over loaded", SOON, NOW)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"type": "invalid_request_error", "message": "prompt is too long"}),
        (400, {"type": "invalid_request_error", "message": "no access on 2026-99-99 at 25:00 UTC"}),
        (413, {"type": "request_too_large"}),
        (404, {"type": "invalid_request_error", "message": "Item with id rs_1 not found."}),
        (422, {}),
    ],
)
def test_what_only_the_agent_is_to_blame_for(status: int, error: dict[str, Any]) -> None:
    assert told(status, **error) is None


@pytest.mark.parametrize("body", [b"", b"<html>\nBad gateway</html>", b"[]", b'"no"', b'{"error": "no"}', b"\xff"])
def test_a_body_of_any_form(body: bytes) -> None:
    trouble = of_response(502, {}, body, NOW)
    assert trouble
    assert "\n" not in trouble.message


def test_much_is_cut() -> None:
    trouble = of_response(502, {}, b"x" * 100_000, NOW)
    assert trouble
    assert len(trouble.message) < 600


def test_errors_within_an_answer() -> None:
    overloaded = of_error({"type": "overloaded_error", "message": "Overloaded"}, NOW)
    assert overloaded
    assert (overloaded.status, overloaded.is_hopeless) == (529, False)
    limited = of_error({"code": "rate_limit_exceeded", "message": "Please try again in 90s"}, NOW)
    assert limited
    assert (limited.status, limited.retry_at) == (429, SOON)
    unknown = of_error({"code": "vector_store_timeout"}, NOW)
    assert unknown
    assert (unknown.status, unknown.is_hopeless) == (500, False)
    quota = of_error({"code": "insufficient_quota"}, NOW)
    assert quota
    assert quota.is_hopeless


@pytest.mark.parametrize("code", ["context_length_exceeded", "invalid_prompt", "invalid_request_error"])
def test_errors_within_an_answer_that_the_agent_called_up(code: str) -> None:
    assert of_error({"code": code, "message": "x"}, NOW) is None


def test_silence() -> None:
    assert of_silence("gone\naway", NOW) == Trouble(0, "gone away", None, NOW)
