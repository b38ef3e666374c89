"""scripts/fetch_kernels in a copy of the tree, with the real client against a local hub of two repositories."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import REPOSITORY
from tests.scripted_server import ScriptedHandler, ScriptedServer
from tests.waiting import LONG_S

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "89abcdef0123456789abcdef0123456789abcdef"
PINS = """\
title: tiny
hub: someone/attention main build/torch210-*/*
hub: words/tiny main merges.txt
"""
KERNEL = {"build/torch210-cxx11-cu128-x86_64-linux/__init__.py": b"fast = True\n", "build/torch29-cu126/x.py": b"\n"}


class Hub(ScriptedServer[str]):
    """Its kernel someone/attention, its model words/tiny, and the commit that main stands for."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.main = COMMIT
        self.files = {"kernels/someone/attention": dict(KERNEL), "models/words/tiny": {"merges.txt": b"a b\n"}}


class _Handler(ScriptedHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.keep(path)
        if path.startswith("/api/"):
            name, _, revision = path.removeprefix("/api/").rpartition("/")
            name, _, what = name.rpartition("/")
            self._list(name, what, {"main": self.server.main}.get(revision, revision))
        else:
            name, _, file = path.removeprefix("/").partition("/resolve/")
            revision, _, file = file.partition("/")
            self._send(name if name.startswith("kernels/") else f"models/{name}", revision, file, with_body)

    def _list(self, name: str, what: str, commit: str) -> None:
        files = self.server.files.get(name)
        if files is None or commit not in (COMMIT, LATER):
            self.send_whole(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        tree = [
            {"type": "file", "path": file, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
            for file, body in files.items()
        ]
        info = {"id": name.partition("/")[2], "sha": commit}
        answer = {"revision": info, "tree": tree}[what]
        self.send_whole(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, name: str, commit: str, file: str, with_body: bool) -> None:
        body = self.server.files[name][file]
        headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": commit}
        if with_body:
            self.send_whole(200, body, headers)
        else:
            self.send_head(200, {**headers, "Content-Length": str(len(body))})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("scripts", "containers"):
        (tmp_path / folder).mkdir()
    shutil.copy2(REPOSITORY / "scripts" / "fetch_kernels.py", tmp_path / "scripts")
    (tmp_path / "containers" / "tiny.pins").write_text(PINS)
    return tmp_path


def fetch(tree: Path, hub: Hub) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, tree / "scripts" / "fetch_kernels.py", "tiny"],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tree / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=LONG_S,
    )


def brought(tree: Path) -> dict[str, bytes]:
    folder = tree / "containers" / "tiny.hub"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_fits_comes_and_is_locked(tree: Path) -> None:
    with Hub() as hub:
        done = fetch(tree, hub)
    assert done.returncode == 0, done.stderr
    kernel = "someone/attention/build/torch210-cxx11-cu128-x86_64-linux/__init__.py"
    assert brought(tree) == {kernel: b"fast = True\n", "words/tiny/merges.txt": b"a b\n"}
    assert (tree / "containers" / "tiny.lock").read_text().splitlines() == [
        f"# someone/attention {COMMIT}",
        f"# words/tiny {COMMIT}",
        f"c238b66b2c2379b46fa50c98cd8c3b29cb1562e41085e2ec1f1193d2abcef212  {kernel}",
        "01186fcf04b4b447f393e552964c08c7b419c1ad7a25c342a0b631b1967d3a27  words/tiny/merges.txt",
    ]
    # It is a file that sha256sum reads, as scripts/build_image does.
    check = ["sha256sum", "--quiet", "--check", "--strict", "../tiny.lock"]
    assert subprocess.run(check, cwd=tree / "containers" / "tiny.hub").returncode == 0


def test_later_the_locked_commit_comes_whatever_main_is(tree: Path) -> None:
    with Hub() as hub:
        assert fetch(tree, hub).returncode == 0
        locked = (tree / "containers" / "tiny.lock").read_bytes()
        hub.main = LATER
        assert fetch(tree, hub).returncode == 0
    assert not [path for path in hub.requests if LATER in path]
    assert (tree / "containers" / "tiny.lock").read_bytes() == locked


def test_other_bytes_than_the_locked_ones_are_refused(tree: Path) -> None:
    (tree / "containers" / "tiny.lock").write_text(f"{'0' * 64}  words/tiny/merges.txt\n")
    with Hub() as hub:
        done = fetch(tree, hub)
    assert done.returncode == 1
    assert "fetch_kernels: words/tiny/merges.txt is missing or not what the lock says" in done.stderr
    assert not (tree / "containers" / "tiny.hub").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hub: words/tiny main vocab.json", f"words/tiny at {COMMIT} has no file vocab.json"),
        ("hub: words/none main x", "has no words/none with a revision main"),
        ("hub: words/tiny v7 merges.txt", "has no words/tiny with a revision v7"),
    ],
)
def test_what_the_hub_does_not_have(tree: Path, line: str, said: str) -> None:
    (tree / "containers" / "tiny.pins").write_text(f"{line}\n")
    with Hub() as hub:
        done = fetch(tree, hub)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
