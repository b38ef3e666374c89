"""A local server that speaks as the services of models do, and fails as they do, by a script."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.scripted_server import ScriptedHandler, ScriptedServer

INPUT_TOKENS = 120
OUTPUT_TOKENS = 34
REFUSAL = "I will not judge this."
LONGEST_WAIT_MS = 30_000
"""The longest that Codex lets a call of its shell tool wait."""
_MAKERS = {"/v1/messages": "anthropic", "/v1/responses": "openai", "/openai/responses": "azure"}


@dataclass(frozen=True)
class Says:
    text: str
    input_tokens: int = INPUT_TOKENS
    """That its service says it read."""


@dataclass(frozen=True)
class Runs:
    """A call of the shell tool that the program gives its model."""

    command: str
    wait_ms: int = LONGEST_WAIT_MS
    """After this Codex tells its model that the command goes on."""
    in_background: bool = False
    """Whether Claude Code is to leave it there."""


@dataclass(frozen=True)
class Polls:
    """A call of Codex's tool that waits for more of a command that has not ended."""

    session: int


@dataclass(frozen=True)
class Refuses:
    pass


@dataclass(frozen=True)
class CutOff:
    """The limit of tokens ended the text."""

    text: str


@dataclass(frozen=True)
class Status:
    """An HTTP error. `code_name` is the one in the body, where a service gives one."""

    code: int
    message: str = ""
    retry_after: str | int | None = None
    code_name: str | None = None


@dataclass(frozen=True)
class Stalls:
    """So many bytes of the body, then silence until the server closes; with 0 not even headers."""

    after_bytes: int = 200


@dataclass(frozen=True)
class Breaks:
    """The connection ends in mid-stream: torn, or closed as if that were all."""

    cleanly: bool = False
    last_event: str = ""
    """That still comes; without one, half of the bytes do."""


@dataclass(frozen=True)
class Overloads:
    """An error event in mid-stream."""


Step = Says | Runs | Polls | Refuses | CutOff | Status | Stalls | Breaks | Overloads


@dataclass(frozen=True)
class Request:
    maker: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Mapping[str, Any]
    at: float = field(default_factory=time.monotonic)
    """Seconds of the monotonic clock."""

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def key(self) -> str:
        headers = self.headers
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return headers.get("api-key") or headers.get("x-api-key") or bearer

    @property
    def system(self) -> str:
        return text_of(self.body.get("system" if self.maker == "anthropic" else "instructions", ""))

    @property
    def texts(self) -> list[str]:
        """Of all messages after the system's, in their order."""
        return [text_of(each.get("content") or each.get("output")) for each in self.messages]

    @property
    def roles(self) -> list[str]:
        """Of the same messages; a call of a tool and its output have none with OpenAI, but a type."""
        return [each.get("role") or each["type"] for each in self.messages]

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages = self.body["messages" if self.maker == "anthropic" else "input"]
        return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema that the answer has to keep to."""
        settings = self.body["output_config" if self.maker == "anthropic" else "text"]
        assert settings["format"]["type"] == "json_schema"
        schema = settings["format"]["schema"]
        assert isinstance(schema, dict)
        return schema

    @property
    def tools(self) -> list[str]:
        """The names of those that have one."""
        return [tool["name"] for tool in self.body.get("tools", ()) if "name" in tool]

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))


def text_of(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    """All text in a message's content, or in a tool's output."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or text_of(part.get("content")) for part in content)


Script = Sequence[Step] | Callable[[Request], Step]


class ModelServer(ScriptedServer[Request]):
    """
    Args:
        script: a step for each request, the last one for all further ones; or what makes a step of a request.
    """

    def __init__(self, script: Script) -> None:
        super().__init__(_Handler)
        self._script = script

    def base_url(self, maker: str) -> str:
        """The URL of Anthropic and Azure is the server's own; OpenAI's has /v1 behind it."""
        return f"{self.url}/v1" if maker == "openai" else self.url

    def step(self, request: Request) -> Step:
        number = self.keep(request)
        if callable(self._script):
            return self._script(request)
        return self._script[min(number, len(self._script) - 1)]


class _Handler(ScriptedHandler):
    server: ModelServer

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.path == "/v1/messages/count_tokens":
            self._send_json(200, {"input_tokens": INPUT_TOKENS})
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        maker = _MAKERS.get(url.path, "")
        if not maker or (maker == "azure") != ("api-version" in query):
            self._send_json(404, {"error": {"message": f"no {self.path}", "type": "not_found_error"}})
            return
        request = Request(maker, url.path, query, self.lower_headers, json.loads(content))
        self._take(self.server.step(request), request)

    def _take(self, step: Step, request: Request) -> None:
        match step:
            case Status():
                self._send_status(step, request)
            case Stalls(after_bytes):
                self._stall(_body(Says(json.dumps({"answer": "long " * 200})), request)[:after_bytes])
            case Breaks(cleanly, last_event):
                self._break(_beginning(_body(Says("half of it"), request), last_event), cleanly)
            case Overloads() if not request.streams:
                self._send_status(Status(529 if request.maker == "anthropic" else 503, "overloaded"), request)
            case _:
                kind = "text/event-stream" if request.streams else "application/json"
                self.send_whole(200, _body(step, request), {"Content-Type": kind})

    def _send_status(self, step: Status, request: Request) -> None:
        retry = {} if step.retry_after is None else {"Retry-After": str(step.retry_after)}
        error = {"type": _error_type(step.code), "message": step.message, "code": step.code_name}
        self._send_json(step.code, {"type": "error", "error": error}, retry)

    def _send_json(self, code: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        self.send_whole(code, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _stall(self, part: bytes) -> None:
        if part:
            self._begin_chunks(part)
        self.close_connection = True
        self.server.closing.wait()

    def _break(self, part: bytes, cleanly: bool) -> None:
        self.close_connection = True
        if cleanly:
            self.send_head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
            self.wfile.write(part)
        else:
            self._begin_chunks(part)

    def _begin_chunks(self, part: bytes) -> None:
        self.send_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))


def _error_type(code: int) -> str:
    names = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    return names.get(code, "overloaded_error" if code == 529 else "api_error")


def _body(step: Step, request: Request) -> bytes:
    voice = (_Anthropic if request.maker == "anthropic" else _OpenAI)(step, request)
    if not request.streams:
        return json.dumps(voice.whole).encode()
    return b"".join(_event(data) for data in voice.events())


def _beginning(body: bytes, last_event: str) -> bytes:
    if not last_event:
        return body[: len(body) // 2]
    before, event, after = body.partition(f"event: {last_event}\n".encode())
    return before + event + after.partition(b"\n\n")[0] + b"\n\n"


def _event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + 20] for at in range(0, len(text), 20))


@dataclass
class _Voice:
    step: Step
    request: Request

    @cached_property
    def text(self) -> str:
        return self.step.text if isinstance(self.step, Says | CutOff) else ""

    @property
    def input_tokens(self) -> int:
        return self.step.input_tokens if isinstance(self.step, Says) else INPUT_TOKENS

    @cached_property
    def id(self) -> str:
        """No two of a conversation may be alike."""
        return uuid.uuid4().hex


class _Anthropic(_Voice):
    @property
    def whole(self) -> dict[str, Any]:
        text = [{"type": "text", "text": self.text}] if self.text else []
        return self._message([self._call] if self._call else text, OUTPUT_TOKENS) | self._stop

    @cached_property
    def _call(self) -> dict[str, Any] | None:
        assert not isinstance(self.step, Polls), "Claude Code waits for its commands itself"
        if not isinstance(self.step, Runs):
            return None
        name = "bash" if "bash" in self.request.tools else "Bash"
        given: dict[str, Any] = {"command": self.step.command, "description": "What the script says"}
        if self.step.in_background:
            given["run_in_background"] = True
        return {"type": "tool_use", "id": f"toolu_{self.id}", "name": name, "input": given}

    def events(self) -> Iterator[dict[str, Any]]:
        block = {**self._call, "input": {}} if self._call else {"type": "text", "text": ""}
        yield {"type": "message_start", "message": self._message([], 1)}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "ping"}
        for delta in self._deltas():
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
        if isinstance(self.step, Overloads):
            yield {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            return
        yield {"type": "content_block_stop", "index": 0}
        yield {"type": "message_delta", "delta": self._stop, "usage": {"output_tokens": OUTPUT_TOKENS}}
        yield {"type": "message_stop"}

    def _deltas(self) -> Iterator[dict[str, Any]]:
        given = json.dumps(self._call["input"]) if self._call else ""
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in _pieces(given))
        yield from ({"type": "text_delta", "text": piece} for piece in _pieces(self.text))

    def _message(self, content: list[dict[str, Any]], output_tokens: int) -> dict[str, Any]:
        usage = {"input_tokens": self.input_tokens, "output_tokens": output_tokens}
        whose = {"id": f"msg_{self.id}", "type": "message", "role": "assistant", "model": self.request.model}
        return {**whose, "content": content, "stop_reason": None, "stop_sequence": None, "usage": usage}

    @property
    def _stop(self) -> dict[str, Any]:
        if isinstance(self.step, Refuses):
            details = {"type": "refusal", "category": None, "explanation": REFUSAL}
            return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
        reason = {CutOff: "max_tokens", Runs: "tool_use"}.get(type(self.step), "end_turn")
        return {"stop_reason": reason, "stop_sequence": None}


class _OpenAI(_Voice):
    @property
    def whole(self) -> dict[str, Any]:
        status = "incomplete" if isinstance(self.step, CutOff) else "completed"
        return self._response(status, [self._item(status, [self._part])])

    @cached_property
    def _call(self) -> dict[str, Any] | None:
        given: dict[str, Any]
        match self.step:
            case Runs(command) if "bash" in self.request.tools:
                name, given = "bash", {"command": command, "description": "What the script says"}
            case Runs(command, wait_ms):
                name, given = "exec_command", {"cmd": command, "yield_time_ms": wait_ms}
            case Polls(session):
                name, given = "write_stdin", {"session_id": session, "chars": "", "yield_time_ms": LONGEST_WAIT_MS}
            case _:
                return None
        arguments = json.dumps(given)
        return {
            "id": f"fc_{self.id}",
            "type": "function_call",
            "call_id": f"call_{self.id}",
            "name": name,
            "arguments": arguments,
        }

    def events(self) -> Iterator[dict[str, Any]]:
        for number, event in enumerate(self._unnumbered()):
            yield {**event, "sequence_number": number}

    def _unnumbered(self) -> Iterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self._response("in_progress", [])}
        yield {"type": "response.in_progress", "response": self._response("in_progress", [])}
        yield {"type": "response.output_item.added", "output_index": 0, "item": self._item("in_progress", [])}
        yield from self._content()
        if isinstance(self.step, Overloads):
            error = {"code": "server_error", "message": "The server is overloaded"}
            if self.request.maker == "azure":  # the services of this API use either
                yield {"type": "error", "param": None, **error}
                return
            yield {"type": "response.failed", "response": self._response("failed", []) | {"error": error}}
            return
        whole = self.whole
        yield {"type": "response.output_item.done", "output_index": 0, "item": whole["output"][0]}
        yield {"type": f"response.{whole['status']}", "response": whole}

    def _content(self) -> Iterator[dict[str, Any]]:
        if self._call:
            where, whole = {"item_id": self._call["id"], "output_index": 0}, self._call["arguments"]
            yield {"type": "response.function_call_arguments.delta", **where, "delta": whole}
            yield {"type": "response.function_call_arguments.done", **where, "arguments": whole}
            return
        where = {"item_id": self.id, "output_index": 0, "content_index": 0}
        refuses = isinstance(self.step, Refuses)
        kind, name, text = ("refusal", "refusal", REFUSAL) if refuses else ("output_text", "text", self.text)
        empty = {**self._part, name: ""}
        more: dict[str, Any] = {} if refuses else {"logprobs": []}
        yield {"type": "response.content_part.added", **where, "part": empty}
        for piece in _pieces(text):
            yield {"type": f"response.{kind}.delta", **where, **more, "delta": piece}
        if not isinstance(self.step, Overloads):
            yield {"type": f"response.{kind}.done", **where, **more, name: text}
            yield {"type": "response.content_part.done", **where, "part": self._part}

    @property
    def _part(self) -> dict[str, Any]:
        if isinstance(self.step, Refuses):
            return {"type": "refusal", "refusal": REFUSAL}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        if self._call:
            begun = {"arguments": ""} if status == "in_progress" else {}
            return {**self._call, "status": status, **begun}
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        over = status in ("completed", "incomplete")
        usage = {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + OUTPUT_TOKENS,
        }
        return {
            "id": f"resp_{self.id}",
            "object": "response",
            "created_at": 0,
            "model": self.request.model,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": None,
            "metadata": {},
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage if over else None,
        }
