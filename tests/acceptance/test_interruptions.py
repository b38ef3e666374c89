"""A session whose desk dies, at the hardest moments, goes on in the same folder: nothing is queued twice or lost."""

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Verdict
from tests import waiting
from tests.acceptance.rehearsals import OUTCOMES, QUICK, SLOWER, Brake, answers, slurm_bench, start, trials, wait_beside
from tests.clusters import DEV_CLUSTER


@pytest.fixture
def paths(tmp_path: Path) -> SessionPaths:
    return SessionPaths(tmp_path / "runs/rehearsal/one")


def check_records(paths: SessionPaths) -> None:
    """Every record that is there can be read whole."""
    for path in paths.root.rglob("*.json"):
        json.loads(path.read_text())


def check_ended(paths: SessionPaths) -> None:
    assert store.read(paths.session, Session).state is SessionState.FINISHED
    assert [answer["outcome"] for answer in answers(paths)] == OUTCOMES
    entries = [store.read(path, LedgerEntry) for path in paths.ledger.glob("*.json")]
    assert sorted(entry.kind for entry in entries) == ["decoy", "decoy", "retiming", "retiming"]
    check_attempts(paths, entries)
    assert CampaignPaths(paths.root.parent).report.page.exists()


def check_attempts(paths: SessionPaths, entries: list[LedgerEntry]) -> None:
    """Every task ran once, and all of them unless the array was stopped."""
    for entry in entries:
        assert entry.settled_at is not None
        tasks = sorted(attempt.task for attempt in entry.attempts)
        assert len(set(tasks)) == len(tasks), entry.job_name
        stopped = paths.submission(entry.job_name.rpartition("-")[2]).retiming.stopped.exists()
        assert (len(tasks) <= entry.tasks) if stopped else (len(tasks) == entry.tasks), entry.job_name


@pytest.mark.long
def test_killed_in_calibration_and_interrupted_in_a_retiming(paths: SessionPaths) -> None:
    brake, campaign = Brake(paths.root.parents[2]), CampaignPaths(paths.root.parent)
    classic = (*QUICK, *SLOWER, brake.override, "retime=classic")
    process = start(paths, *classic)
    wait_beside(
        process,
        lambda: any(
            len(list(each.timing.retiming.trials.glob("*.json"))) >= 2 for each in members(campaign).calibrations
        ),
    )
    with brake:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        check_records(paths)

    process = start(paths, *classic)
    wait_beside(process, lambda: any(len(trials(paths, f"{number:04}")) >= 3 for number in range(1, 9)))
    with brake:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does: to every process in the foreground
        assert process.wait(waiting.LONG_S) == 130
        check_records(paths)
        assert store.read(paths.session, Session).state is SessionState.INTERRUPTED

    process = start(paths, *classic)
    assert process.wait(waiting.LONG_S) == 0, (paths.root.parents[1].parent / "front.log").read_text()
    check_ended(paths)
    (calibration,) = [each for each in members(campaign).calibrations if each.timing.retiming.plan.exists()]
    (entry,) = [store.read(path, LedgerEntry) for path in calibration.ledger.glob("*.json")]
    assert sorted(attempt.task for attempt in entry.attempts) == list(range(10)), "queued once, also after a kill"
    # The interrupted candidate was asked for anew by the agent, and answered from the one retiming.
    verdicts = [store.read(path, Verdict) for path in sorted(paths.submissions.glob("*/verdict.json"))]
    assert len({verdict.seal for verdict in verdicts if verdict.gpu_seconds}) == 2

    process = start(paths, *classic)
    assert process.wait(waiting.LONG_S) == 0, "starting a session that is over only shows it"


def test_a_second_desk_is_refused(paths: SessionPaths) -> None:
    brake = Brake(paths.root.parents[2])
    process = start(paths, *QUICK, *SLOWER, brake.override)
    try:
        wait_beside(process, lambda: any(paths.submissions.glob("*/retiming/plan.json")))
        with brake:
            second = slurm_bench(paths.root.parents[1], "session=one")
        assert second.returncode == 2
        assert "is running already" in second.stderr.splitlines()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(waiting.LONG_S) == 130


@pytest.mark.long
@pytest.mark.slurm
def test_a_cancelled_session_job_goes_on_in_the_next(paths: SessionPaths) -> None:
    """scancel in the middle of a retiming: its array runs on, and the next job of the session takes it up."""
    runs, cluster = paths.root.parents[1], "cluster=dev"
    slurm = {**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}

    brake = Brake(paths.root.parents[2])
    quick = (*QUICK, *SLOWER, brake.override, cluster)
    process = start(paths, *quick)
    wait_beside(process, lambda: len(trials(paths, "0003")) >= 2)
    with brake:
        (link,) = paths.ledger.glob("*-session1.json")
        subprocess.run(["scancel", f"--name={link.stem}"], env=slurm, check=True)
        assert process.wait(waiting.LONG_S) == 3
    said = (runs.parent / "front.log").read_text().splitlines()[-1]
    assert said == "slurm_bench: the session's job was cancelled; the same command goes on"
    assert store.read(paths.session, Session).state is SessionState.INTERRUPTED
    assert len(list(paths.ledger.glob("*-session*.json"))) == 1, "its relay queued nothing"

    process = start(paths, *quick)
    assert process.wait(waiting.LONG_S) == 0, (runs.parent / "front.log").read_text()
    assert store.read(paths.session, Session).state is SessionState.FINISHED
    entries = [store.read(path, LedgerEntry) for path in paths.ledger.glob("*.json")]
    kinds = Counter(entry.kind for entry in entries)
    assert kinds == {"decoy": 2, "retiming": 2, "session": 2, "relay": 2}
    check_attempts(paths, [entry for entry in entries if entry.kind != "relay"])

    finished = start(paths, *quick)
    assert finished.wait(waiting.LONG_S) == 0
    assert len(list(paths.ledger.glob("*.json"))) == len(entries), "a session that is over is not queued again"
