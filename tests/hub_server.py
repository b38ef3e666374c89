"""A local server that speaks as much of the hub's protocol as getting a data set takes, and fails by a script."""

import gzip
import hashlib
import json
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from tests.scripted_server import ScriptedHandler, ScriptedServer

REPO = "someone/tiny-fineweb"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKENS = 60_000
CHUNK = 10 * 2**20
"""Bytes that huggingface_hub gathers before it writes them: what is less is lost when a download breaks off."""
LARGE_TOKENS = 6_000_000
"""Of shards that are larger than that."""
HTML = b"<!DOCTYPE html><html><head><title>Please log in</title></head><body>to use this network</body></html>"


def shard(seed: int, tokens: int = TOKENS, first: int = 50256) -> bytes:
    """A small shard: words, with documents that start now and then."""
    text = np.random.default_rng(seed).integers(0, 50256, tokens).astype("<u2")
    text[::1000] = 50256
    text[0] = first
    return struct.pack("<3i", 20240520, 1, tokens).ljust(1024, b"\0") + text.tobytes()


def shards(training: int = 2, tokens: int = TOKENS) -> dict[str, bytes]:
    """Training shards begin in the middle of a document, as FineWeb's do."""
    found = {f"fineweb_train_{number:06d}.bin": shard(number, tokens, 17) for number in range(1, training + 1)}
    return {**found, "fineweb_val_000000.bin": shard(0, tokens)}


@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Breaks:
    """The connection ends after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Stalls:
    """So many bytes of the body, then silence until the server closes."""

    after: int


@dataclass(frozen=True)
class Page:
    """A web page, as networks with a login give one."""


@dataclass(frozen=True)
class Endless:
    """The file and then zeros, of no stated length, until the client has enough or so many bytes were sent."""

    most: int


@dataclass(frozen=True)
class Compressed:
    """The file and so many zeros, in a gzip that nobody asked for."""

    zeros: int


@dataclass(frozen=True)
class Sends:
    """Other bytes than those that are listed."""

    body: bytes


Step = Status | Breaks | Stalls | Page | Endless | Compressed | Sends | None
"""None is the file, as asked for."""


@dataclass(frozen=True)
class Get:
    name: str
    """Of the file; of the listing ''."""
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""

    @property
    def starts_at(self) -> int:
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


class HubServer(ScriptedServer[Get]):
    """
    Args:
        files: of the data set REPO at COMMIT.
        script: by file (the listing is ''), what happens to its first requests, one after the other.
    """

    def __init__(self, files: Mapping[str, bytes], script: Mapping[str, Sequence[Step]] | None = None) -> None:
        super().__init__(_Handler)
        self.files = dict(files)
        self.unexpected: list[str] = []
        """Paths that getting a data set does not take."""
        self.lists_sizes: dict[str, int] = {}
        """Sizes that the listing states instead of true ones."""
        self.commit = COMMIT
        self.ignores_ranges = False
        self.stalled = threading.Event()
        self._script = {name: iter(steps) for name, steps in (script or {}).items()}

    def of(self, name: str) -> list[Get]:
        return [each for each in self.requests if each.name == name]

    def step(self, request: Get) -> Step:
        self.keep(request)
        return next(self._script.get(request.name, iter(())), None)

    def listing(self) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": name,
                "size": self.lists_sizes.get(name, len(body)),
                "blobId": "0" * 40,
                "lfs": {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134},
            }
            for name, body in self.files.items()
        ]
        return {"id": REPO, "sha": self.commit, "siblings": siblings}


class _Handler(ScriptedHandler):
    server: HubServer

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        listing, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/{hub.commit}/"
        if path in (listing, *(f"{listing}/revision/{name}" for name in ("main", hub.commit))):
            body = json.dumps(hub.listing()).encode()
            self._take(hub.step(Get("", self.path, self.lower_headers)), body, 0)
        elif path.startswith(listing):
            self._refuse(Status(404, {"X-Error-Code": "RevisionNotFound"}))
        elif path.startswith(files) and (name := path.removeprefix(files)) in hub.files:
            request = Get(name, self.path, self.lower_headers)
            start = 0 if hub.ignores_ranges else request.starts_at
            self._take(hub.step(request), hub.files[name], start)
        else:
            hub.unexpected.append(self.path)
            self._refuse(Status(404, {"X-Error-Code": "RepoNotFound"}))

    def _take(self, step: Step, body: bytes, start: int) -> None:
        match step:
            case Status():
                self._refuse(step)
            case Page():
                self.send_whole(200, HTML, {"Content-Type": "text/html"})
            case Endless(most):
                self._send_on(body, most)
            case Compressed(zeros):
                self.send_whole(200, gzip.compress(body + bytes(zeros)), {"Content-Encoding": "gzip"})
            case Sends(other):
                self._send_from(other, start)
            case Breaks(after):
                self._begin(body, start, after)
            case Stalls(after):
                self._begin(body, start, after)
                self.server.stalled.set()
                self.server.closing.wait()
            case None:
                self._send_from(body, start)

    def _refuse(self, step: Status) -> None:
        self.send_whole(step.code, b"{}", step.headers)

    def _send_from(self, body: bytes, start: int) -> None:
        if start >= len(body):
            self.send_whole(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        else:
            self.send_whole(206 if start else 200, body[start:], _range(body, start))

    def _send_on(self, body: bytes, most: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        self.wfile.write(body)
        for _ in range(0, most, len(body)):
            self.wfile.write(bytes(len(body)))

    def _begin(self, body: bytes, start: int, after: int) -> None:
        length = {"Content-Length": str(len(body) - start)}
        self.send_head(206 if start else 200, length | _range(body, start))
        self.wfile.write(body[start : start + after])
        self.wfile.flush()
        self.close_connection = True


def _range(body: bytes, start: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
