"""scripts/bench: its names, its tables, and the Slurm of stand-ins that it measures desks on; nothing is measured."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import desks, scheduler, tables
from benchmarks.catalogue import ALL, BY_NAME
from benchmarks.figures import Figure
from benchmarks.machine import Machine
from benchmarks.sessions import composed
from benchmarks.stand_in import StandIn
from slurm_bench.effects.cluster import Job, Queued
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.words.accounting import JobState
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.whole

MACHINE = Machine("2026-01-01", 2, 24.0, "Debian", "3.11", "slurm 22.05", "", "abc", "0.00, 0.00, 0.00")
MEASURED = {"ledger": [Figure("time", 1.234, "s", 1, "slow"), Figure("memory", 142.35, "MB")]}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(REPOSITORY / "scripts" / "bench.py"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_every_benchmark_is_listed_by_a_name_of_its_own() -> None:
    listed = bench("--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [each.name for each in ALL]
    assert len(BY_NAME) == len(ALL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ledgre"], "bench: no ledgre; --list names what there is\n"),
        (["--write", "ledger"], "bench: --write: the table is of one run on one machine; leave the names out\n"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert (done.returncode, done.stderr, done.stdout) == (2, said, "")


def test_the_tables_mark_what_is_missed() -> None:
    text = tables.as_markdown(MEASURED, MACHINE)
    assert "| time | **1.23 s, missed** | 1 s | slow | `scripts/bench ledger` |\n" in text
    assert "| memory | 142 MB |  |  | `scripts/bench ledger` |\n" in text
    assert json.loads(tables.as_json(MEASURED, MACHINE))["figures"][0] == {
        "name": "ledger",
        "what": "time",
        "measured": 1.234,
        "unit": "s",
        "limit": 1,
        "note": "slow",
        "command": "scripts/bench ledger",
    }


def test_what_is_committed_has_exactly_the_known_figures() -> None:
    text = (REPOSITORY / "docs/bench.json").read_text()
    figures = json.loads(text)["figures"]
    assert list(dict.fromkeys(figure["name"] for figure in figures)) == [each.name for each in ALL]
    assert all(figure["command"] == BY_NAME[figure["name"]].command for figure in figures)
    page = (REPOSITORY / "docs/bench.md").read_text()
    measured: dict[str, list[Figure]] = {}
    for figure in figures:
        fields = {name: value for name, value in figure.items() if name not in ("name", "command")}
        measured.setdefault(figure["name"], []).append(Figure(**fields))
    machine = Machine(**json.loads(text)["machine"])
    assert tables.as_markdown(measured, machine) == page
    assert tables.as_json(measured, machine) == text


def test_the_stand_ins_answer_like_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = StandIn(tmp_path / "slurm")
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    config = composed([f"runs={tmp_path}", "session=one", "cluster.poll_seconds=0.01", *slurm.overrides])
    cluster = SlurmCluster(config.cluster, tmp_path / "usage")
    job = Job("trials", tmp_path / "jobs", ["true"], 3, 8, 8, True, 30)
    began = datetime.now(UTC)
    assert cluster.submit(job) == "1"
    assert cluster.find("trials", began) == "1"
    (seen,) = cluster.look([Queued("trials", began, 3)]).values()
    assert seen.states == dict.fromkeys(range(3), JobState.RUNNING)
    assert [attempt.gpus for attempt in seen.attempts] == [8, 8, 8]
    (slurm.home / "ended" / "1").touch()
    ended = cluster.attempts(["trials"], began)
    assert {attempt.state for attempt in ended} == {JobState.COMPLETED}
    assert all(attempt.ended for attempt in ended)
    assert cluster.find("other", began) is None
    assert slurm.called()["sbatch"] == 1


def test_desks_on_the_stand_ins_come_to_their_verdicts(tmp_path: Path) -> None:
    a_minute, cpu, to_verdict, to_queue, calls = desks.throughput(tmp_path, count=2, each=1)
    assert a_minute.note.startswith("2 verdicts in")
    assert cpu.measured > 0
    assert 0 < to_queue.measured <= to_verdict.measured
    assert calls.measured >= 3, "sbatch, squeue and sacct"


def test_desks_that_are_asked_in_turn_queue_at_once(tmp_path: Path) -> None:
    (median,) = desks.within_a_minute(tmp_path, count=2, spread_s=0.2)
    assert (median.measured > 0, median.limit) == (True, 2)


def test_calls_a_minute_are_counted_over_whole_intervals() -> None:
    every_poll = [100 + scheduler.POLL_S * number for number in range(4)]
    assert scheduler.per_minute(every_poll) == pytest.approx(60 / scheduler.SITE_POLL_S * 2)
