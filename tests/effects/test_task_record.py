"""What stands around a task's command where nobody else accounts for it."""

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_bench.effects import store, task_record
from slurm_bench.words.accounting import Attempt, JobState, OwnJob, Sighting
from tests.waiting import LONG_S

WAITS = """
import select, signal, sys, time
came = []
signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
print("ready", flush=True)
while not came and not select.select([sys.stdin], [], [], 0.02)[0]:
    pass
time.sleep(0.2)
print(len(came), flush=True)
"""
"""Until a signal comes, or its input ends."""


def start(folder: Path, *command: str, limit_s: int = 3600, restarts: str = "") -> "subprocess.Popen[str]":
    """A task without a scheduler that would answer it."""
    job = OwnJob(name="run", gpus=2, limit_s=limit_s, overrun_s=60, queued_at=datetime.now(UTC))
    store.write(task_record.job_record(folder), job)
    task = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2", "PATH": "/nonexistent"}
    return subprocess.Popen(
        [sys.executable, "-I", "-m", task_record.__name__, str(folder), "--", *command],
        env={**task, "CANARY": "sings", **({"SLURM_RESTART_COUNT": restarts} if restarts else {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def recorded(folder: Path) -> Attempt:
    (record,) = task_record.task_records(folder)
    return store.read(record, Sighting).attempt


def ready(folder: Path, limit_s: int = 3600) -> "subprocess.Popen[str]":
    process = start(folder, sys.executable, "-c", WAITS, limit_s=limit_s)
    assert process.stdout and process.stdout.readline() == "ready\n"
    assert recorded(folder).is_live
    return process


def test_the_command_has_our_streams_and_environment_and_we_its_exit_code(tmp_path: Path) -> None:
    process = start(tmp_path, "/bin/sh", "-c", "read line; echo $line $CANARY; echo err >&2; exit 3")
    out, err = process.communicate("in\n", timeout=LONG_S)
    assert (process.returncode, out) == (3, "in sings\n")
    assert err.splitlines()[-1] == "err" and "this task's start is by its own clock" in err.splitlines()[0]
    attempt = recorded(tmp_path)
    assert (attempt.raw_id, attempt.job_id, attempt.task, attempt.gpus) == ("7", "5", 2, 2)
    assert (attempt.state, attempt.exit_code) == (JobState.FAILED, 3)
    assert attempt.started and attempt.ended and attempt.started <= attempt.ended


@pytest.mark.parametrize(("limit_s", "state"), [(3600, JobState.CANCELLED), (0, JobState.TIMEOUT)])
def test_the_schedulers_own_signal_reaches_the_command_only_once(tmp_path: Path, limit_s: int, state: JobState) -> None:
    """Slurm signals every process of a job, as the parent of its first."""
    process = ready(tmp_path, limit_s)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=LONG_S)
    assert (process.returncode, out) == (0, "0\n")
    assert recorded(tmp_path).state is state


def test_anybody_elses_signal_is_passed_on(tmp_path: Path) -> None:
    process = ready(tmp_path)
    subprocess.run(["sh", "-c", f"kill -TERM {process.pid}; true"], check=True)
    assert process.stdout and process.stdout.read() == "1\n"
    assert process.wait(LONG_S) == 0
    assert recorded(tmp_path).state is JobState.COMPLETED


def test_a_killed_task_leaves_its_beginning(tmp_path: Path) -> None:
    process = ready(tmp_path)
    process.kill()
    process.communicate(timeout=LONG_S)
    assert recorded(tmp_path).is_live


def test_a_command_that_a_signal_ends_failed_by_it(tmp_path: Path) -> None:
    process = start(tmp_path, "/bin/sh", "-c", "kill -KILL $$")
    process.communicate(timeout=LONG_S)
    assert (process.returncode, recorded(tmp_path).exit_code) == (137, 137)


def test_a_restart_has_a_record_of_its_own(tmp_path: Path) -> None:
    for restarts in ("", "1"):
        start(tmp_path, "/bin/true", restarts=restarts).communicate(timeout=LONG_S)
    counts = [store.read(record, Sighting).restarts for record in task_record.task_records(tmp_path)]
    assert counts == [0, 1]


def test_what_cannot_be_written_down_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "task-7-0.json").mkdir()
    process = start(tmp_path, "/bin/touch", str(tmp_path / "began"))
    process.communicate(timeout=LONG_S)
    assert process.returncode != 0 and not (tmp_path / "began").exists()
