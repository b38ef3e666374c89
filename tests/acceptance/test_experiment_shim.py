"""The programs that ask for a job on GPUs, as an agent runs them: a test plays the desk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.waiting import LONG_S, until

BIN = REPOSITORY / "containers/bin"
ANSWER: dict[str, object] = {
    "version": 1,
    "number": "0003",
    "path": "/workspace/x",
    "gpus": 8,
    "minutes": 15.0,
    "state": "waiting",
    "note": "",
    "starts": None,
    "exit_code": None,
    "h100_hours": None,
    "left_h100_hours": None,
}
OVER: dict[str, object] = {"state": "over", "exit_code": 0, "h100_hours": 0.5, "left_h100_hours": 511.5}


class Desk:
    """What the desk does with the files between it and an agent, and the agent's end of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests = root / "requests"
        self.answers = root / "inbox" / "experiments"
        self.job = self.answers / "0003"
        self.requests.mkdir()
        self.job.mkdir(parents=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "BENCHMARK_EXPERIMENTS": str(self.requests),
            "BENCHMARK_INBOX": str(self.answers.parent),
        }

    def start(self, program: str, *arguments: str, stderr: int = subprocess.PIPE) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-I", str(BIN / program), *arguments],
            env=self.environment,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,  # what a test has not read is left to communicate()
        )

    def end(self, process: "subprocess.Popen[bytes]") -> tuple[int, bytes, str]:
        out, err = process.communicate(timeout=LONG_S)
        assert b"Traceback" not in err and b"Exception" not in err
        return process.returncode, out, err.decode()

    def ask(self, program: str, *arguments: str) -> tuple[int, bytes, str]:
        return self.end(self.start(program, *arguments))

    def request(self) -> dict[str, object]:
        until(lambda: list(self.requests.glob("[!.]*.json")))
        [path] = self.requests.glob("[!.]*.json")
        request: dict[str, object] = json.loads(path.read_text())
        assert path.name == f"{request['id']}.json"
        return request

    def take_away(self, request: dict[str, object]) -> None:
        (self.requests / f"{request['id']}.json").unlink()

    def answer(self, request: dict[str, object], *more: dict[str, object]) -> None:
        said = {**ANSWER, "request": request["id"]}
        for each in more:
            said |= each
        beside = self.answers / ".beside"
        beside.write_text(json.dumps(said))
        beside.rename(self.answers / f"{request['id']}.json")

    def prints(self, output: bytes) -> None:
        with (self.job / "output").open("ab") as file:
            file.write(output)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def printed(process: "subprocess.Popen[bytes]", size: int) -> bytes:
    assert process.stdout is not None
    return process.stdout.read(size)


def error_line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stderr is not None
    return process.stderr.readline().decode()


@pytest.mark.parametrize("code", [0, 1, 2, 137])
def test_it_prints_what_the_job_prints_and_ends_as_it_does(desk: Desk, code: int) -> None:
    process = desk.start("experiment", "--gpus", "8", "--minutes", "15", "experiments/it's x")
    request = desk.request()
    assert request == {
        "version": 1,
        "id": request["id"],
        "path": f"{desk.root}/experiments/it's x",
        "gpus": 8,
        "minutes": 15.0,
    }
    desk.answer(request)
    desk.take_away(request)
    queued = "experiment: queued as 0003 on 8 GPUs for at most 15 minutes"
    assert error_line(process) == f"{queued}, prints to {desk.job}/output\n"
    for starts in ("2026-12-01T10:00:00+00:00", "2026-12-01T11:00:00+00:00"):
        desk.answer(request, {"starts": starts})
        assert error_line(process) == f"experiment: the scheduler expects it at {starts}\n"
    desk.answer(request, {"state": "running"})
    assert error_line(process) == "experiment: runs\n"
    for part in (b"step 1\r", b"\xff\x00 no text\n", b"step 2\n"):
        desk.prints(part)
        assert printed(process, len(part)) == part
    rest = b"x" * 3_000_000
    desk.prints(rest)
    (desk.job / "left").mkdir()
    desk.answer(request, OVER, {"exit_code": code, "note": "as it ended"})
    assert desk.end(process) == (
        code,
        rest,
        f"experiment: over with exit code {code}: as it ended\n"
        "experiment: it cost 0.5000 H100-hours, and 511.5000 are left\n"
        f"experiment: what it wrote is in {desk.job}/left\n",
    )


def test_without_options_the_desk_chooses(desk: Desk) -> None:
    process = desk.start("experiment", ".")
    request = desk.request()
    assert (request["path"], request["gpus"], request["minutes"]) == (str(desk.root), None, None)
    desk.answer(request, OVER, {"gpus": 1})
    code, out, err = desk.end(process)
    assert (code, out) == (0, b"")
    assert "on 1 GPU for" in err and "what it wrote" not in err


def test_output_that_appears_late(desk: Desk) -> None:
    process = desk.start("experiment", "x")
    request = desk.request()
    desk.answer(request, {"state": "running"})
    error_line(process)
    assert error_line(process) == "experiment: runs\n"
    desk.prints(b"late\n")
    assert printed(process, 5) == b"late\n"
    desk.answer(request, OVER)
    assert desk.end(process)[:2] == (0, b"")


def test_a_job_that_was_over_before_anyone_looked(desk: Desk) -> None:
    process = desk.start("experiment", "x")
    desk.prints(b"all of it")
    desk.answer(desk.request(), OVER)
    assert desk.end(process)[:2] == (0, b"all of it")


def test_over_without_an_exit_code(desk: Desk) -> None:
    process = desk.start("experiment", "x")
    desk.answer(desk.request(), OVER, {"exit_code": None, "note": "cancelled"})
    code, _, err = desk.end(process)
    assert code == 3
    assert "experiment: over without an exit code: cancelled\n" in err


@pytest.mark.parametrize("detach", [[], ["--detach"]])
@pytest.mark.parametrize(("code", "note"), [(2, "no such folder"), (4, "it does not fit the budget")])
def test_a_refusal(desk: Desk, code: int, note: str, detach: list[str]) -> None:
    process = desk.start("experiment", *detach, "x")
    refused: dict[str, object] = {"number": "", "gpus": None, "minutes": None, "state": "over"}
    desk.answer(desk.request(), refused, {"exit_code": code, "note": note})
    assert desk.end(process) == (code, b"", f"experiment: the desk refused the request: {note}\n")


def test_a_dropped_request(desk: Desk) -> None:
    process = desk.start("experiment", "x")
    desk.take_away(desk.request())
    code, out, err = desk.end(process)
    assert (code, out) == (2, b"")
    assert err == "experiment: the desk refused the request: too many wait, or it is none\n"


def test_detached_it_prints_the_number_alone(desk: Desk) -> None:
    process = desk.start("experiment", "--detach", "x")
    desk.answer(desk.request())
    code, out, err = desk.end(process)
    assert (code, out) == (0, b"0003\n")
    assert err.startswith("experiment: queued as 0003")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_the_job_alone(desk: Desk, number: int) -> None:
    process = desk.start("experiment", "x")
    request = desk.request()
    desk.answer(request)
    error_line(process)
    process.send_signal(number)
    code, _, err = desk.end(process)
    assert code == 130
    assert "a job that is not over goes on: `experiments` lists it, and `experiments cancel N` ends it" in err
    assert desk.request() == request


@pytest.mark.parametrize("stderr", [subprocess.PIPE, subprocess.STDOUT])
@pytest.mark.parametrize("size", [1, 1_000_000])  # what Python keeps in its buffer, and what it does not
def test_a_reader_that_has_enough(desk: Desk, stderr: int, size: int) -> None:
    process = desk.start("experiment", "x", stderr=stderr)
    assert process.stdout is not None
    request = desk.request()
    process.stdout.close()
    desk.prints(b"x" * size)
    desk.answer(request, {"state": "running"})
    assert process.wait(LONG_S) == 141
    if process.stderr is not None:
        err = process.stderr.read()
        process.stderr.close()
        assert b"goes on" in err and len(err.splitlines()) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x", "y"],
        ["--gpus", "0", "x"],
        ["--gpus", "-1", "x"],
        ["--gpus", "two", "x"],
        ["--minutes", "nan", "x"],
        ["--minutes", "inf", "x"],
        ["--min", "5", "x"],
        ["two\nlines"],
        ["\udcff"],
        ["x" * 2000],
        ["\x1b[31m"],
    ],
)
def test_arguments_that_are_none(desk: Desk, arguments: list[str]) -> None:
    code, out, err = desk.ask("experiment", *arguments)
    assert (code, out) == (2, b"")
    assert err.startswith("experiment: ") and len(err.splitlines()) == 1
    assert not list(desk.requests.iterdir())


@pytest.mark.parametrize(("program", "arguments"), [("experiment", ["x"]), ("experiments", [])])
@pytest.mark.parametrize(
    ("unset", "words"),
    [("BENCHMARK_EXPERIMENTS", "this session has its GPUs here"), ("BENCHMARK_INBOX", "inside an agent's session")],
)
def test_where_there_is_nobody_to_ask(desk: Desk, program: str, arguments: list[str], unset: str, words: str) -> None:
    del desk.environment[unset]
    code, out, err = desk.ask(program, *arguments)
    assert (code, out) == (2, b"")
    assert words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("program", ["experiment", "experiments"])
def test_help(desk: Desk, program: str) -> None:
    code, out, err = desk.ask(program, "--help")
    assert (code, err) == (0, "")
    assert out.decode().startswith(program)


def test_a_folder_for_requests_that_is_gone(desk: Desk) -> None:
    desk.requests.rmdir()
    code, out, err = desk.ask("experiment", "x")
    assert (code, out) == (3, b"")
    assert err.startswith("experiment: no message could be passed")


def test_a_list_of_them_all(desk: Desk) -> None:
    desk.answer({"id": "a"}, {"number": "0002", "state": "running", "minutes": 7.5, "path": "/workspace/b"})
    desk.answer({"id": "b"}, {"starts": "2026-12-01T10:00:00+00:00"})
    desk.answer({"id": "c"}, OVER, {"number": "0001", "gpus": 16, "exit_code": 1, "note": "out of time"})
    refused: dict[str, object] = {"number": "", "gpus": None, "minutes": None, "note": "no folder", "exit_code": 2}
    desk.answer({"id": "d"}, {"state": "over"}, refused)
    code, out, err = desk.ask("experiments")
    assert (code, err) == (0, "")
    assert out.decode().splitlines() == [
        "number  state    GPUs  minutes  exit or start              H100-hours  path",
        "-       refused  -     -        2                          -           /workspace/x (no folder)",
        "0001    over     16    15       1                          0.5000      /workspace/x (out of time)",
        "0002    running  8     7.5      -                          -           /workspace/b",
        "0003    waiting  8     15       2026-12-01T10:00:00+00:00  -           /workspace/x",
    ]


def test_a_list_of_none(desk: Desk) -> None:
    desk.job.rmdir()
    desk.answers.rmdir()
    assert desk.ask("experiments") == (0, b"", "experiments: there is none yet\n")


@pytest.mark.parametrize("number", ["3", "0003"])
def test_cancelling_one(desk: Desk, number: str) -> None:
    desk.answer({"id": "a"})
    process = desk.start("experiments", "cancel", number)
    request = desk.request()
    assert request == {"version": 1, "id": request["id"], "cancels": "0003"}
    assert process.poll() is None
    desk.take_away(request)
    assert desk.end(process) == (0, b"", "experiments: the desk ends 0003\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cancel", "4"], 2, "there is no 0004"),
        (["cancel", "3"], 0, "0003 is over already"),
        (["cancel"], 2, "only `experiments` and"),
        (["cancel", "three"], 2, "only `experiments` and"),
        (["list"], 2, "only `experiments` and"),
    ],
)
def test_nothing_to_cancel(desk: Desk, arguments: list[str], code: int, words: str) -> None:
    desk.answer({"id": "a"}, OVER)
    assert desk.ask("experiments", *arguments)[0] == code
    assert words in desk.ask("experiments", *arguments)[2]
    assert not list(desk.requests.iterdir())
