"""Jobs that run in the job of whoever queues them: what no other cluster has to promise."""

import dataclasses
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import lane, processes, store
from slurm_bench.effects.cluster import Queued
from slurm_bench.effects.lane import Array, Owner
from slurm_bench.effects.local import LocalCluster
from slurm_bench.words.accounting import JobState
from slurm_bench.words.errors import JobRefused
from tests.contract.test_cluster import around, cluster_config, job, states_of, until_over
from tests.waiting import LONG_S, until

DESK = """
import sys
from pathlib import Path
from slurm_bench.effects import processes
from slurm_bench.effects.lane import Owner
import os
from tests.contract.test_nested import local
from tests.contract.test_cluster import job
name, folder = sys.argv[1], Path(sys.argv[2])
owner = Owner(job_id="1", job_name="around", desk=processes.identify(os.getpid()))
local(folder).submit(job(name, folder, "sleep", nested=True), owner)
"""


@pytest.fixture
def name() -> str:
    return f"slurm_bench-test-{uuid.uuid4().hex}"


def local(folder: Path, goes_on: bool = False) -> LocalCluster:
    return LocalCluster(cluster_config("local"), folder / "usage", lambda owner: goes_on)


def owner() -> Owner:
    return Owner(job_id="1", job_name="around", desk=processes.identify(psutil.Process().pid))


def test_it_ends_with_the_desk_that_queued_it(name: str, tmp_path: Path) -> None:
    """Killed, it can cancel nothing: what it left must not run on beside an agent, and is void."""
    desk = subprocess.Popen([sys.executable, "-c", DESK + "input()", name, str(tmp_path)], stdin=subprocess.PIPE)
    until((tmp_path / "task0").exists)
    assert states_of(local(tmp_path), name, datetime.now(UTC), 4)[0] is JobState.RUNNING
    desk.send_signal(signal.SIGKILL)
    desk.wait()
    states = until_over(local(tmp_path), name, 4, datetime.now(UTC))
    assert states == dict.fromkeys(range(4), JobState.CANCELLED)
    until(
        lambda: (
            not any(str(tmp_path) in " ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
        )
    )
    assert not (tmp_path / "task1").exists()


@pytest.mark.parametrize(("goes_on", "state"), [(True, JobState.RUNNING), (False, JobState.CANCELLED)])
def test_on_another_host_its_processes_numbers_mean_nothing(
    goes_on: bool, state: JobState, name: str, tmp_path: Path
) -> None:
    """What matters there is whether the job around it goes on; only then its records are left as they are."""
    cluster, since = local(tmp_path, goes_on), datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "sleep for 300", nested=True), owner())
    until((tmp_path / "task0").exists)
    (process,) = lane.processes_of(tmp_path / "usage" / name)
    record = lane.array_record(tmp_path / "usage" / name)
    array = store.read(record, Array)
    assert array.owner
    elsewhere = {"desk": array.owner.desk.model_copy(update={"host": "elsewhere"})}
    store.write(record, array.model_copy(update={"owner": array.owner.model_copy(update=elsewhere)}))
    assert not processes.is_alive(process.model_copy(update={"host": "elsewhere"}))
    try:
        seen = cluster.look([Queued(name, since, 4)])[name]
        assert seen.states[0] is state
        assert (seen.attempts[0].ended is None) is goes_on
        assert seen.states[3] is (JobState.PENDING if goes_on else JobState.CANCELLED)
    finally:
        processes.end_tree(process.pid)


@pytest.mark.parametrize(
    ("nested", "visible", "seen"),
    [(False, "3,5,7", "3,5,7"), (True, "3,GPU-5,7", "3,GPU-5"), (False, None, "unset"), (True, "", "")],
)
def test_tasks_see_the_gpus_that_we_see(
    nested: bool, visible: str | None, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit's local executor hides all of them by itself; a nested job gets as many as it asks for."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    script = f'echo "${{CUDA_VISIBLE_DEVICES-unset}}" > {tmp_path}/seen'
    wanted = job("one", tmp_path, "", count=1, nested=nested, command=["bash", "-c", script])
    local(tmp_path).submit(wanted, owner() if nested else None)
    until_over(local(tmp_path), "one", 1, datetime.now(UTC))
    assert (tmp_path / "seen").read_text().strip() == seen


@pytest.mark.slurm
def test_it_is_not_begun_where_it_may_not_come_to_its_end(name: str, tmp_path: Path) -> None:
    (tmp_path / "around").mkdir()
    with around(tmp_path, minutes=8) as cluster:
        with pytest.raises(JobRefused, match=r"may take 9 minutes, and the session's job is over in 8: ask again in"):
            cluster.submit(job(name, tmp_path, "touch", count=4))
        assert cluster.find(name, datetime.now(UTC)) is None
        cluster.submit(job(name, tmp_path, "touch", count=3))
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("SLURM_JOB_ID")
            with pytest.raises(JobRefused, match="inside the session's own job, and this is none"):
                cluster.submit(dataclasses.replace(job(f"{name}-2", tmp_path, "touch"), nested=True))


@pytest.mark.slurm
def test_steps_beside_a_step_that_has_all(name: str, tmp_path: Path) -> None:
    """An agent's step runs meanwhile, and has taken every core and GPU."""
    (tmp_path / "around").mkdir()
    with around(tmp_path) as cluster:
        agent = processes.start([*cluster.step, "sleep", "3600"], output=tmp_path / "agent.log")
        command = [*cluster.step_beside(4), "bash", "-c", f"echo $SLURM_JOB_ID $SLURM_GPUS_ON_NODE > {tmp_path}/seen"]
        since, wanted = datetime.now(UTC), job(name, tmp_path, "", count=1, command=command)
        cluster.submit(wanted)
        assert until_over(cluster, name, 1, since) == {0: JobState.COMPLETED}
        assert agent.poll() is None
        seen_by = cluster._owner(wanted)
        assert (tmp_path / "seen").read_text().split() == [seen_by.job_id, "4"]
        assert cluster._goes_on(seen_by.model_copy(update={"job_id": "0"}))
        assert not cluster._goes_on(seen_by), "our own job cannot run on another host"
        cluster._slurm.cancel(seen_by.job_name)
        until(lambda: not cluster._goes_on(seen_by.model_copy(update={"job_id": "0"})))
        agent.wait(LONG_S)
