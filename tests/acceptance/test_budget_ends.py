"""A budget that ends: for one submission, and for a whole session."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.steps import link, session, site
from slurm_bench.words.accounting import BudgetNote, LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.acceptance import sacct
from tests.acceptance.rehearsals import QUICK, slurm_bench

GPU_HOURS_OF_SESSION = (3600 + 65) / 3600
"""One GPU for an hour, and the five seconds of KillWait and the minute that Slurm may be late."""
GPU_HOURS_OF_SUBMISSION = 10 * 8 * (14 * 60 + 65) / 3600
"""Ten whole nodes for two runs of at most two minutes and what may come around each."""
EMPTY = "retime.caches=empty"
"""Decoy runs would be reckoned too: tests/steps/test_decoy.py does that."""


@pytest.mark.slurm
def test_the_last_submission_does_not_fit(tmp_path: Path) -> None:
    """What the third has spent is missing for the fourth."""
    limit = GPU_HOURS_OF_SESSION + GPU_HOURS_OF_SUBMISSION + 0.01
    done = slurm_bench(tmp_path, *QUICK, "cluster=dev", "session=one", f"budget.h100_hours={limit}", EMPTY)
    assert done.returncode == 0, done.stderr
    paths = SessionPaths(tmp_path / "rehearsal/one")
    verdicts = [store.read(path, Verdict) for path in sorted(paths.submissions.glob("*/verdict.json"))]
    outcomes = [Outcome.INVALID, Outcome.REJECTED, Outcome.REJECTED, Outcome.OVER_BUDGET]
    assert [verdict.outcome for verdict in verdicts] == outcomes
    answer = json.loads((paths.workspace / "experiments/honest-speed-up.json").read_text())
    assert answer["exit_code"] == 4

    short = verdicts[-1].shortfall
    assert short and short.needed == pytest.approx(GPU_HOURS_OF_SUBMISSION)
    spent = verdicts[2].gpu_seconds / 3600
    assert short.left == pytest.approx(limit - GPU_HOURS_OF_SESSION - spent)
    said = f"{short.needed:.3f} H100-hours, but {short.left:.3f} of {limit:g} are left"
    assert said in verdicts[-1].reason and said in done.stderr

    identity = store.read(paths.session, Session).id
    (account,) = json.loads(slurm_bench(tmp_path, "command=budget", "format=json").stdout)["accounts"]
    assert account["gpu_seconds"] == sacct.gpu_seconds(identity)
    assert not sacct.rows(f"{identity}-0004"), "nothing of it was queued"


def in_a_job(config: Config, paths: SessionPaths, limit_s: int) -> None:
    """A session as its own job finds it: begun, and with a reservation of so many seconds for the job."""
    site.save_config(paths, config)
    now = datetime.now(UTC)
    begun = Session(id="id", name="one", campaign="c", revision="", state=SessionState.RUNNING, started=now)
    store.write(paths.session, begun)
    entry = LedgerEntry(
        job_name="link", kind="session", tasks=1, gpus=0, limit_s=limit_s, overrun_s=0, weight=1.0, reserved_at=now
    )
    store.write(paths.ledger / "link.json", entry)


def test_a_session_ends_with_its_budget_and_its_last_submission_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent is told, and ended; the desk leaves before its job is killed; the next start has the verdict."""
    done = slurm_bench(tmp_path, *QUICK, "session=template", "agent.hours=0.0001", EMPTY)
    assert done.returncode == 0, done.stderr
    template = SessionPaths(tmp_path / "rehearsal/template")
    config = site.load_config(template)
    config.task.environment["SECONDS_PER_STEP"] = "0.04"  # an array takes longer than the job
    config.session, config.agent.hours, config.budget.notice_at = "one", 60 / 3600, 0.2
    config.cluster.absent_grace_seconds, config.retime.stop_below = 300, 0
    config.cluster.session_gpus = 1
    config.budget.h100_hours = 10 * 14 * 60 / 3600 + 0.0002  # one submission, as long as nothing is spent
    paths = SessionPaths(tmp_path / "rehearsal/one")
    in_a_job(config, paths, limit_s=32)
    allocation = link.Allocation.of(site.ledger_of(config, paths, site.cluster_of(config)))
    killed_at = datetime.now(UTC) + timedelta(seconds=32)
    assert allocation and allocation.agent_ends_at < allocation.ends_at < killed_at
    caplog.set_level(logging.INFO)
    with pytest.raises(session.LeavesAllocation):
        session.run(paths.root)

    left = store.read(paths.session, Session)
    assert (left.state, left.agent_ended_by) == (SessionState.PAUSED, "the budget is spent")
    said = paths.log.read_text()
    assert said.count("the agent is told: ") == 1 and said.count("ending the agent") == 1
    note = store.read(paths.budget_in_inbox, BudgetNote)
    assert re.match(r"\d+ % of this session's budget or time is used", note.notice)
    assert list((paths.workspace / "submissions").iterdir()), "its last state is kept"
    assert any(paths.submissions.glob("*/retiming/plan.json")), "a submission was being timed"

    (paths.ledger / "link.json").unlink()
    ended = session.run(paths.root)
    assert (ended.state, ended.agent_ended_by) == (SessionState.FINISHED, "the budget is spent")
    assert paths.log.read_text().count("starting the agent") == 1, "only the desk went on"
    for submission in paths.submissions.iterdir():
        assert (submission / "verdict.json").exists()


def test_a_session_whose_allocation_ends_goes_on_in_another(tmp_path: Path) -> None:
    """Its own limit is reached and not that of the budget: its agent is ended in time, and is not over."""
    done = slurm_bench(tmp_path, *QUICK, "session=template", "agent.hours=0.0001", EMPTY)
    assert done.returncode == 0, done.stderr
    config = site.load_config(SessionPaths(tmp_path / "rehearsal/template"))
    config.session, config.agent.hours, config.cluster.session_hours = "one", 1.0, 0.001
    paths = SessionPaths(tmp_path / "rehearsal/one")
    in_a_job(config, paths, limit_s=2)
    with pytest.raises(session.LeavesAllocation):
        session.run(paths.root)
    left = store.read(paths.session, Session)
    assert (left.state, left.agent_exit_code, left.agent_ended_by) == (SessionState.PAUSED, None, "")
    assert "the same command goes on" in left.problem


def test_a_session_whose_hours_are_over_says_so(tmp_path: Path) -> None:
    done = slurm_bench(tmp_path, *QUICK, "session=one", "agent.hours=0.0003")
    assert done.returncode == 0, done.stderr
    ended = store.read(SessionPaths(tmp_path / "rehearsal/one").session, Session)
    assert (ended.state, ended.agent_ended_by) == (SessionState.FINISHED, "its hours are over")
