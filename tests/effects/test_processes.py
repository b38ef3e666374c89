import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import processes
from slurm_bench.effects.processes import TimedOut
from tests.waiting import LONG_S, until

SHELL = {"PATH": os.environ["PATH"]}


def test_bytes_are_captured_as_they_are() -> None:
    done = processes.capture(
        ["sh", "-c", r"printf '\377\r\n'; printf ' odd \n' >&2; exit 3"], timeout_s=LONG_S, env=SHELL
    )
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"\xff\r\n", "odd")


def test_a_captured_command_sees_only_its_environment_and_no_terminal() -> None:
    asks = "cat; echo $HOME; echo $MINE; ( : </dev/tty ) 2>/dev/null || echo no terminal"
    done = processes.capture(["sh", "-c", asks], timeout_s=LONG_S, env={**SHELL, "MINE": "1"})
    assert done.stdout == b"\n1\nno terminal\n"


def test_a_captured_command_reads_the_bytes_that_it_is_given() -> None:
    done = processes.capture(["cat"], timeout_s=LONG_S, env=SHELL, bytes_in=b"\xff\r\n" * 100_000)
    assert done.stdout == b"\xff\r\n" * 100_000
    early = processes.capture(["true"], timeout_s=LONG_S, env=SHELL, bytes_in=b"unread" * 100_000)
    assert early.exit_code == 0


def test_what_outlives_its_limit_is_ended_with_its_children(tmp_path: Path) -> None:
    """Also a child that keeps the pipes open, for longer than a test may take."""
    pid = tmp_path / "pid"
    pid.touch()  # on a busy machine the child may never begin
    with pytest.raises(TimedOut, match="sh gave no answer in 1 s"):
        processes.capture(["sh", "-c", f"sleep 3600 & echo $! >{pid}; wait"], timeout_s=1, env=SHELL)
    until(lambda: not (pid.read_text() and _runs(int(pid.read_text()))))


def test_only_the_process_itself_is_asked_to_end_and_none_that_has_its_number(tmp_path: Path) -> None:
    process = processes.start(["sleep", "3600"], output=tmp_path / "out")
    identity = processes.identify(process.pid)
    processes.terminate(identity.model_copy(update={"created": identity.created - 100}))
    processes.terminate(identity.model_copy(update={"host": "elsewhere"}))
    time.sleep(0.2)
    assert process.poll() is None
    processes.terminate(identity)
    assert process.wait(LONG_S) == -signal.SIGTERM


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("before", ["", "from an earlier start\n"])
def test_output_is_capped_by_its_bytes_and_not_by_how_often_it_is_written(tmp_path: Path, before: str) -> None:
    output = tmp_path / "output"
    output.write_text(before)
    lines = "import time\nfor n in range(3000): print(n, flush=True); time.sleep(0.0001)"
    assert processes.run_logged(["python3", "-c", lines], timeout_s=LONG_S, output=output, most_output=20_000) == 0
    until(lambda: output.read_text().endswith("\n2999\n"))
    process = processes.start(["yes"], output=output, most_output=1000)
    assert process.wait(LONG_S) != 0
    until(lambda: output.stat().st_size == len(before) + 13_890 + 1000)
    assert not list(tmp_path.glob("core*"))


def test_an_end_is_seen_at_once(tmp_path: Path) -> None:
    """Python's wait with a limit looks every 50 ms, so that runs of 70 and of 110 ms would take equally long."""
    took = []
    for _ in range(20):
        began = time.monotonic()
        processes.run_logged(["sleep", "0.07"], timeout_s=60, output=tmp_path / "output")
        took.append(time.monotonic() - began)
    assert min(took) < 0.1


def test_a_process_of_another_boot_is_gone_whatever_has_its_number_now() -> None:
    ours = processes.identify(os.getpid())
    assert processes.is_alive(ours) and ours.boot
    assert not processes.is_alive(ours.model_copy(update={"boot": "7e3b1f52-5c0f-4d6c-9f5e-0b1c2d3e4f50"}))
    assert processes.is_alive(ours.model_copy(update={"boot": ""})), "older records do not say"
