"""The seam to the models that judge: a question in, JSON text out, and one place that tries again.

A service of models fails often and briefly. Whatever may pass is tried again, for as long as the caller has patience;
what will not pass (a refused key, a question that the service does not accept) fails at once. What the SDKs raise
never leaves their modules: their errors hold the request, and with it the key.
"""

import asyncio
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

import pydantic
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from slurm_bench.effects.keys import Key
from slurm_bench.words.config import ModelConfig
from slurm_bench.words.errors import InfrastructureError, UsageError
from slurm_bench.words.opinions import Message, Usage

_PASSING = frozenset({408, 409, 429})
"""Statuses below 500 that may pass; of 500 and above all may."""
_OF_THE_KEY = frozenset({401, 403})
_FIRST_WAIT_S = 4.0
"""Longest first back-off; each further one doubles it."""
_LONGEST_TEXT = 500
"""Characters that are quoted of a service's error."""


@dataclass(frozen=True)
class Question:
    system: str
    messages: Sequence[Message]
    answer: type[pydantic.BaseModel]
    """Schema of the answer."""


@dataclass(frozen=True)
class Reply:
    text: str
    """JSON as the model gave it: nobody has parsed it yet."""
    complete: bool
    problem: str = ""
    """Why it is not complete."""
    usage: Usage = field(default_factory=Usage)
    retries: tuple[str, ...] = ()
    """A line for each try that failed before."""


@dataclass(frozen=True)
class Failure:
    """A try that brought no reply."""

    what: str
    again: bool
    """Whether another try may bring one."""
    wait_s: float = 0.0
    """What the service asks us to wait before it."""


class ModelError(InfrastructureError):
    """No reply after all tries; `retries` has a line for each of them."""

    def __init__(self, message: str, retries: tuple[str, ...] = ()) -> None:
        self.retries = retries
        super().__init__(message)


@dataclass(frozen=True)
class Patience:
    tries: int
    stall_s: float
    """Without a byte for so long, a try has failed."""
    longest_wait_s: float
    """Of one back-off, whatever the service asks for."""


class Model(Protocol):
    name: str
    """Maker and model: anthropic/claude-opus-4-6."""
    maker: str

    async def ask(self, question: Question) -> Reply:
        """Ask once, trying again where the service fails. There is no limit of time: the caller sets one.

        Raises:
            ModelError: no reply after all tries.
        """
        ...


def of(config: ModelConfig, key: Key, patience: Patience) -> Model:
    """The client of a model.

    Raises:
        UsageError: base_url is no URL.
    """
    _check_url(config.base_url)
    # Importing an SDK takes nearly a second, which a session without a judging model need not wait.
    if config.maker == "anthropic":
        model: Model = importlib.import_module("slurm_bench.effects.anthropic_model").AnthropicModel(
            config, key, patience
        )
    else:
        model = importlib.import_module("slurm_bench.effects.openai_model").OpenAIModel(config, key, patience)
    return model


def _check_url(url: str | None) -> None:
    try:
        parts = urlsplit(url or "https://its-maker")
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"judge.models.*.base_url must be a URL with https:// and a host, got {url!r}")


class PatientModel(ABC):
    """A Model that tries again. Its makers' clients say how to put a question, and what an SDK's error means."""

    def __init__(self, config: ModelConfig, key: Key, patience: Patience) -> None:
        self.name = f"{config.maker}/{config.model}"
        self.maker = config.maker
        self._config = config
        self._key = key
        self._patience = patience

    @abstractmethod
    async def _put(self, question: Question) -> Reply | Failure:
        """One try, without retries of the SDK's own."""

    @abstractmethod
    def _explain(self, error: Exception) -> Reply | Failure:
        """What an exception of `_put` means."""

    async def ask(self, question: Question) -> Reply:
        failures: list[str] = []
        result: Reply | Failure = await self._retrying(failures)(self._try, question)
        if isinstance(result, Failure):
            failures.append(result.what)
            tries = f"{len(failures)} tries" if len(failures) > 1 else "1 try"
            raise ModelError(f"{self.name}: no reply in {tries}: {result.what}", tuple(failures))
        return replace(result, retries=tuple(failures))

    def _retrying(self, failures: list[str]) -> AsyncRetrying:
        back_off = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=self._patience.longest_wait_s)

        def wait_s(state: RetryCallState) -> float:
            return min(max(_failure(state).wait_s, back_off(state)), self._patience.longest_wait_s)

        def note(state: RetryCallState) -> None:
            failures.append(_failure(state).what)

        return AsyncRetrying(
            stop=stop_after_attempt(self._patience.tries),
            wait=wait_s,
            retry=retry_if_result(lambda result: isinstance(result, Failure) and result.again),
            before_sleep=note,
            # The last result instead of a RetryError: `ask` says what is wrong with it.
            retry_error_callback=_failure,
        )

    async def _try(self, question: Question) -> Reply | Failure:
        try:
            result = await self._put(question)
        except asyncio.CancelledError as error:
            cancelled = asyncio.CancelledError(*error.args)
        except Exception as error:  # noqa: BLE001  whatever an SDK raises, its traceback leads to the request's headers
            return self._presentable(self._explain(error))
        else:
            return self._presentable(result)
        # The same, but with neither traceback nor context: those lead there too.
        raise cancelled

    def _presentable(self, result: Reply | Failure) -> Reply | Failure:
        if isinstance(result, Failure):
            return replace(result, what=self._line(result.what))
        return replace(result, problem=self._line(result.problem))

    def _line(self, text: str) -> str:
        line = " ".join(self._key.redact(text).split())
        return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


def _failure(state: RetryCallState) -> Failure:
    assert state.outcome
    failure = state.outcome.result()
    assert isinstance(failure, Failure)
    return failure


def of_status(code: int, text: str, headers: Mapping[str, str]) -> Failure:
    """The failure that a service's HTTP status means; text is the service's own."""
    if code in _OF_THE_KEY:
        # Services quote part of the key here.
        return Failure(f"HTTP {code}: the service refuses the key (key_variable, key_file) or its rights", again=False)
    again = code in _PASSING or code >= 500
    return Failure(f"HTTP {code}: {text}", again, _asked_wait_s(headers.get("retry-after", "")))


def of_connection(error: BaseException) -> Failure:
    """The failure that the transport's exceptions mean, and all that nobody foresaw."""
    if isinstance(error, AssertionError):  # so an SDK says that the stream was empty
        return BROKEN_OFF
    cause = error.__cause__ or error
    return Failure(": ".join(filter(None, (type(cause).__name__, str(cause)))), again=True)


BROKEN_OFF = Failure("the stream ended before the reply was complete", again=True)


def _asked_wait_s(retry_after: str) -> float:
    """Retry-After in seconds: it is a number of them or a date."""
    try:
        seconds = float(retry_after)
    except ValueError:
        seconds = _seconds_until(retry_after)
    return seconds if 0 < seconds < math.inf else 0.0


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
