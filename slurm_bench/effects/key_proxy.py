"""The key proxy: what lies between a sealed agent and its model's API.

The agent's container has no network. A Unix socket is bound into it, and behind that, on the host, this proxy takes
the few requests that pure.model_requests allows, puts the key in and passes them to one service. Nothing of what comes
from inside is sent on as it came: the request is written anew from its checked JSON, to a URL made here, with few
headers. What comes back passes piece by piece, is read for the tokens that it used, and shows no key.
"""

import asyncio
import logging
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from slurm_bench.effects import store
from slurm_bench.effects.upstream import Route, Upstream
from slurm_bench.pure import model_requests, model_troubles
from slurm_bench.pure.model_troubles import Trouble
from slurm_bench.pure.model_usage import Answer, with_answer
from slurm_bench.words.errors import UsageError
from slurm_bench.words.model_use import ModelUse, Prices

__all__ = ["KeyProxy", "Upstream"]

log = logging.getLogger(__name__)
_http_log = logging.getLogger(f"{__name__}.http")
_http_log.disabled = True  # it would tell of everything that is no HTTP, as often as the agent likes

_LONGEST_SOCKET_PATH = 107
"""Bytes that the kernel takes."""
_MOST_CONNECTIONS = 128
"""From inside at once: each takes a file descriptor of the desk."""
_MOST_REQUESTS = 16
"""At once with the service; further ones wait."""
_LARGEST_REQUEST = 32 * 1024**2
"""Bytes; Anthropic's service takes no more."""
_LARGEST_HEADER = 64 * 1024
_LARGEST_ERROR = 1024**2
_AGENT_S = 120.0
"""For the agent to send a request, and to take a piece of the answer."""
_CONNECT_S = 60.0
_SILENCE_S = 600.0
"""The service may think for long before the first byte, and between two."""
_MOST_LINES = 20
"""Of the log, by level."""
_REQUEST_HEADERS = (
    "Accept",
    "User-Agent",
    "Anthropic-Version",
    "Anthropic-Beta",
    "X-App",
    "OpenAI-Beta",
    "Originator",
    "X-Codex-Beta-Features",
    "X-OpenAI-Internal-Codex-Responses-Lite",
)
_ANSWER_HEADERS = ("content-type", "request-id", "x-request-id", "retry-after", "retry-after-ms", "x-should-retry")
_ANSWER_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")
_ERROR_TYPES = {403: "permission_error", 404: "not_found_error", 413: "request_too_large", 500: "api_error"}


class KeyProxy:
    """Serves on a socket, in a thread with a loop of its own, from `with` to the end of it.

    Args:
        socket: its folder is the caller's, and open to this user only.
        use: the record of the tokens used, which goes on from what is there.
        most_tokens: of all kinds. Once they are used, requests are refused. Those in flight then end as they will:
            what they use themselves comes on top, and is counted. Who leaves before an answer's end is charged for
            all of it.

    Raises:
        UsageError: the upstream is none, or the environment has a proxy of another kind.
        BenchError: what lies at `use` is no such record.
    """

    def __init__(
        self,
        upstream: Upstream,
        socket: Path,
        use: Path,
        *,
        prices: Prices | None = None,
        most_tokens: int | None = None,
    ) -> None:
        self._socket = socket
        self._account = _Account(use, prices, most_tokens)
        self._passage = _Passage(upstream, self._account)
        self._thread = threading.Thread(target=self._run, name="key proxy", daemon=True)
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._end = asyncio.Event()

    # The proxy's thread replaces these as a whole; others read what is there.

    @property
    def use(self) -> ModelUse:
        return self._account.use

    @property
    def is_spent(self) -> bool:
        return self._account.is_spent

    @property
    def trouble(self) -> Trouble | None:
        """What went wrong last, if no answer has come well since."""
        return self._passage.trouble

    @property
    def requests(self) -> int:
        """That the service was sent since this proxy is there."""
        return self._passage.requests

    @property
    def is_asking(self) -> bool:
        """Whether an answer of the service is awaited, or passes."""
        return self._passage.open_requests > 0

    def __enter__(self) -> Self:
        """
        Raises:
            UsageError: there can be no socket at this path.
        """
        _make_way(self._socket)
        self._thread.start()
        try:
            self._started.result()
        except OSError as error:
            raise UsageError(f"the key proxy's socket {self._socket} cannot be made: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Requests in flight are broken off; what their answers have said is counted."""
        self._started.result().call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._socket.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_route("*", "/{anything:.*}", self._passage.handle)
        app.cleanup_ctx.append(self._passage.open)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_log,
            auto_decompress=False,
            max_field_size=_LARGEST_HEADER,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            await self._listen(runner)
        finally:
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        assert runner.server
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(_limited(runner.server), self._socket)
        self._socket.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._started.set_result(loop)
        await self._end.wait()
        server.close()


class _Account:
    """What was used, in memory and in its file."""

    def __init__(self, file: Path, prices: Prices | None, most_tokens: int | None) -> None:
        self.use = store.read_if_there(file, ModelUse) or ModelUse(usd=0.0 if prices else None)
        self.most_tokens = most_tokens
        self._file = file
        self._prices = prices

    @property
    def is_spent(self) -> bool:
        return self.most_tokens is not None and self.use.tokens >= self.most_tokens

    def add(self, model: str, answer: Answer) -> None:
        self.use = with_answer(self.use, model, answer.tokens, self._prices)
        try:
            store.write(self._file, self.use)
        except OSError as error:  # it counts all the same, and is written with the next
            log.warning("key proxy: %s cannot be written: %s", self._file, error.strerror)


class _Refusal(Exception):
    """Of a request that is not passed on.

    Codex tries again after every status but 400, five times after 403.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class _Passage:
    """What happens to one request, in the proxy's loop."""

    trouble: Trouble | None = None
    requests = 0
    open_requests = 0

    def __init__(self, upstream: Upstream, account: _Account) -> None:
        self._upstream = upstream
        self._maker = upstream.maker
        self._key = upstream.key
        self._routes = upstream.routes()
        self._account = account
        self._told: dict[int, set[str]] = {}

    async def open(self, _: web.Application) -> AsyncIterator[None]:
        """Holds what belongs to the loop."""
        self._slots = asyncio.Semaphore(_MOST_REQUESTS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._upstream.longest_answer_s, connect=_CONNECT_S, sock_connect=_CONNECT_S, sock_read=_SILENCE_S
            ),
        )
        async with self._session:
            yield

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            route = self._route(request)
            async with self._slots:
                body, model = await self._checked(request)
                if self._account.is_spent:
                    raise _Refusal(f"the {self._account.most_tokens} tokens of this session are used up")
                with self._counted():
                    return await self._forward(request, route, body, model)
        except _Refusal as refusal:
            self._tell(logging.WARNING, f"not passed on: {refusal}")
            return self._error(refusal.status, str(refusal))
        except Exception as error:  # noqa: BLE001  a fault of ours, whose traceback leads to the key
            self._tell(logging.ERROR, self._explain(error))
            return self._error(500, "the key proxy failed")

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.requests += 1
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1

    def _route(self, request: web.Request) -> Route:
        # The target as it was written: no form of a path, host or query but these few.
        route = self._routes.get(request.raw_path) if request.method == "POST" else None
        if not route:
            raise _Refusal(f"only POST to {' or '.join(self._routes)} is passed on", 404)
        return route

    async def _checked(self, request: web.Request) -> tuple[bytes, str]:
        """What to send on, and the model that it asks."""
        try:
            body = model_requests.parse(await _read(request))
            reason = model_requests.refusal(self._maker, body, self._upstream.models)
            if reason:
                raise _Refusal(f"refused by the key proxy: {reason}")
            assert isinstance(body, dict)
            return model_requests.write(body), body["model"]
        except ValueError:
            raise _Refusal("the request is no JSON") from None

    async def _forward(self, request: web.Request, route: Route, body: bytes, model: str) -> web.StreamResponse:
        headers = self._headers(request)
        try:
            async with self._session.post(
                route.url, proxy=route.proxy, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if not 200 <= answer.status < 300:
                    return await self._pass_error(answer)
                if not route.is_counted:
                    return web.Response(
                        body=self._key.redact(await answer.text()).encode(), headers=self._answer_headers(answer)
                    )
                return await self._pass_answer(request, answer, model)
        except (aiohttp.ClientError, OSError) as error:
            self.trouble = model_troubles.of_silence(self._explain(error), _now())
            return self._error(502, "the model's service cannot be reached")

    def _headers(self, request: web.Request) -> dict[str, str]:
        given = {name: ", ".join(request.headers.getall(name, ())) for name in _REQUEST_HEADERS}
        return {
            **{name: value for name, value in given.items() if value and value.isascii() and value.isprintable()},
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **self._upstream.key_header(),
        }

    async def _pass_answer(
        self, request: web.Request, upstream: aiohttp.ClientResponse, model: str
    ) -> web.StreamResponse:
        answer = Answer(self._maker, is_stream=upstream.content_type == "text/event-stream")
        client = _Client(request, self._answer_headers(upstream))
        redactor = self._key.redactor()
        problem = "the answer was not whole"
        try:
            async for piece in upstream.content.iter_any():
                answer.feed(clean := redactor.feed(piece))
                await client.take(clean)
            answer.feed(redactor.end())
            answer.end()
        except (aiohttp.ClientError, OSError) as error:
            problem = self._explain(error)
        finally:
            # Before the client sees the end; and also where the end of this proxy breaks the answer off.
            self._account.add(model, answer)
        if answer.error:
            self.trouble = model_troubles.of_error(answer.error, _now())
        elif answer.is_whole:
            self.trouble = None
        else:
            self.trouble = model_troubles.of_silence(problem, _now())
            return client.break_off()
        await client.take(redactor.end())
        return client.response

    async def _pass_error(self, upstream: aiohttp.ClientResponse) -> web.Response:
        body = b""
        async for piece in upstream.content.iter_any():
            body += piece
            if len(body) > _LARGEST_ERROR:
                break
        body = self._key.redact(body.decode("utf-8", "replace")).encode()
        headers = {name.lower(): self._key.redact(value) for name, value in upstream.headers.items()}
        self.trouble = model_troubles.of_response(upstream.status, headers, body, _now()) or self.trouble
        if upstream.status < 400:
            return self._error(502, "the model's service answers with a redirection, which is not followed")
        if upstream.status in (401, 403):  # services quote a part of the key here
            return self._error(upstream.status, "the model's service refuses the key or its rights")
        return web.Response(body=body, status=upstream.status, headers=self._answer_headers(upstream))

    def _answer_headers(self, upstream: aiohttp.ClientResponse) -> dict[str, str]:
        return {
            name: self._key.redact(value)
            for name, value in upstream.headers.items()
            if name.lower() in _ANSWER_HEADERS or name.lower().startswith(_ANSWER_PREFIXES)
        }

    def _error(self, status: int, message: str) -> web.Response:
        """An error in the words of the maker's API, whose clients try again what may pass, but not what we refuse."""
        kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        headers = {} if status >= 500 else {"x-should-retry": "false"}
        if self._maker == "anthropic":
            body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
        else:
            body = {"error": {"type": kind, "message": message, "code": kind, "param": None}}
        return web.json_response(body, status=status, headers=headers)

    def _explain(self, error: Exception) -> str:
        return self._key.redact(f"{type(error).__name__}: {error}")

    def _tell(self, level: int, what: str) -> None:
        """Log it, once, and no more than so many of a level: the agent can call up as many as it likes."""
        told = self._told.setdefault(level, set())
        if what not in told and len(told) < _MOST_LINES:
            told.add(what)
            log.log(level, "key proxy: %s", what)


class _Client:
    """Takes the answer as long as it is there. When it goes the answer is read on all the same: it is paid for."""

    def __init__(self, request: web.Request, headers: dict[str, str]) -> None:
        self.response = web.StreamResponse(headers=headers)
        self._request = request
        self._is_there = True

    async def take(self, piece: bytes) -> None:
        if not piece or not self._is_there:
            return
        try:
            async with asyncio.timeout(_AGENT_S):
                if not self.response.prepared:
                    await self.response.prepare(self._request)
                await self.response.write(piece)
        except OSError:
            self._is_there = False
            self.break_off()

    def break_off(self) -> web.StreamResponse:
        """What was sent so far must not look like all of it."""
        if self._request.transport:
            self._request.transport.abort()
        return self.response


class _HangUp(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _limited(server: web.Server) -> Callable[[], asyncio.Protocol]:
    return lambda: server() if len(server.connections) < _MOST_CONNECTIONS else _HangUp()


async def _read(request: web.Request) -> bytes:
    if "Content-Encoding" in request.headers:
        raise _Refusal("a compressed request is not passed on")
    try:
        async with asyncio.timeout(_AGENT_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _Refusal(f"a request may have {_LARGEST_REQUEST} bytes", 413) from None
    except (web.RequestPayloadError, OSError):
        raise _Refusal("the request did not come whole, or not in time") from None


def _make_way(socket: Path) -> None:
    if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
        raise UsageError(f"the key proxy's socket {socket} has too long a path: choose a shorter `runs`")
    try:
        is_ours = stat.S_ISSOCK(socket.lstat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"the key proxy's socket {socket} cannot be made: {error.strerror}") from None
    if not is_ours:
        raise UsageError(f"the key proxy's socket cannot be made: something else lies at {socket}")
    socket.unlink()


def _now() -> datetime:
    return datetime.now(UTC)
