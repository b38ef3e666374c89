"""What local servers have in common that speak a protocol and fail in it by a script: HTTP, in a thread."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Generic, Self, TypeVar

R = TypeVar("R")


class ScriptedServer(ThreadingHTTPServer, Generic[R]):
    """
    Args:
        handler: speaks the protocol; it keeps its requests here.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.requests: list[R] = []
        self.closing = threading.Event()
        self._keeping = threading.Lock()
        self._serving = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._serving.join()

    def keep(self, request: R) -> int:
        """Remember a request, and return its number from 0."""
        with self._keeping:
            self.requests.append(request)
            return len(self.requests) - 1


class ScriptedHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client may leave, or be killed
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    @property
    def lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def send_head(self, code: int, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_whole(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send an answer that states its length."""
        self.send_head(code, {"Content-Length": str(len(body)), **headers})
        self.wfile.write(body)
