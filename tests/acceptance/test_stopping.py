"""`command=stop` in the middle of a retiming, and `command=status` beside it: on this machine and on a real Slurm."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm_bench.effects import lane, processes, store
from slurm_bench.effects.campaigns import members
from slurm_bench.effects.processes import ProcessIdentity
from slurm_bench.steps.stop import BY_HAND
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Outcome, Verdict
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.rehearsals import OUTCOMES, QUICK, SLOWER, Brake, answers, slurm_bench, start, trials, wait_beside
from tests.conftest import REPOSITORY

ROWS, COLUMNS = 40, 110
ALL_OF_IT = "retime.stop_below=0"
"""No look ends an array before we do."""
RETIME = (*QUICK, *SLOWER, "command=retime", "retime.design=classic")


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    (tmp_path / "scratch").mkdir()
    return SessionPaths(tmp_path / "runs/rehearsal/one")


def scratch(paths: SessionPaths) -> str:
    """Where no other test clears away what it takes for leavings."""
    return f"cluster.scratch={paths.root.parents[2] / 'scratch'}"


def entries(paths: SessionPaths) -> list[LedgerEntry]:
    return store.read_all(paths.ledger, LedgerEntry)


def check_stopped(paths: SessionPaths) -> None:
    left = store.read(paths.session, Session)
    assert (left.state, left.problem, left.problem_exit_code) == (SessionState.INTERRUPTED, BY_HAND, 3)
    assert all(entry.settled_at for entry in entries(paths))
    for ended in (paths.desk_process, paths.agent_process):
        assert not processes.is_alive(store.read(ended, ProcessIdentity))


def check_goes_on(paths: SessionPaths, *overrides: str) -> None:
    """The submission that was stopped is undecided, the agent asks again, and is answered by a new array."""
    process = start(paths, *overrides)
    assert process.wait(waiting.LONG_S) == 0, (paths.root.parents[2] / "front.log").read_text()
    assert store.read(paths.session, Session).state is SessionState.FINISHED
    assert [answer["outcome"] for answer in answers(paths)] == OUTCOMES
    verdicts = [store.read(path, Verdict) for path in sorted(paths.submissions.glob("*/verdict.json"))]
    assert [verdict.outcome for verdict in verdicts[2:4]] == [Outcome.UNDECIDED, Outcome.REJECTED]


def watched(runs: Path, seen: Callable[[str], bool]) -> str:
    """What a terminal is shown by `command=status` until this was seen, and then Ctrl-C."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    argv = ["env", "TERM=xterm", sys.executable, "-m", "slurm_bench", "command=status"]
    process = subprocess.Popen(
        [*argv, f"runs={runs}"], cwd=REPOSITORY, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown, deadline = "", time.monotonic() + waiting.LONG_S
    while not seen(shown):
        assert time.monotonic() < deadline, shown
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 2**16).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    assert process.wait(waiting.LONG_S) == 0, "Ctrl-C is how one leaves"
    os.close(master)
    return shown


def is_live(shown: str) -> bool:
    return shown.count("campaign rehearsal, 1 session") >= 3 and "too-few-steps: running" in shown


@pytest.mark.long
@pytest.mark.slurm
def test_on_slurm(paths: SessionPaths) -> None:
    runs = paths.root.parents[1]
    brake = Brake(runs.parent)
    process = start(paths, *QUICK, *SLOWER, brake.override, "cluster=dev", ALL_OF_IT, scratch(paths))
    with brake:
        wait_beside(process, paths.desk_process.exists)
        (seen,) = json.loads(slurm_bench(runs, "command=status", "format=json").stdout)["sessions"]
        assert (seen["name"], seen["state"]) == ("one", "running")
        refused = slurm_bench(runs, "command=stop")
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert "none of that name in campaign rehearsal: session=NAME of one; or all=true" in refused.stderr

    wait_beside(process, lambda: bool(trials(paths, "0003")))
    with brake:
        shown = watched(runs, is_live)
        assert "session1 running, relay1 pending" in shown and "─ one running, scripted ─" in re.sub(
            r"\x1b\[[\d;]*m", "", shown
        )
        done = slurm_bench(runs, "command=stop", "session=one")
        assert done.returncode == 0, done.stderr
        assert "one is stopped: " in done.stdout and "session=one goes on with it" in done.stdout
        assert process.wait(waiting.LONG_S) == 3
    check_stopped(paths)

    identity = store.read(paths.session, Session).id
    queue = subprocess.run(
        ["squeue", "--noheader", "--format=%j"], env=sacct.ENVIRONMENT, capture_output=True, text=True
    )
    assert identity not in queue.stdout
    rows = sacct.rows(identity)
    assert rows and not {state for _, state, _ in rows} & {"RUNNING", "PENDING", "COMPLETING"}
    assert sum(entry.charged_gpu_seconds for entry in entries(paths)) == sacct.gpu_seconds(identity)

    again = slurm_bench(runs, "command=stop", "all=true")
    assert again.returncode == 0 and "one is stopped: " in again.stdout, "there was nothing left to do"
    check_goes_on(paths, "cluster=dev")
    over = slurm_bench(runs, "command=stop", "session=one")
    assert over.returncode == 0 and "one is finished: " in over.stdout


def lanes(runs: Path) -> list[ProcessIdentity]:
    return [each for folder in (runs / "usage").iterdir() for each in lane.processes_of(folder)]


@pytest.mark.long
def test_on_this_machine(paths: SessionPaths) -> None:
    runs = paths.root.parents[1]
    brake = Brake(runs.parent)
    process = start(paths, *QUICK, *SLOWER, brake.override, ALL_OF_IT, scratch(paths))
    wait_beside(process, lambda: bool(trials(paths, "0003")))
    with brake:
        assert any(map(processes.is_alive, lanes(runs)))
        done = slurm_bench(runs, "command=stop", "session=one")
        assert done.returncode == 0, done.stderr
        assert process.wait(waiting.LONG_S) == 130
    check_stopped(paths)
    assert not any(map(processes.is_alive, lanes(runs)))
    shown = slurm_bench(runs, "command=status")
    assert shown.returncode == 0 and "one: interrupted, scripted\n" in shown.stdout
    assert f"one: problem: {BY_HAND}\n" in shown.stdout
    assert slurm_bench(runs, "command=status", "session=one").stdout.count(": interrupted, scripted\n") == 1
    misspelt = slurm_bench(runs, "command=status", "session=two")
    assert misspelt.returncode == 2 and "session=NAME of one" in misspelt.stderr
    check_goes_on(paths)


def test_trials_that_an_interrupted_command_left_are_ended_with_the_campaign(paths: SessionPaths) -> None:
    runs = paths.root.parents[1]
    brake = Brake(runs.parent)
    process = start(paths, *RETIME, brake.override, scratch(paths))
    campaign = CampaignPaths(paths.root.parent)

    def runs_two() -> bool:
        return any(
            len(list(each.timing.retiming.trials.glob("*.json"))) >= 2 for each in members(campaign).calibrations
        )

    wait_beside(process, runs_two)
    with brake:
        process.send_signal(signal.SIGINT)
        assert process.wait(waiting.LONG_S) == 130
        assert any(map(processes.is_alive, lanes(runs))), "what is queued goes on"
        done = slurm_bench(runs, "command=stop", "all=true")
        assert done.returncode == 0, done.stderr
    assert not any(map(processes.is_alive, lanes(runs)))
    ledgers = [store.read_all(calibration.ledger, LedgerEntry) for calibration in members(campaign).calibrations]
    assert all(ledgers) and all(entry.settled_at for entries in ledgers for entry in entries)
    again = slurm_bench(runs, *RETIME, brake.override, scratch(paths), "format=json")
    assert again.returncode == 0, again.stderr
    assert len(json.loads(again.stdout)["timed"][0]["losses"]) == 10, "timed anew at once"
