import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import processes
from slurm_bench.effects.processes import TimedOut

SHELL = {"PATH": os.environ["PATH"]}


def test_bytes_are_captured_as_they_are() -> None:
    done = processes.capture(["sh", "-c", r"printf '\377\r\n'; printf ' odd \n' >&2; exit 3"], timeout_s=10, env=SHELL)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"\xff\r\n", "odd")


def test_a_captured_command_sees_only_its_environment_and_no_terminal() -> None:
    asks = "cat; echo $HOME; echo $MINE; ( : </dev/tty ) 2>/dev/null || echo no terminal"
    done = processes.capture(["sh", "-c", asks], timeout_s=10, env={**SHELL, "MINE": "1"})
    assert done.stdout == b"\n1\nno terminal\n"


def test_what_outlives_its_limit_is_ended_with_its_children(tmp_path: Path) -> None:
    """Also a child that keeps the pipes open."""
    began = time.monotonic()
    with pytest.raises(TimedOut, match="sh gave no answer in 1 s"):
        processes.capture(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; wait"], timeout_s=1, env=SHELL)
    assert time.monotonic() - began < 30
    deadline = time.monotonic() + 10
    while _runs(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_the_process_itself_is_asked_to_end_and_none_that_has_its_number(tmp_path: Path) -> None:
    process = processes.start(["sleep", "60"], output=tmp_path / "out")
    identity = processes.identify(process.pid)
    processes.terminate(identity.model_copy(update={"created": identity.created - 100}))
    processes.terminate(identity.model_copy(update={"host": "elsewhere"}))
    time.sleep(0.2)
    assert process.poll() is None
    processes.terminate(identity)
    assert process.wait(timeout=10) == -signal.SIGTERM


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
