"""An agent's processes, stopped and let go on, with real ones that do not want to be."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import processes, standstill, store
from slurm_bench.words.errors import InfrastructureError
from tests.waiting import LONG_S, until

HEADLESS = """
import ctypes, pathlib, threading, time
def work():
    while True:
        (pathlib.Path(MARKS) / str(time.monotonic_ns())).touch()
        time.sleep(0.001)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""
"""Its first thread has ended, so that it looks like a zombie."""
FAMILY = """
import os, pathlib, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork() == 0:
                (pathlib.Path(MARKS) / str(time.monotonic_ns())).touch()
                os._exit(0)
            os.wait()
time.sleep(600)
"""
"""It forks all the time, in sessions of their own."""


class Agent:
    def __init__(self, folder: Path, script: str) -> None:
        self.record, self.marks = folder / "head.json", folder / "marks"
        self.marks.mkdir()
        argv = [sys.executable, "-c", f"import os\nMARKS = {str(self.marks)!r}\nHEAD = os.getpid()\n{script}"]
        self.process = processes.start([*standstill.recorded(self.record), *argv], output=folder / "output")

    def works(self) -> bool:
        """Whether it leaves new marks."""
        before = len(list(self.marks.iterdir()))
        time.sleep(0.3)
        return len(list(self.marks.iterdir())) > before

    def end(self) -> None:
        processes.end_tree(self.process.pid)
        self.process.wait()


@pytest.fixture(params=[HEADLESS, FAMILY], ids=["headless", "family"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path, request.param)
    yield made
    made.end()


@pytest.mark.parametrize("agent", [FAMILY], indirect=True)
def test_what_its_descendants_use_is_known(agent: Agent) -> None:
    """Of those that have ended too: none of them lives for long."""
    until(agent.works)
    used_s = standstill.used_s(agent.record)
    until(lambda: standstill.used_s(agent.record) > used_s + 0.1)
    agent.end()
    assert standstill.used_s(agent.record) == 0


def test_it_stands_still_and_goes_on(agent: Agent) -> None:
    until(agent.works)
    with standstill.of(agent.record):
        assert not agent.works()
    until(agent.works)


@pytest.mark.parametrize("agent", [FAMILY], indirect=True)
def test_what_it_had_stopped_itself_stays_so(agent: Agent) -> None:
    until(agent.works)
    first = psutil.Process(agent.process.pid).children()[0]
    first.send_signal(signal.SIGSTOP)
    until(lambda: first.status() == psutil.STATUS_STOPPED)
    with standstill.of(agent.record):
        pass
    assert first.status() == psutil.STATUS_STOPPED
    until(agent.works)


def test_one_that_works_is_asked_to_end(tmp_path: Path) -> None:
    asked = "import pathlib, signal, sys, time\n"
    asked += "signal.signal(signal.SIGTERM, lambda *_: sys.exit((pathlib.Path(MARKS) / 'asked').touch()))\n"
    asked += "(pathlib.Path(MARKS) / 'ready').touch()\ntime.sleep(600)"
    agent = Agent(tmp_path, asked)
    wait_for_marks(agent)
    standstill.end(agent.record, grace_s=LONG_S)
    assert (agent.marks / "asked").exists()


def wait_for_marks(agent: Agent) -> None:
    until(lambda: list(agent.marks.iterdir()))


def test_one_that_stands_still_is_ended_without_being_asked(agent: Agent) -> None:
    until(agent.works)
    with standstill.of(agent.record):
        standstill.end(agent.record, grace_s=LONG_S)
        assert agent.process.wait(LONG_S) == -signal.SIGKILL
        assert not agent.works()


def test_one_that_wakes_itself_up_is_noticed(tmp_path: Path) -> None:
    """Attack: go on beside a trial, by a signal that somebody outside sends. Defence: what it used is looked at."""
    agent = Agent(tmp_path, "while True: (lambda: (__import__('pathlib').Path(MARKS) / 'x').touch())()")
    wait_for_marks(agent)
    noticed = pytest.raises(InfrastructureError, match="used the processor while it had to stand still")
    busy = psutil.Process(agent.process.pid)
    with noticed, standstill.of(agent.record):
        before_s = sum(busy.cpu_times()[:2])
        agent.process.send_signal(signal.SIGCONT)
        until(lambda: sum(busy.cpu_times()[:2]) > before_s + 1)
    agent.end()


def test_an_agent_that_is_gone_needs_no_stop(tmp_path: Path) -> None:
    """Nobody is waited for: that would take longer than a test may."""
    agent = Agent(tmp_path, "")
    agent.process.wait(LONG_S)
    with standstill.of(agent.record):
        pass
    standstill.end(tmp_path / "no-such-record", grace_s=3600)


def test_one_that_does_not_begin_is_the_sites_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier one's record does not stand for it."""
    record = tmp_path / "head.json"
    store.write(record, processes.identify(os.getpid()))
    standstill.recorded(record)
    monkeypatch.setattr(standstill, "_BEGIN_S", 0.3)
    with pytest.raises(InfrastructureError, match=r"did not begin within 0\.3 s"), standstill.of(record):
        pass


def test_a_process_of_another_host_is_a_stranger() -> None:
    ours = processes.identify(os.getpid())
    assert processes.is_alive(ours)
    assert not processes.is_alive(ours.model_copy(update={"host": "elsewhere"}))
