"""What a failure of a model's service means for who waits for it: whether it can pass, and when it says it does."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

_LONGEST_TEXT = 500
"""Characters that are quoted of a service's error."""
_LONGEST_WAIT = timedelta(days=60)
"""A time further off is a mistake."""
_OF_PAYING = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active"})
_NO_CREDIT = re.compile(r"credit balance|billing", re.IGNORECASE)
_OF_THE_KEY = frozenset({401, 402, 403})
_PASSING = frozenset({408, 409, 429})
"""Statuses below 500 that may pass; of 500 and above all may."""
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "usage_limit_reached": 429,
    "insufficient_quota": 429,
    "slow_down": 429,
    "overloaded_error": 529,
}
"""Of errors in the middle of a stream, those that they have elsewhere."""
_OF_THE_REQUEST = frozenset(
    {
        "context_length_exceeded",
        "invalid_prompt",
        "content_filter",
        "bio_policy",
        "cyber_policy",
        "misalignment_policy_violation",
    }
)
"""Errors in a stream by which the service refuses what it was asked."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_IN_PROSE = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|d|h|m|s)\s*)+)")

_ACCESS_AGAIN = re.compile(r"\baccess (?:again )?on (\d{4}-\d\d-\d\d)(?: at (\d\d:\d\d) UTC)?")


@dataclass(frozen=True)
class Trouble:
    status: int
    """Of HTTP; 0 where there was no answer, or only the beginning of one."""
    message: str
    """One line."""
    retry_at: datetime | None
    """When the service says that it will pass."""
    at: datetime
    is_hopeless: bool = False
    """It does not pass by itself: a refused key, a model that is not there, a bill to be paid."""


def of_silence(what: str, now: datetime) -> Trouble:
    """No answer, or one that broke off."""
    return Trouble(0, _line(what), None, now)


def of_response(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Trouble | None:
    """What an answer other than 2xx means; None if only what was asked is at fault.

    Args:
        headers: by lower-case name.
    """
    error = _error_in(body)
    return _judged(status, headers, error or {"message": body.decode("utf-8", "replace")}, now)


def of_error(error: Mapping[str, Any], now: datetime) -> Trouble | None:
    """The same of an error that came within an answer which had begun well."""
    name = _name(error)
    if name in _OF_THE_REQUEST:
        return None
    return _judged(_STATUSES.get(name, 500), {}, error, now)


def _judged(status: int, headers: Mapping[str, str], error: Mapping[str, Any], now: datetime) -> Trouble | None:
    again_at = _access_again_at(error)
    hopeless = again_at is None and _is_hopeless(status, error)
    if again_at is None and not hopeless and status < 500 and status not in _PASSING:
        return None
    text = _line(f"HTTP {status} {_name(error)}: {error.get('message') or 'no reason given'}")
    return Trouble(status, text, None if hopeless else again_at or _retry_at(headers, error, now), now, hopeless)


def _is_hopeless(status: int, error: Mapping[str, Any]) -> bool:
    name, message = _name(error), str(error.get("message"))
    if name in _OF_PAYING or status in _OF_THE_KEY or status < 400:  # a redirection: not the service's address
        return True
    if status == 404:
        # OpenAI's API says so too of an item that a request refers to.
        return name != "invalid_request_error"
    return status == 400 and bool(_NO_CREDIT.search(message))


def _error_in(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = value.get("error", value) if isinstance(value, dict) else value
    return error if isinstance(error, dict) else {"message": str(error)}


def _name(error: Mapping[str, Any]) -> str:
    return str(error.get("code") or error.get("type") or "")


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


# When to ask again.


def _access_again_at(error: Mapping[str, Any]) -> datetime | None:
    """Of a limit of spending, which Anthropic's API reports as a bad request that names the end of it in its text."""
    found = _ACCESS_AGAIN.search(str(error.get("message", "")))
    return _moment(f"{found[1]}T{found[2] or '00:00'}") if found else None


def _retry_at(headers: Mapping[str, str], error: Mapping[str, Any], now: datetime) -> datetime | None:
    """The first of what the service says that makes sense; of limits that all must be free again, the last."""
    asked = [*_asked(headers, now), *_asked_in(error, now)]
    limits = list(_limits(headers, now))
    found = next((each for each in asked if each), None) or max(limits, default=None)
    return found if found and found - now <= _LONGEST_WAIT else None


def _asked(headers: Mapping[str, str], now: datetime) -> Iterator[datetime | None]:
    yield _after(_number(headers.get("retry-after-ms")) / 1000, now)
    text = headers.get("retry-after", "")
    yield _after(_number(text), now)
    yield _of_date(text)
    yield _moment(headers.get("anthropic-ratelimit-unified-reset", ""))


def _asked_in(error: Mapping[str, Any], now: datetime) -> Iterator[datetime | None]:
    yield _moment(str(error.get("resets_at", "")))
    yield _after(_number(error.get("resets_in_seconds")), now)
    prose = _IN_PROSE.search(str(error.get("message", "")))
    yield _after(duration_s(prose[1]), now) if prose else None


def _limits(headers: Mapping[str, str], now: datetime) -> Iterator[datetime]:
    """When the limits that are used up are reset."""
    for name, value in headers.items():
        moment = None
        if headers.get(name.replace("reset", "remaining"), "0") != "0":
            continue
        if name.startswith("anthropic-ratelimit-") and name.endswith("-reset"):
            moment = _moment(value)
        elif name.startswith("x-ratelimit-reset"):
            moment = _after(duration_s(value) or _number(value), now)
        if moment:
            yield moment


def duration_s(text: str) -> float:
    """Seconds of a text like 6m0s or 20ms; 0 if it is none."""
    compact = "".join(text.split())
    parts = _DURATION.findall(compact)
    whole = "".join(f"{number}{unit}" for number, unit in parts) == compact
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if whole else 0.0


def _number(value: object) -> float:
    """What is more than 0 and finite, else 0."""
    try:
        number = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if 0 < number < math.inf else 0.0


def _after(seconds: float, now: datetime) -> datetime | None:
    return now + timedelta(seconds=seconds) if 0 < seconds <= _LONGEST_WAIT.total_seconds() else None


def _moment(text: str) -> datetime | None:
    """Of an RFC 3339 time or of seconds since 1970."""
    try:
        seconds = _number(text)
        found = datetime.fromtimestamp(seconds, UTC) if seconds else datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def _of_date(text: str) -> datetime | None:
    """Of an HTTP date."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
