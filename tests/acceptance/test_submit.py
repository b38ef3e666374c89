"""The shim as an agent runs it: only messages pass through it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.waiting import LONG_S

SUBMIT = REPOSITORY / "containers/bin/submit"


def start(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    (tmp_path / "outbox").mkdir(exist_ok=True)
    (tmp_path / "inbox").mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "BENCHMARK_OUTBOX": str(tmp_path / "outbox"),
        "BENCHMARK_INBOX": str(tmp_path / "inbox"),
    }
    return subprocess.Popen(
        [sys.executable, "-I", str(SUBMIT), *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_request(tmp_path: Path, process: "subprocess.Popen[str]") -> dict[str, object]:
    while process.poll() is None:
        for path in (tmp_path / "outbox").glob("[!.]*.json"):
            request: dict[str, object] = json.loads(path.read_text())
            return request
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4])
def test_it_carries_a_path_out_and_a_verdict_back(tmp_path: Path, code: int) -> None:
    process = start(tmp_path, "submissions/it's x")
    request = wait_for_request(tmp_path, process)
    assert request["path"] == f"{tmp_path}/submissions/it's x"
    verdict = {"outcome": "whatever", "reason": "because", "exit_code": code}
    beside = tmp_path / "beside"
    beside.write_text(json.dumps(verdict))
    beside.rename(tmp_path / "inbox" / f"{request['id']}.json")
    out, err = process.communicate(timeout=LONG_S)
    assert process.returncode == code
    assert json.loads(out) == verdict
    assert err == "submit: whatever: because\n"


def test_without_a_session_it_says_so() -> None:
    done = subprocess.run([sys.executable, "-I", str(SUBMIT), "x"], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "inside an agent's session" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", ["two\nlines", "\udcff", "x" * 2000, "\x1b[31m"])
def test_a_path_that_no_message_can_carry(tmp_path: Path, path: str) -> None:
    process = start(tmp_path, path)
    out, err = process.communicate(timeout=LONG_S)
    assert (process.returncode, out) == (2, "")
    assert "no path of plain characters" in err and len(err.splitlines()) == 1
    assert not list((tmp_path / "outbox").iterdir())


def test_an_outbox_that_is_gone_is_not_a_rejection(tmp_path: Path) -> None:
    environment = {"BENCHMARK_OUTBOX": str(tmp_path / "gone"), "BENCHMARK_INBOX": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", str(SUBMIT), "x"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_the_wrong_number_of_arguments_is_exit_2(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.wait(timeout=LONG_S) == 2
