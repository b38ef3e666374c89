"""One contract for every cluster: in memory, on this machine, and a real Slurm with its accounting or our own."""

import dataclasses
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from slurm_bench.effects import slurm_commands
from slurm_bench.effects.cluster import Cluster, Job, Queued
from slurm_bench.effects.local import LocalCluster
from slurm_bench.effects.nested import NestingCluster
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.words.accounting import JobState
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import JobRefused, SchedulerError, UsageError
from slurm_bench.words.trials import RECORD_LOST
from tests.clusters import DEV_CLUSTER
from tests.conftest import REPOSITORY
from tests.fake_cluster import FakeCluster
from tests.waiting import until

SLEEP_S = 120
"""Of a task that is to sleep."""
SLURM = [pytest.param(name, marks=pytest.mark.slurm) for name in ("sacct", "own")]
NESTED = pytest.param("nested", marks=pytest.mark.slurm)
REAL = ["local", *SLURM, NESTED]
WITH_A_QUEUE = ["memory", *SLURM]
ACCOUNTING = pytest.mark.parametrize("accounting", ["sacct", "own"])


def cluster_config(name: str, **changes: object) -> ClusterConfig:
    apart = ("defaults", "shared_poll")  # which names the folder of all campaigns
    sections = [OmegaConf.load(REPOSITORY / "conf/cluster" / f"{file}.yaml") for file in name.split("+")]
    fields = [{key: each[key] for key in each if key not in apart} for each in sections if isinstance(each, DictConfig)]
    defaults = {"shared_poll": "nowhere"}
    merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ClusterConfig), *fields, defaults, changes))
    assert isinstance(merged, ClusterConfig)
    return merged


def slurm(shared: Path, **changes: object) -> SlurmCluster:
    changes = {"slurm_conf": str(DEV_CLUSTER / "slurm.conf"), "shared_poll": str(shared), **changes}
    return SlurmCluster(cluster_config("slurm+dev", **changes), shared / "usage")


class Nesting(NestingCluster):
    """Every job is nested in the one around us."""

    def submit(self, job: Job) -> str:
        return super().submit(dataclasses.replace(job, nested=True))


@contextmanager
def around(shared: Path, minutes: int = 30) -> Iterator[Nesting]:
    """Inside a job of eight GPUs, as far as its environment says so."""
    outside, name, since = slurm(shared), f"slurm_bench-test-{uuid.uuid4().hex}", datetime.now(UTC)
    outside.submit(job(name, shared / "around", "sleep for 600", count=1, gpus=8, limit_minutes=minutes))
    until(lambda: states_of(outside, name, since, 1) == {0: JobState.RUNNING})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(DEV_CLUSTER / "slurm.conf"))
        patch.setenv("SLURM_JOB_ID", str(outside.find(name, since)))
        patch.setenv("SLURM_JOB_NAME", name)
        yield Nesting(outside, cluster_config("slurm+dev"), shared / "usage")
    outside.cancel(name)


@pytest.fixture(params=["memory", *REAL])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    if request.param == "memory":
        yield FakeCluster()
    elif request.param == "local":
        yield LocalCluster(cluster_config("local"), tmp_path / "usage")
    elif request.param == "nested":
        (tmp_path / "around").mkdir()
        with around(tmp_path) as nesting:
            yield nesting
    else:
        yield slurm(tmp_path, accounting=request.param)


@pytest.fixture
def name() -> str:
    return f"slurm_bench-test-{uuid.uuid4().hex}"


def job(name: str, folder: Path, what: str, count: int = 4, **changes: object) -> Job:
    fields = {
        "name": name,
        "folder": folder / "jobs",
        "command": [sys.executable, "-I", str(Path(__file__).with_name("tasks.py")), what, str(folder)],
        "tasks": count,
        "gpus": 2,
        "node_gpus": 8,
        "exclusive": False,
        "limit_minutes": 2,
    }
    return Job(**{**fields, **changes})  # type: ignore[arg-type]


def states_of(cluster: Cluster, name: str, since: datetime, count: int) -> Mapping[int, JobState]:
    return cluster.look([Queued(name, since, count)])[name].states


def until_over(cluster: Cluster, name: str, count: int, since: datetime) -> Mapping[int, JobState]:
    seen: dict[int, JobState] = {}

    def all_are_over() -> bool:
        seen.update(states_of(cluster, name, since, count))  # a task can be between queue and accounting for a moment
        return len(seen) == count and all(state.is_terminal for state in seen.values())

    until(all_are_over)
    return seen


def test_an_array_runs_and_is_accounted(cluster: Cluster, name: str, tmp_path: Path) -> None:
    since = datetime.now(UTC)
    job_id = cluster.submit(job(name, tmp_path, "touch"))
    states = until_over(cluster, name, 4, since)
    assert states == dict.fromkeys(range(4), JobState.COMPLETED)
    assert {path.name for path in tmp_path.glob("task*")} == {"task0", "task1", "task2", "task3"}
    attempts = cluster.attempts([name], since)
    assert [attempt.task for attempt in sorted(attempts, key=lambda row: row.task)] == [0, 1, 2, 3]
    for attempt in attempts:
        gpus = 0 if isinstance(cluster, Nesting) else 2
        assert (attempt.gpus, attempt.exit_code, attempt.job_name) == (gpus, 0, name)
        assert attempt.started and attempt.ended and attempt.started <= attempt.ended
    assert cluster.find(name, since) == job_id


def test_a_failed_task_is_its_own_failure(cluster: Cluster, name: str, tmp_path: Path) -> None:
    since = datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "fail at odd"))
    states = until_over(cluster, name, 4, since)
    assert states == {
        0: JobState.COMPLETED,
        1: JobState.FAILED,
        2: JobState.COMPLETED,
        3: JobState.FAILED,
    }
    codes = {attempt.task: attempt.exit_code for attempt in cluster.attempts([name], since)}
    assert codes == {0: 0, 1: RECORD_LOST, 2: 0, 3: RECORD_LOST}


def test_a_job_of_one_task_is_task_0(cluster: Cluster, name: str, tmp_path: Path) -> None:
    since = datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "touch", count=1))
    assert until_over(cluster, name, 1, since) == {0: JobState.COMPLETED}


def test_an_unknown_name_is_absent_not_an_error(cluster: Cluster, name: str) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    assert cluster.find(name, since) is None
    assert states_of(cluster, name, since, 4) == {}
    assert cluster.attempts([name], since) == []
    assert cluster.attempts([], since) == []
    cluster.cancel(name)


@pytest.mark.parametrize("cluster", REAL, indirect=True)
def test_cancel_ends_running_tasks(cluster: Cluster, name: str, tmp_path: Path) -> None:
    since = datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "sleep", count=2))
    at_once = 1 if isinstance(cluster, Nesting) else 2
    until(lambda: len(list(tmp_path.glob("task*"))) == at_once)
    cluster.cancel(name)
    states = until_over(cluster, name, 2, since)
    assert not any(state is JobState.COMPLETED for state in states.values())
    assert all(attempt.gpu_seconds < 2 * SLEEP_S for attempt in cluster.attempts([name], since))


@pytest.mark.slurm
@ACCOUNTING
def test_tasks_cancelled_while_they_wait_are_over_at_once(accounting: str, name: str, tmp_path: Path) -> None:
    """They leave no row in the accounting; nobody has to wait until their absence proves it."""
    cluster = slurm(tmp_path, parallel=1, accounting=accounting)
    since = datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "sleep", count=5))
    until((tmp_path / "task0").exists)
    cluster.cancel(name)
    states = until_over(cluster, name, 5, since)
    assert states == dict.fromkeys(range(5), JobState.CANCELLED)
    (attempt,) = cluster.attempts([name], since)
    assert (attempt.task, attempt.state) == (0, JobState.CANCELLED)


@pytest.mark.parametrize("cluster", WITH_A_QUEUE, indirect=True)
def test_a_job_waits_until_another_is_over(cluster: Cluster, name: str, tmp_path: Path) -> None:
    since, first, second = datetime.now(UTC), f"{name}-first", f"{name}-second"
    before = cluster.submit(job(first, tmp_path, "sleep for 2", count=1))
    cluster.submit(job(second, tmp_path, "touch", count=1, gpus=0, cpu_only=True, after=before))
    until_over(cluster, second, 1, since)
    (waited,) = cluster.attempts([second], since)
    assert waited.gpus == 0 and waited.started
    (awaited,) = cluster.attempts([first], since)
    assert awaited.ended and awaited.ended <= waited.started


def test_this_machine_lets_no_job_wait(name: str, tmp_path: Path) -> None:
    cluster = LocalCluster(cluster_config("local"), tmp_path / "usage")
    for wait_for in ({"after": "1"}, {"begin": datetime.now(UTC)}):
        with pytest.raises(JobRefused, match="starts every job at once"):
            cluster.submit(job(name, tmp_path, "touch", **wait_for))
    assert cluster.find(name, datetime.now(UTC)) is None


@pytest.mark.slurm
def test_nobody_foresees_what_is_not_queued(cluster: Cluster, name: str) -> None:
    assert cluster.expected_starts([]) == cluster.expected_starts([name]) == {}


@pytest.mark.slurm
def test_the_scheduler_foresees_when_a_job_starts(name: str, tmp_path: Path) -> None:
    cluster, begin = slurm(tmp_path), datetime.now(UTC) + timedelta(hours=1)
    cluster.submit(job(name, tmp_path, "touch", count=1, begin=begin))
    try:
        until(lambda: cluster.expected_starts([name, "another"]))
        (foreseen,) = cluster.expected_starts([name, "another"]).values()
        assert abs((foreseen - begin).total_seconds()) < 60
    finally:
        cluster.cancel(name)


@pytest.mark.slurm
def test_a_job_begins_when_it_may(name: str, tmp_path: Path) -> None:
    cluster, since = slurm(tmp_path), datetime.now(UTC)
    begin = since + timedelta(seconds=4)
    cluster.submit(job(name, tmp_path, "touch", count=1, begin=begin))
    until_over(cluster, name, 1, since)
    (attempt,) = cluster.attempts([name], since)
    assert attempt.started and attempt.started >= begin.replace(microsecond=0)


@pytest.mark.slurm
def test_jobs_without_gpus_have_a_partition_and_options_of_their_own(name: str, tmp_path: Path) -> None:
    small = job(name, tmp_path, "touch", count=1, gpus=0, cpu_only=True)
    with pytest.raises(JobRefused, match=r"(?i)invalid partition"):
        slurm(tmp_path, cpu_partition="nobody-has-this").submit(small)
    with pytest.raises(JobRefused, match=r"(?i)invalid account"):
        slurm(tmp_path, cpu_sbatch={"account": "nobody-has-this"}).submit(small)
    gpus_only = slurm(tmp_path, constraint="nobody-has-this")
    with pytest.raises(JobRefused, match=r"(?i)invalid feature"):
        gpus_only.submit(job(name, tmp_path, "touch", count=1))
    assert gpus_only.submit(small)
    gpus_only.cancel(name)


@pytest.mark.slurm
@ACCOUNTING
def test_the_environment_of_whoever_submits_stays_outside(
    accounting: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "99999")
    cluster = slurm(tmp_path, accounting=accounting)
    since = datetime.now(UTC)
    cluster.submit(job(name, tmp_path, "touch", count=1))
    until_over(cluster, name, 1, since)
    seen = (tmp_path / "task0").read_text().split()
    assert "ANTHROPIC_API_KEY" not in seen
    assert "SLURM_JOB_ID" in seen


@pytest.mark.slurm
def test_a_refused_sbatch_says_why(name: str, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match=r"(?i)invalid account"):
        slurm(tmp_path, account="nobody-has-this").submit(job(name, tmp_path, "touch"))


@pytest.mark.slurm
@ACCOUNTING
def test_no_answer_is_never_an_empty_answer(
    accounting: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients of a copy of slurm.conf that points at closed ports; the daemons are left alone."""
    lines = (DEV_CLUSTER / "slurm.conf").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("AccountingStoragePort", "SlurmctldPort"))]
    closed = tmp_path / "slurm.conf"
    closed.write_text("\n".join([*kept, "AccountingStoragePort=6999", "SlurmctldPort=6998", "MessageTimeout=2"]))
    monkeypatch.setenv("SLURM_CONF", str(closed))
    cluster = slurm(tmp_path, slurm_conf=str(closed), accounting=accounting)
    since = datetime.now(UTC)
    with pytest.raises(SchedulerError, match="sacct failed" if accounting == "sacct" else "squeue failed"):
        cluster.attempts([name], since)
    with pytest.raises(SchedulerError, match="squeue failed"):
        states_of(cluster, name, since, 4)
    with pytest.raises(SchedulerError):
        cluster.find(name, since)


@pytest.mark.slurm
def test_the_overrun_is_this_sites(tmp_path: Path) -> None:
    conf = (DEV_CLUSTER / "slurm.conf").read_text()
    (kill_wait,) = [line.partition("=")[2] for line in conf.splitlines() if line.startswith("KillWait=")]
    assert slurm(tmp_path).overrun_s == 60 + int(kill_wait)


BARE_SITE = "AccountingStorageType = {}\nAccountingStorageTRES = cpu,mem\nKillWait = 30 sec\nOverTimeLimit = 0 min\n"


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("kind", "why"), [("none", "no slurmdbd: cluster.accounting=own"), ("slurmdbd", "does not count GPUs")]
)
def test_a_site_that_sacct_cannot_account_for(
    kind: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of our own needs neither a database nor counted GPUs."""
    printed = BARE_SITE.format(f"accounting_storage/{kind}")
    monkeypatch.setattr(slurm_commands, "ask", lambda *argv: printed)
    with pytest.raises(UsageError, match=why):
        _ = slurm(tmp_path).overrun_s
    assert slurm(tmp_path, accounting="own").overrun_s == 90


def test_no_slurm_here_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="needs sbatch, squeue, sacct, scancel, srun, scontrol on the PATH"):
        SlurmCluster(cluster_config("slurm"), Path("nowhere"))
    with pytest.raises(UsageError, match="needs sbatch, squeue, scancel, srun, scontrol on the PATH"):
        SlurmCluster(cluster_config("slurm", accounting="own"), Path("nowhere"))
