"""What an agent is told of its budget, and when; what its GPUs did."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Job
from slurm_bench.steps import retime, site
from slurm_bench.steps.meter import Meter
from slurm_bench.words.accounting import Activity, BudgetNote, LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.paths import SessionPaths
from tests.fake_cluster import FakeCluster


class SetClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 25, 23, 59, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Scene:
    """A session of an hour, whose allocation holds two GPUs."""

    def __init__(self, config: Config) -> None:
        config.cluster.session_gpus = 2
        config.container.gpu_devices = True
        self.clock, self.cluster = SetClock(), FakeCluster()
        self.paths = SessionPaths(config.session_dir)
        self.ledger = site.ledger_of(config, self.paths, self.cluster)
        self.config = config
        self.meter = self.another()

    def another(self) -> Meter:
        return Meter(self.config, self.paths, self.ledger, clock=self.clock)

    def spend(self, name: str, tasks: int) -> None:
        """A GPU-second each."""
        self.ledger.run_to_queue("retiming", Job(name, self.paths.jobs, ["true"], tasks, 1, 1, False, 1))

    def spend_beside(self, name: str, tasks: int) -> None:
        """In another session of the campaign."""
        self.config.budget.campaign_h100_hours = None
        beside = site.ledger_of(self.config, SessionPaths(self.paths.root.with_name("beside")), self.cluster)
        beside.run_to_queue("retiming", Job(name, self.paths.jobs, ["true"], tasks, 1, 1, False, 1))
        beside.settle_finished()

    def run_link(self) -> None:
        """The session has a job of its own from here on."""
        link = LedgerEntry(
            job_name="link",
            kind="session",
            tasks=1,
            gpus=2,
            limit_s=7200,
            overrun_s=0,
            weight=1.0,
            reserved_at=self.clock.now(),
        )
        store.write(self.paths.ledger / "link.json", link)
        self.meter = self.another()

    def after(self, seconds: float) -> bool:
        self.clock.sleep(seconds)
        return self.meter.read()

    def note(self) -> BudgetNote:
        return store.read(self.paths.budget_in_inbox, BudgetNote)


@pytest.fixture
def scene(config: Config) -> Scene:
    return Scene(config)


def test_the_note_says_what_is_left(scene: Scene) -> None:
    scene.config.budget.h100_hours = 10
    scene.ledger = site.ledger_of(scene.config, scene.paths, scene.cluster)
    scene.meter = scene.another()
    scene.spend("job", 36)
    assert not scene.after(5)
    assert scene.note().spent == pytest.approx(0.01)
    assert scene.note().left == pytest.approx(9.99)
    assert (scene.note().reserved, scene.note().notice) == (0, "")


def test_the_note_says_what_a_submission_costs(scene: Scene) -> None:
    """What it may take at worst, and what those that are over took on average, with their decoy runs."""
    assert not scene.after(5)
    worst = retime.worst_case_h100_hours(scene.config, scene.cluster.overrun_s)
    assert scene.note().a_submission_reserves == pytest.approx(worst, abs=1e-4)
    assert scene.note().a_submission_took is None
    scene.spend("slurm_bench-id-0001", 3600)
    scene.spend("slurm_bench-id-0002", 1800)
    scene.spend("slurm_bench-id-0002-rerun", 900)
    scene.after(5)
    assert scene.note().a_submission_took == pytest.approx((3600 + 1800 + 900) / 2 / 3600, abs=1e-4)


def test_the_agent_is_told_once_when_most_of_its_time_is_used(scene: Scene) -> None:
    scene.after(0.89 * 3600)
    assert scene.note().notice == ""
    scene.after(0.02 * 3600)
    told = scene.note().notice
    assert told.startswith("91 % of this session's budget or time is used: hand in")
    scene.after(100)
    assert scene.note().notice == told
    scene.meter = scene.another()
    scene.after(5)
    assert scene.note().notice == told, "also by the next desk"


def test_the_agent_is_told_when_most_of_its_budget_is_used(scene: Scene) -> None:
    scene.config.budget.h100_hours = 1
    scene.ledger = site.ledger_of(scene.config, scene.paths, scene.cluster)
    scene.meter = scene.another()
    scene.spend("job", 20)
    scene.config.budget.notice_at = 0.005
    scene.after(5)
    assert "1 % of this session's budget" in scene.note().notice


def test_it_says_when_the_budget_is_spent(scene: Scene) -> None:
    scene.spend("job", 36)
    scene.config.budget.h100_hours = 0.01
    scene.ledger = site.ledger_of(scene.config, scene.paths, scene.cluster)
    scene.meter = scene.another()
    assert scene.after(5)


def test_hours_stand_still_while_all_that_is_queued_waits(scene: Scene) -> None:
    """So long as the configuration lets them in all, also over a restart of the desk."""
    scene.config.agent.waiting_hours = 10 / 3600
    waits = [True]

    def another() -> Meter:
        return Meter(scene.config, scene.paths, scene.ledger, waits=lambda: waits[0], clock=scene.clock)

    scene.meter = another()
    scene.after(1)
    begun = scene.meter.deadline
    for _ in range(2):
        scene.after(3)
    assert (scene.meter.deadline - begun).total_seconds() == 6
    waits[0] = False
    scene.after(3)
    assert (scene.meter.deadline - begun).total_seconds() == 6, "something of it runs"
    waits[0] = True
    scene.meter = another()
    begun = scene.meter.deadline
    for _ in range(4):
        scene.after(3)
    assert (scene.meter.deadline - begun).total_seconds() == 4, "ten seconds in all"


def test_a_silent_scheduler_changes_nothing(scene: Scene) -> None:
    scene.after(5)
    before = scene.note()
    scene.cluster.silent = True
    assert not scene.after(3600)
    assert scene.note() == before


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_gpus_that_compute_are_not_idle(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days, because the clock passes midnight; of three GPUs of the node two are the session's."""
    scene.config.cluster.poll_seconds = 15
    scene.run_link()
    smi(tmp_path, monkeypatch, r"0\n97\n")
    scene.after(1)
    scene.after(30)
    smi(tmp_path, monkeypatch, r"50\n97\n12\n")
    scene.after(60)
    smi(tmp_path, monkeypatch, "No devices were found")
    scene.after(60)
    seen = store.read(scene.paths.activity, Activity).busy_gpu_seconds
    assert seen == pytest.approx({"2026-11-25": 30 + 2 * 29, "2026-11-26": 2 * 31})


def test_where_no_gpus_are_handed_in_nobody_claims_to_have_seen_any(scene: Scene) -> None:
    scene.config.container.gpu_devices = False
    scene.run_link()
    scene.after(1)
    scene.after(30)
    assert not scene.paths.activity.exists()


def test_what_others_compute_where_the_desk_runs_alone_is_not_the_sessions(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, monkeypatch, r"97\n97\n")
    scene.after(1)
    scene.after(30)
    assert not scene.paths.activity.exists()


def test_the_agent_is_told_of_the_limit_that_ends_first(scene: Scene) -> None:
    scene.config.budget.campaign_h100_hours = 36 / 3600
    scene.ledger = site.ledger_of(scene.config, scene.paths, scene.cluster)
    scene.meter = scene.another()
    scene.spend_beside("job", 36)
    assert scene.after(5), "the campaign's is spent"
    assert scene.note().notice.startswith("100 % of") and scene.note().limit == 512
