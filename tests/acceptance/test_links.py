"""A session that is longer than its jobs, on a real Slurm: the next link comes by itself."""

import itertools
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import store
from slurm_bench.steps import site
from slurm_bench.steps.chain import Chain
from slurm_bench.words.accounting import JobState, LedgerEntry
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Outcome, Verdict
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.rehearsals import QUICK, SLOWER, slurm_bench, start, trials
from tests.acceptance.test_ledger_on_slurm import a_session_without_a_budget, dev_cluster, slurm

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.getuid() != 0, reason="only root ends the development cluster's daemons"),
]
A_MINUTE = "cluster.session_hours=0.0166"


def links(paths: SessionPaths) -> list[LedgerEntry]:
    return [store.read(path, LedgerEntry) for path in sorted(paths.ledger.glob("*-session*.json"))]


def node_dies(link: LedgerEntry) -> str:
    """With all that runs of this job on it, and no word; Slurm is told at once, and need not find out."""
    node = slurm("squeue", "--noheader", f"--jobs={link.job_id}", "--format=%N").strip()
    dev_cluster("down", node)
    keepers = [each for each in psutil.process_iter() if runs_job(each, link.job_id or "")]
    for process in [member for keeper in keepers for member in family(keeper)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    return node


def family(keeper: psutil.Process) -> list[psutil.Process]:
    try:
        return [keeper, *keeper.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def runs_job(process: psutil.Process, job_id: str) -> bool:
    try:
        return " ".join(process.cmdline()).startswith(f"slurmstepd: [{job_id}.")
    except psutil.Error:
        return False


@pytest.mark.long
def test_a_session_crosses_links_by_itself(tmp_path: Path) -> None:
    """The first link dies with its node, the next ones may have too little time, and the last ends the session."""
    paths = SessionPaths(tmp_path / "runs/rehearsal/one")
    running = start(paths, *QUICK, *SLOWER, "cluster=dev", A_MINUTE)
    waiting.until(lambda: bool(trials(paths, "0003")))
    node = node_dies(links(paths)[0])
    try:
        waiting.until(lambda: len(links(paths)) == 2)
    finally:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
        dev_cluster("up")
    assert running.wait(waiting.LONG_S) == 0, (tmp_path / "front.log").read_text()

    ended = store.read(paths.session, Session)
    assert (ended.state, ended.agent_ended_by, ended.problem) == (SessionState.FINISHED, "", "")
    ends = [entry.attempts[-1].state for entry in links(paths)]
    assert ends[0] is JobState.NODE_FAIL and ends[1:] == [JobState.COMPLETED] * len(ends[1:]) and len(ends) >= 2
    outcomes = [store.read(path, Verdict).outcome for path in sorted(paths.submissions.glob("*/verdict.json"))]
    assert set(outcomes) == {Outcome.INVALID, Outcome.REJECTED, Outcome.ACCEPTED}
    check_one_after_the_other(links(paths))

    account, _ = json.loads(slurm_bench(tmp_path / "runs", "command=budget", "format=json").stdout)["accounts"]
    assert account["gpu_seconds"] == sacct.gpu_seconds(ended.id)
    assert account["reserved_gpu_seconds"] == 0
    assert sacct.gpu_seconds(f"{ended.id}-relay") == 0
    assert len(sacct.rows(f"{ended.id}-session")) == len(ends), "no link was queued twice"


def test_where_only_the_desk_is_left_a_relay_serves_as_it(tmp_path: Path) -> None:
    paths = a_session_without_a_budget(tmp_path)
    config = site.load_config(paths)
    chain = Chain(config, paths, site.cluster_of(config))
    chain.relay_at(datetime.now(UTC), chain.new_name())
    waiting.until(lambda: store.read(paths.session, Session).state is SessionState.FINISHED)
    assert store.read(paths.session, Session).agent_ended_by == "the budget is spent"
    assert paths.log.read_text().count("starting the agent") == 1, "no other agent was started"
    assert [job for job, _, seconds in sacct.rows(store.read(paths.session, Session).id) if seconds] == []


def check_one_after_the_other(chain: list[LedgerEntry]) -> None:
    """No link was reserved for before the one before it had ended."""
    for before, after in itertools.pairwise(chain):
        ended = before.attempts[-1].ended
        assert ended and ended <= after.reserved_at
