"""The key proxy between clients on its socket and local services: what passes, what does not, and what is told of it.

The attacker sits at the socket and knows the source.
"""

import base64
import gzip
import http.client
import json
import logging
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from slurm_bench.effects import store
from slurm_bench.effects.key_proxy import KeyProxy, Upstream
from slurm_bench.effects.keys import Key
from slurm_bench.words.errors import UsageError
from slurm_bench.words.model_use import ModelUse, Prices, TokenCount
from tests.model_server import INPUT_TOKENS, OUTPUT_TOKENS, Breaks, ModelServer, Overloads, Says, Stalls, Status, Step
from tests.waiting import LONG_S, until

SECRET = "sk-real-0123456789abcdef"
INSIDE = "sk-made-up-inside"
MAKERS = ("anthropic", "openai", "azure")
ONE_ANSWER = TokenCount(requests=1, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS)
TARGETS = {"anthropic": "/v1/messages", "openai": "/v1/responses", "azure": "/v1/responses"}
MESSAGE: dict[str, Any] = {"model": "large", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
RESPONSE: dict[str, Any] = {"model": "large", "input": "hi"}
BODIES = {"anthropic": MESSAGE, "openai": RESPONSE, "azure": RESPONSE}

Proxies = Callable[..., KeyProxy]


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def at() -> Iterator[Path]:
    """The socket's path, which has to be short."""
    with tempfile.TemporaryDirectory(prefix="kp") as folder:
        yield Path(folder) / "model.sock"


@dataclass(frozen=True)
class Place:
    """Where a proxy's socket and its record lie."""

    socket: Path
    use: Path

    def proxy(self, maker: str, url: str, longest_answer_s: float = LONG_S, **options: Any) -> KeyProxy:
        upstream = Upstream(maker, url, None, Key(SECRET), frozenset({"large", "small"}), longest_answer_s)
        return KeyProxy(upstream, self.socket, self.use, **options)


@pytest.fixture
def place(at: Path, tmp_path: Path) -> Place:
    return Place(at, tmp_path / "use.json")


class Connection(http.client.HTTPConnection):
    """HTTP on a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=LONG_S)
        self._path = path

    def connect(self) -> None:
        self.sock = connected(self._path)


def connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path))
    made.settimeout(LONG_S)
    return made


def post(
    path: Path, body: object, target: str = "/v1/messages", headers: Mapping[str, str] | None = None
) -> tuple[int, Message, bytes]:
    with closing(Connection(path)) as connection:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", target, raw, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""A request that does not pass, and the last of its connection."""


def send(path: Path, raw: bytes) -> bytes:
    """Bytes as they are, and a last request; all that comes back until the proxy hangs up."""
    back = b""
    with connected(path) as connection, suppress(ConnectionError):
        connection.sendall(raw + LAST)
        while piece := connection.recv(65536):
            back += piece
    return back


def raw_post(target: str = "/v1/messages", body: bytes = json.dumps(MESSAGE).encode(), *headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", *(headers or [f"Content-Length: {len(body)}"])]
    return "\r\n".join([*lines, "", ""]).encode() + body


Answers = Callable[[BaseHTTPRequestHandler], None]
EMPTY = b'{"usage": {}}'


@dataclass
class Service:
    """A service of a test's own making."""

    url: str
    requests: list[tuple[str, Message, bytes]]


@contextmanager
def serving(answers: Answers) -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.requests.append((self.path, self.headers, body))
            with suppress(ConnectionError):
                answers(self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = Service(f"http://127.0.0.1:{server.server_address[1]}", [])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(
    handler: BaseHTTPRequestHandler,
    status: int = 200,
    body: bytes = b'{"usage": {}}',
    headers: Mapping[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def stream(handler: BaseHTTPRequestHandler, *pieces: bytes | Callable[[], object]) -> None:
    """Pieces go out one by one; what is to be called is called between them."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    for piece in pieces:
        if isinstance(piece, bytes):
            handler.wfile.write(piece)
            handler.wfile.flush()
        else:
            piece()


def event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


START = event({"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}})
END = event({"type": "message_delta", "usage": {"output_tokens": 5}}) + event({"type": "message_stop"})
WHOLE = json.dumps({"type": "message", "usage": {"input_tokens": 7, "output_tokens": 5}}).encode()
OF_WHOLE = TokenCount(requests=1, input_tokens=7, output_tokens=5)


# What passes.


def says(maker: str, path: Path, *, is_stream: bool = False, key: str = INSIDE) -> str:
    """The answer to a question that the maker's own client puts through the socket."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as wire:
        if maker == "anthropic":
            return _anthropic_says(
                anthropic.Anthropic(api_key=key, base_url="http://inside", http_client=wire), is_stream
            )
        if maker == "openai":
            return _openai_says(openai.OpenAI(api_key=key, base_url="http://inside/v1", http_client=wire), is_stream)
        version = "2025-04-01-preview"
        return _openai_says(
            openai.AzureOpenAI(api_key=key, azure_endpoint="http://inside", api_version=version, http_client=wire),
            is_stream,
        )


def _anthropic_says(client: anthropic.Anthropic, is_stream: bool) -> str:
    message: anthropic.types.Message
    if is_stream:
        with client.messages.stream(**MESSAGE) as coming:
            message = coming.get_final_message()
    else:
        message = client.messages.create(**MESSAGE)
    assert message.content[0].type == "text"
    return message.content[0].text


def _openai_says(client: openai.OpenAI, is_stream: bool) -> str:
    if is_stream:
        with client.responses.stream(**RESPONSE) as coming:
            return coming.get_final_response().output_text
    return str(client.responses.create(**RESPONSE).output_text)


@pytest.mark.parametrize("is_stream", [True, False])
def test_the_makers_clients_are_answered(maker: str, place: Place, is_stream: bool) -> None:
    prices = Prices(input=1, output=10, cache_read=0, cache_write=0)
    with ModelServer([Says("Hello.")]) as server:
        with place.proxy(maker, server.base_url(maker), prices=prices) as proxy:
            assert says(maker, place.socket, is_stream=is_stream) == "Hello."
            assert says(maker, place.socket, is_stream=is_stream) == "Hello."
        assert {request.key for request in server.requests} == {SECRET}
        assert INSIDE not in str(server.requests)
        assert server.requests[0].query == ({"api-version": "2025-04-01-preview"} if maker == "azure" else {})
    assert proxy.use.by_model == {"large": ONE_ANSWER + ONE_ANSWER}
    assert proxy.use.usd == pytest.approx(2 * (INPUT_TOKENS + 10 * OUTPUT_TOKENS) / 1e6)
    assert store.read(place.use, ModelUse) == proxy.use
    assert proxy.trouble is None


def test_each_event_passes_as_it_comes(place: Place) -> None:
    more = threading.Event()
    with (
        serving(lambda handler: stream(handler, START, lambda: more.wait(LONG_S), END)) as service,
        place.proxy("anthropic", service.url) as proxy,
        closing(Connection(place.socket)) as connection,
    ):
        connection.request("POST", "/v1/messages", json.dumps({**MESSAGE, "stream": True}))
        answer = connection.getresponse()
        assert answer.read1() == START  # while the service holds the rest back
        assert answer.headers["Content-Type"] == "text/event-stream"
        more.set()
        assert answer.read() == END
        # Whoever has seen the end of an answer finds it counted.
        assert store.read(place.use, ModelUse).by_model == {"large": OF_WHOLE} == proxy.use.by_model


def test_tokens_are_counted_in_advance_for_nothing(place: Place) -> None:
    with (
        serving(lambda handler: reply(handler, body=b'{"input_tokens": 12}')) as service,
        place.proxy("anthropic", service.url) as proxy,
    ):
        status, _, body = post(place.socket, MESSAGE, "/v1/messages/count_tokens?beta=true")
    assert (status, json.loads(body)) == (200, {"input_tokens": 12})
    assert service.requests[0][0] == "/v1/messages/count_tokens?beta=true"
    assert proxy.use.tokens == 0


def test_few_headers_pass_and_no_key_from_inside(maker: str, place: Place) -> None:
    hostile = {
        "Host": "evil.example",
        "Cookie": "a=b",
        "Authorization": f"Bearer {INSIDE}",
        "X-Api-Key": INSIDE,
        "Api-Key": INSIDE,
        "Proxy-Authorization": "Basic abc",
        "X-Forwarded-Host": "evil.example",
        "OpenAI-Organization": "org-other",
        "Anthropic-User-Profile-Id": "other",
        "Accept-Encoding": "gzip",
        "Content-Type": "text/plain",
        "Connection": "keep-alive, X-Api-Key",
        "Anthropic-Beta": "one,two",
        "User-Agent": "agent/1",
        "Originator": "b\xe4d",
    }
    with serving(reply) as service, place.proxy(maker, service.url):
        post(place.socket, BODIES[maker], TARGETS[maker], hostile)
    (path, headers, body) = service.requests[0]
    names = {"anthropic": "x-api-key", "openai": "authorization", "azure": "api-key"}
    expected = {"host", "user-agent", "anthropic-beta", "content-type", "accept", "accept-encoding", "content-length"}
    assert {name.lower() for name in headers} == expected | {names[maker]}
    assert headers["Host"] == service.url.removeprefix("http://")
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Content-Type"] == "application/json"
    assert INSIDE not in str(headers.items())
    assert json.loads(body) == BODIES[maker]
    azure = "/openai/responses?api-version=2025-04-01-preview"
    assert path == {"anthropic": "/v1/messages", "openai": "/responses", "azure": azure}[maker]


def test_few_headers_come_back(place: Place) -> None:
    told = {"Request-Id": "req_1", "anthropic-ratelimit-tokens-remaining": "5"}
    kept = {"Set-Cookie": "a=b", "Server": "x", "anthropic-organization-id": "org"}
    answers = partial(reply, body=WHOLE, headers={**told, **kept})
    with serving(answers) as service, place.proxy("anthropic", service.url):
        _, headers, _ = post(place.socket, MESSAGE)
    assert {name: headers[name] for name in told} == told
    assert not {name for name in kept if name in headers and headers[name] == kept[name]}


def test_no_cookie_is_kept(place: Place) -> None:
    with (
        serving(partial(reply, headers={"Set-Cookie": "a=b; Path=/"})) as service,
        place.proxy("anthropic", service.url.replace("127.0.0.1", "localhost")),
    ):
        post(place.socket, MESSAGE)
        post(place.socket, MESSAGE)
    assert [headers["Cookie"] for _, headers, _ in service.requests] == [None, None]


def test_a_long_header_is_taken(place: Place) -> None:
    """Codex tells of itself in one."""
    with serving(reply) as service, place.proxy("anthropic", service.url):
        assert post(place.socket, MESSAGE, headers={"X-Codex-Turn-Metadata": "a" * 20_000})[0] == 200


def test_a_service_that_compresses_all_the_same(place: Place) -> None:
    answers = partial(reply, body=gzip.compress(WHOLE), headers={"Content-Encoding": "gzip"})
    with serving(answers) as service, place.proxy("anthropic", service.url) as proxy:
        _, headers, body = post(place.socket, MESSAGE)
    assert body == WHOLE
    assert "Content-Encoding" not in headers
    assert proxy.use.by_model == {"large": OF_WHOLE}


def test_the_proxy_of_the_environment_is_used(
    maker: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "netrc"
    credentials.write_text("default login somebody password of-somewhere-else")
    with serving(partial(reply, body=WHOLE)) as service:
        monkeypatch.setenv("NETRC", str(credentials))
        monkeypatch.setenv("http_proxy", service.url.replace("//", "//user:word@"))
        monkeypatch.delenv("no_proxy", raising=False)
        with place.proxy(maker, "http://model.invalid"):
            assert post(place.socket, BODIES[maker], TARGETS[maker])[0] == 200
    path, headers, _ = service.requests[0]
    assert path.startswith("http://model.invalid/")
    assert headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'user:word').decode()}"
    assert headers["Authorization"] == (f"Bearer {SECRET}" if maker == "openai" else None)


def test_a_proxy_of_the_environment_needs_no_scheme_but_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(partial(reply, body=WHOLE)) as service:
        monkeypatch.setenv("http_proxy", service.url.removeprefix("http://"))
        with place.proxy("anthropic", "http://model.invalid"):
            assert post(place.socket, MESSAGE)[0] == 200
    monkeypatch.setenv("http_proxy", "socks5://user:word@proxy.invalid")
    with pytest.raises(UsageError, match="http_proxy") as caught:
        place.proxy("anthropic", "http://model.invalid")
    assert "word" not in str(caught.value)


def test_some_hosts_need_no_proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ModelServer([Says("Hello.")]) as server, place.proxy("anthropic", server.url):
        assert post(place.socket, MESSAGE)[0] == 200


@pytest.mark.parametrize(
    ("base_url", "path"),
    [("", "/openai/responses"), ("/openai/", "/openai/responses"), ("/openai/v1", "/openai/v1/responses")],
)
def test_azure_is_found_with_and_without_its_suffix(place: Place, base_url: str, path: str) -> None:
    with serving(reply) as service, place.proxy("azure", f"{service.url}{base_url}"):
        post(place.socket, RESPONSE, "/v1/responses")
    assert service.requests[0][0].split("?")[0] == path


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "https://", "https://x:0", "https://u:p@x", "https://x?a=b", "http://["]
)
def test_a_base_url_that_is_none(place: Place, url: str) -> None:
    with pytest.raises(UsageError, match="base_url"):
        place.proxy("azure", url)


# What does not pass.


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /v1/models",
        "GET /v1/messages",
        "PUT /v1/messages",
        "POST /",
        "POST /v1/messages/",
        "POST /v1/messages?beta=false",
        "POST /v1/messages?beta=true&x=1",
        "POST /v1/messages?",
        "POST /v1/messages#x",
        "POST /v1/messages/../files",
        "POST /v1/messages/..%2ffiles",
        "POST /v1/%6dessages",
        "POST /v1/messages/batches",
        "POST /v1/responses",
        "POST /v1//messages",
        "POST //evil.example/v1/messages",
        "POST /\\evil.example/v1/messages",
        "POST v1/messages",
        "POST http://evil.example/v1/messages",
        "POST https://api.anthropic.com/v1/messages",
        "POST http:/v1/messages",
        "POST @evil.example/v1/messages",
        "POST /v1/messages@evil.example",
        "POST /v1/messages;x",
        "POST /v1/messages\t",
        "CONNECT evil.example:443",
        "OPTIONS *",
        "TRACE /v1/messages",
        "post /v1/messages",
        "POST /V1/MESSAGES",
    ],
)
def test_no_other_target_passes(place: Place, request_line: str) -> None:
    body = json.dumps(MESSAGE).encode()
    head = f"{request_line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with ModelServer([Says("no")]) as server, place.proxy("anthropic", server.url):
        back = send(place.socket, head.encode() + body)
        assert post(place.socket, MESSAGE)[0] == 200
    assert back.split(b" ")[1] in (b"404", b"400")
    assert len(server.requests) == 1


GOOD = json.dumps(MESSAGE).encode()
BAD = json.dumps({**MESSAGE, "mcp_servers": []}).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)


@pytest.mark.parametrize(
    ("raw", "answered"),
    [
        (raw_post("/v1/messages", CHUNKED, "Transfer-Encoding: chunked"), 1),
        (raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", f"Content-Length: {len(GOOD)}"), 0),
        (raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", "Content-Length: 5"), 0),
        (raw_post("/v1/messages", CHUNKED, "Content-Length: 4", "Transfer-Encoding: chunked"), 0),
        (raw_post("/v1/messages", CHUNKED, "Transfer-Encoding: chunked", "Content-Length: 4"), 0),
        (raw_post("/v1/messages", CHUNKED, "Transfer-Encoding: xchunked"), 0),
        (raw_post("/v1/messages", CHUNKED, "Transfer-Encoding: chunked, identity"), 0),
        (raw_post("/v1/messages", CHUNKED, "Transfer-Encoding : chunked"), 0),
        (raw_post("/v1/messages", GOOD, "Content-Length: +5"), 0),
        (raw_post("/v1/messages", GOOD, "Content-Length: -1"), 0),
        (raw_post("/v1/messages", b"zz\r\n" + GOOD, "Transfer-Encoding: chunked"), 0),
        (raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", "X: a\rHost: evil.example"), 0),
        (raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", "Content-Encoding: gzip"), 0),
        (
            raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", "Connection: Upgrade", "Upgrade: websocket"),
            1,  # as if it had not asked for more
        ),
        (raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", "User-Agent: a\0b"), 0),
        (raw_post("/v1/messages", GOOD, f"Content-Length: {len(GOOD)}", "X: " + "a" * 70_000), 0),
        (raw_post("/v1/messages", GOOD) + raw_post("/v1/messages", BAD) + raw_post("/v1/files", GOOD), 1),
        (raw_post("/v1/messages", GOOD, "Content-Length: 0"), 0),
        (b"\x16\x03\x01\x02\x00\x01", 0),
    ],
)
def test_a_request_is_read_one_way_or_not_at_all(place: Place, raw: bytes, answered: int) -> None:
    with ModelServer([Says("Hello.")]) as server, place.proxy("anthropic", server.url):
        back = send(place.socket, raw)
        assert post(place.socket, MESSAGE)[0] == 200  # it still serves
    assert back.count(b" 200 OK\r\n") == answered
    assert [request.body for request in server.requests] == [MESSAGE] * (answered + 1)


def test_a_refused_request_says_why_in_the_makers_words(maker: str, place: Place) -> None:
    with ModelServer([Says("no")]) as server, place.proxy(maker, server.base_url(maker)) as proxy:
        tools = [{"type": "web_search_20250305", "name": "web_search"}]
        status, headers, body = post(place.socket, {**BODIES[maker], "tools": tools}, TARGETS[maker])
        assert not server.requests
    error = json.loads(body)["error"]
    assert status == 400
    assert error["type"] == "invalid_request_error"
    assert "web_search_20250305" in error["message"]
    assert headers["x-should-retry"] == "false"
    assert proxy.trouble is None
    assert proxy.use == ModelUse()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe", b'{"model": "other"}', b"null"])
def test_nonsense_does_not_pass(maker: str, place: Place, body: bytes) -> None:
    with ModelServer([Says("no")]) as server, place.proxy(maker, server.base_url(maker)):
        assert post(place.socket, body, TARGETS[maker])[0] == 400
        assert not server.requests


def test_of_two_fields_with_one_name_the_checked_one_passes(place: Place) -> None:
    twice = json.dumps({**MESSAGE, "tools": [{"type": "web_fetch_20250910"}]})[:-1] + ', "tools": []}'
    with serving(partial(reply, body=WHOLE)) as service, place.proxy("anthropic", service.url):
        assert post(place.socket, twice.encode())[0] == 200
    assert b"web_fetch" not in service.requests[0][2]


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_huge_request_is_cut_short(place: Place, is_chunked: bool) -> None:
    megabyte = b" " * 1024**2
    with ModelServer([Says("no")]) as server, place.proxy("anthropic", server.url):
        with closing(Connection(place.socket)) as connection, suppress(ConnectionError):
            body = (megabyte for _ in range(40))
            headers = {} if is_chunked else {"Content-Length": str(40 * 1024**2)}
            connection.request("POST", "/v1/messages", body, headers, encode_chunked=is_chunked)
            assert connection.getresponse().status == 413
        assert post(place.socket, MESSAGE)[0] == 200
    assert len(server.requests) == 1


def test_one_that_dawdles_holds_nobody_up(place: Place) -> None:
    with (
        ModelServer([Says("Hello.")]) as server,
        place.proxy("anthropic", server.url),
        connected(place.socket) as slow,
        connected(place.socket) as slower,
    ):
        slow.sendall(raw_post()[:-10])
        slower.sendall(b"POST /v1/mess")
        assert post(place.socket, MESSAGE)[0] == 200


def test_connections_are_few(place: Place) -> None:
    with ModelServer([Says("Hello.")]) as server, place.proxy("anthropic", server.url):
        many = [connected(place.socket) for _ in range(128)]
        until(lambda: send(place.socket, raw_post()) == b"")
        for each in many:
            each.close()
        until(lambda: b" 200 OK" in send(place.socket, raw_post()))


def test_requests_at_once_are_few(place: Place) -> None:
    with ModelServer([Stalls(0)]) as server, place.proxy("anthropic", server.url):
        waiting = [connected(place.socket) for _ in range(20)]
        for each in waiting:
            each.sendall(raw_post())
        until(lambda: len(server.requests) == 16)
        time.sleep(0.2)
        assert len(server.requests) == 16
        for each in waiting:
            each.close()


def test_refusals_are_logged_once_and_not_for_ever(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with ModelServer([Says("no")]) as server, place.proxy("anthropic", server.url):
        for number in range(40):
            post(place.socket, {**MESSAGE, "model": f"other\n{number}"})
            post(place.socket, MESSAGE, "/v1/files")
        send(place.socket, b"no HTTP\r\n\r\n")
        send(place.socket, raw_post("/v1/messages", b"", "Content-Length: many"))
    # The HTTP library may have a word of its own on what is no HTTP.
    said = [record.getMessage() for record in caplog.records if record.name == KeyProxy.__module__]
    assert len(said) == 20
    assert not [line for line in said if "\n" in line]
    assert sum("only POST to /v1/messages" in line for line in said) == 1


# The key.


def _with_key(handler: BaseHTTPRequestHandler) -> bytes:
    return f"{handler.headers['x-api-key']} is your key".encode()


def _echo(status: int) -> Answers:
    def answers(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"error": {"type": "api_error", "message": _with_key(handler).decode()}}).encode()
        reply(handler, status, body, {"x-request-id": handler.headers["x-api-key"]})

    return answers


def _echo_in_stream(handler: BaseHTTPRequestHandler) -> None:
    text = event({"type": "error", "error": {"type": "api_error", "message": _with_key(handler).decode()}})
    stream(handler, START, text[:40], text[40:60], lambda: time.sleep(0.05), text[60:])


@pytest.mark.parametrize(
    "answers", [_echo(200), _echo(400), _echo(401), _echo(403), _echo(404), _echo(500), _echo(302), _echo_in_stream]
)
@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_service_that_shows_the_key(
    place: Place, answers: Answers, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(answers) as service, place.proxy("anthropic", service.url) as proxy:
        status, headers, body = post(place.socket, MESSAGE, target)
    assert status
    use = place.use.read_text() if place.use.exists() else ""
    assert SECRET not in f"{headers.items()} {body!r} {proxy.trouble} {use} {caplog.text}"
    assert service.requests[0][1]["x-api-key"] == SECRET


def test_of_a_refused_key_not_even_a_part_is_shown(place: Place) -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-real-****cdef", "code": "invalid_api_key"}}'
    with serving(lambda handler: reply(handler, 401, body)) as service, place.proxy("openai", service.url) as proxy:
        status, _, shown = post(place.socket, RESPONSE, "/v1/responses")
    assert status == 401
    assert b"cdef" not in shown
    assert proxy.trouble
    assert proxy.trouble.is_hopeless


# Tokens.


def test_a_session_goes_on_from_what_was_used(place: Place) -> None:
    with ModelServer([Says("Hello.")]) as server:
        for _ in range(2):
            with place.proxy("anthropic", server.url) as proxy:
                post(place.socket, MESSAGE)
    assert proxy.use.by_model == {"large": ONE_ANSWER + ONE_ANSWER}


def test_when_the_tokens_are_used_up(maker: str, place: Place) -> None:
    with ModelServer([Says("Hello.")]) as server:
        with place.proxy(maker, server.base_url(maker), most_tokens=ONE_ANSWER.total + 1) as proxy:
            says(maker, place.socket)
            assert not proxy.is_spent
            says(maker, place.socket)
            assert proxy.is_spent
            refused = anthropic.BadRequestError if maker == "anthropic" else openai.BadRequestError
            with pytest.raises(refused, match="are used up"):
                says(maker, place.socket)
        assert len(server.requests) == 2
        with place.proxy(maker, server.base_url(maker), most_tokens=ONE_ANSWER.total + 1) as proxy:
            assert proxy.is_spent


def test_who_leaves_early_pays_for_the_whole_answer(place: Place) -> None:
    more = threading.Event()
    with (
        serving(lambda handler: stream(handler, START, lambda: more.wait(LONG_S), START, START, END)) as service,
        place.proxy("anthropic", service.url) as proxy,
    ):
        with closing(Connection(place.socket)) as connection:
            connection.request("POST", "/v1/messages", json.dumps({**MESSAGE, "stream": True}))
            answer = connection.getresponse()
            answer.read1()
            answer.close()
        more.set()
        until(lambda: proxy.use.by_model == {"large": OF_WHOLE})
    assert proxy.trouble is None


@pytest.mark.parametrize("cleanly", [True, False])
def test_an_answer_that_breaks_off(maker: str, place: Place, cleanly: bool) -> None:
    with ModelServer([Breaks(cleanly)]) as server, place.proxy(maker, server.base_url(maker)) as proxy:
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            post(place.socket, {**BODIES[maker], "stream": True}, TARGETS[maker])
        until(lambda: proxy.trouble is not None)
    assert proxy.trouble
    assert proxy.trouble.status == 0
    said = TokenCount(requests=1, input_tokens=INPUT_TOKENS, output_tokens=1)
    assert proxy.use.by_model == {"large": said if maker == "anthropic" else TokenCount(requests=1)}


def test_a_record_that_cannot_be_written_stops_nobody(at: Path, tmp_path: Path) -> None:
    file = tmp_path / "no-folder"
    file.write_text("")
    place = Place(at, file / "use.json")
    with ModelServer([Says("Hello.")]) as server, place.proxy("anthropic", server.url) as proxy:
        assert post(place.socket, MESSAGE)[0] == 200
    assert proxy.use.by_model == {"large": ONE_ANSWER}


# Troubles.


def troubled(place: Place, maker: str, *script: Step, is_stream: bool = False) -> KeyProxy:
    with ModelServer(script) as server, place.proxy(maker, server.base_url(maker)) as proxy:
        for _ in script:
            post(place.socket, {**BODIES[maker], "stream": is_stream}, TARGETS[maker])
    return proxy


def test_a_limit_is_a_trouble_that_passes(maker: str, place: Place) -> None:
    trouble = troubled(place, maker, Says("Hello."), Status(429, "Slow down", retry_after=90)).trouble
    assert trouble
    assert trouble.status == 429
    assert "Slow down" in trouble.message
    assert not trouble.is_hopeless
    assert trouble.retry_at
    assert (trouble.retry_at - trouble.at).total_seconds() == pytest.approx(90)


def test_the_agent_is_told_when_to_ask_again(place: Place) -> None:
    with ModelServer([Status(429, "Slow down", retry_after=90)]) as server, place.proxy("anthropic", server.url):
        status, headers, body = post(place.socket, MESSAGE)
    assert (status, headers["Retry-After"]) == (429, "90")
    assert json.loads(body)["error"]["message"] == "Slow down"


def test_an_answer_that_never_ends_is_cut(place: Place) -> None:
    """The service only says that it is there, so that it is never silent."""
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    pings = (lambda: time.sleep(0.1), ping)

    with (
        serving(lambda handler: stream(handler, START, *pings * 6000)) as service,
        place.proxy("anthropic", service.url, longest_answer_s=1) as proxy,
    ):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            post(place.socket, {**MESSAGE, "stream": True})
        until(lambda: proxy.trouble is not None and not proxy.is_asking)
    assert proxy.trouble and proxy.trouble.status == 0


def test_whether_an_answer_is_awaited(place: Place) -> None:
    """A service that has begun to answer counts, and a request that is not passed on does not."""
    with ModelServer([Stalls()]) as server, place.proxy("anthropic", server.url) as proxy:
        post(place.socket, {**MESSAGE, "model": "other"})
        assert (proxy.requests, proxy.is_asking) == (0, False)
        with closing(Connection(place.socket)) as connection:
            connection.request("POST", "/v1/messages", json.dumps({**MESSAGE, "stream": True}))
            connection.getresponse().read1()
            assert (proxy.requests, proxy.is_asking) == (1, True)
    assert (proxy.requests, proxy.is_asking) == (1, False)


def test_a_good_answer_ends_a_trouble(maker: str, place: Place) -> None:
    assert troubled(place, maker, Status(529, "Overloaded"), Says("Hello.")).trouble is None


def test_a_fault_of_the_agents_is_no_trouble_and_ends_none(place: Place) -> None:
    assert troubled(place, "anthropic", Status(400, "prompt is too long")).trouble is None
    trouble = troubled(place, "anthropic", Status(529, "Overloaded"), Status(400, "prompt is too long")).trouble
    assert trouble
    assert trouble.status == 529


def test_an_error_within_an_answer(maker: str, place: Place) -> None:
    proxy = troubled(place, maker, Overloads(), is_stream=True)
    assert proxy.trouble
    assert proxy.trouble.status >= 500
    assert proxy.use.by_model["large"].requests == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_some_troubles_do_not_pass(maker: str, place: Place, status: int) -> None:
    trouble = troubled(place, maker, Status(status, "no", code_name="model_not_found")).trouble
    assert trouble
    assert (trouble.status, trouble.is_hopeless) == (status, True)


def test_nobody_there(maker: str, place: Place) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        with place.proxy(maker, f"http://127.0.0.1:{unheard.getsockname()[1]}") as proxy:
            status, headers, body = post(place.socket, BODIES[maker], TARGETS[maker])
    assert status == 502
    assert "x-should-retry" not in headers
    assert json.loads(body)["error"]["message"] == "the model's service cannot be reached"
    assert proxy.trouble
    assert proxy.trouble.status == 0
    assert "ClientConnectorError" in proxy.trouble.message


def test_no_redirection_is_followed(place: Place) -> None:
    with ModelServer([Says("no")]) as other:
        answers = partial(reply, status=307, headers={"Location": f"{other.url}/v1/messages"})
        with serving(answers) as service, place.proxy("anthropic", service.url) as proxy:
            status, headers, _ = post(place.socket, MESSAGE)
        assert not other.requests
    assert status == 502
    assert "Location" not in headers
    assert proxy.trouble
    assert proxy.trouble.is_hopeless


# Beginning and end.


@pytest.mark.parametrize("after_bytes", [0, 200])
def test_it_ends_at_once_while_the_service_hangs(place: Place, after_bytes: int) -> None:
    with ModelServer([Stalls(after_bytes)]) as server:
        with place.proxy("anthropic", server.url) as proxy:
            waiting = connected(place.socket)
            waiting.sendall(raw_post("/v1/messages", json.dumps({**MESSAGE, "stream": True}).encode()))
            until(lambda: bool(server.requests))
            if after_bytes:
                assert waiting.recv(100)
            begun = time.monotonic()
        assert time.monotonic() - begun < 60, "the service would take longer"
        waiting.close()
    assert not place.socket.exists()
    assert proxy.use.by_model == ({"large": TokenCount(requests=1)} if after_bytes else {})
    assert "key proxy" not in {thread.name for thread in threading.enumerate()}


def test_a_socket_that_was_left_behind_is_replaced(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place.socket))
    with ModelServer([Says("Hello.")]) as server, place.proxy("anthropic", server.url):
        assert post(place.socket, MESSAGE)[0] == 200
        assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600


def test_where_no_socket_can_be(place: Place, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("mine")
    for path, why in [
        (taken, "something else lies at"),
        (taken / "model.sock", "Not a directory"),
        (place.socket.parent / "none" / "model.sock", "No such file"),
        (place.socket.parent / ("x" * 100), "too long a path"),
    ]:
        with pytest.raises(UsageError, match=why) as caught, Place(path, place.use).proxy("anthropic", "http://x"):
            pass
        assert "\n" not in str(caught.value)
    assert taken.read_text() == "mine"
