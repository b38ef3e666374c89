"""Findings on sites that the development cluster is not."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.pure import checkup, limits, slurm_settings, survey
from slurm_bench.pure.guard import Association, Qos
from slurm_bench.words.checkup import ContainerStart, Finding, NodeFacts, State
from slurm_bench.words.config import ClusterConfig, Config
from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.trials import Gpu
from tests.conftest import make_config

SITE = {
    "SLURM_VERSION": "26.05.5",
    "ClusterName": "ours",
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "AccountingStorageTRES": "cpu,mem,gres/gpu,gres/gpu:h100",
    "MaxArraySize": "1001",
    "KillWait": "30 sec",
    "OverTimeLimit": "0 min",
    "JobRequeue": "1",
    "PreemptType": "preempt/none",
    "ProctrackType": "proctrack/cgroup",
}
PARTITIONS = """\
PartitionName=gpu Default=YES AllowAccounts=ALL AllowQos=ALL MaxTime=1-00:00:00 OverSubscribe=NO State=UP
PartitionName=whole Default=NO AllowAccounts=ALL AllowQos=ALL MaxTime=UNLIMITED OverSubscribe=EXCLUSIVE State=UP
PartitionName=theirs Default=NO AllowAccounts=chem,bio AllowQos=ALL MaxTime=2-00:00:00 OverSubscribe=NO State=UP
PartitionName=closed Default=NO AllowAccounts=ALL AllowQos=ALL MaxTime=2-00:00:00 OverSubscribe=NO State=DRAIN
PartitionName=cpu Default=NO AllowAccounts=ALL AllowQos=ALL MaxTime=02:00:00 OverSubscribe=NO State=UP
"""
NODES = "NodeName=g1 State=IDLE CPUTot=96 Gres=gpu:h100:8(S:0-1) Partitions=gpu,whole,theirs,closed\n"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FACTS = NodeFacts(
    at=NOW,
    node="g1",
    python="Python 3.12",
    sees_token=True,
    containers=(ContainerStart(field="container.image", seconds=0.3),),
    user_namespaces=100_000,
    scratch="/tmp",
    scratch_free_gb=900,
    shm_free_gb=200,
)


@pytest.fixture
def config(tmp_path: Path, quick_record: Path) -> Config:
    """Of a session on a cluster whose nodes have eight H100s."""
    made = make_config(tmp_path, quick_record, ["cluster/slurm", "cluster/dev"], "container/none")
    return with_cluster(made, session_gpus=8, account=None, partition=None)


def with_cluster(config: Config, **changes: object) -> Config:
    return replace(config, cluster=replace(config.cluster, **changes))  # type: ignore[arg-type]


def only(found: Iterable[Finding], state: State) -> dict[str, str]:
    """What is said of each check in this state."""
    return {finding.check: finding.found for finding in found if finding.state is state}


def failing(found: Iterable[Finding]) -> dict[str, str]:
    return only(found, State.FAILS)


def test_nothing_is_wrong(config: Config) -> None:
    found = [*checkup.of_scheduler(config, SITE), *checkup.of_partitions(config, surveyed(config.cluster), 1)]
    found += checkup.of_node(config, FACTS, NOW)
    assert {finding.check for finding in found if finding.state is not State.OK} == set()


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"AccountingStorageType": "accounting_storage/none"}, "accounting", "no slurmdbd"),
        ({"AccountingStorageTRES": "cpu,mem,gres/gpu:h100"}, "accounting", "without gres/gpu"),
        ({"MaxArraySize": "10"}, "job arrays", "MaxArraySize is 10"),
    ],
)
def test_a_site_where_no_session_can_run(config: Config, change: Mapping[str, str], check: str, said: str) -> None:
    found = failing(checkup.of_scheduler(config, {**SITE, **change}))
    assert list(found) == [check]
    assert said in found[check]


def test_a_site_without_a_database_can_be_accounted_for_by_ourselves(config: Config) -> None:
    none = {**SITE, "AccountingStorageType": "accounting_storage/none"}
    assert failing(checkup.of_scheduler(with_cluster(config, accounting="own"), none)) == {}


def test_what_a_person_should_know_of_a_site(config: Config) -> None:
    assert not only(checkup.of_scheduler(config, {**SITE, "PreemptType": "(null)"}), State.NOTE)
    other = {"PreemptType": "preempt/qos", "PreemptMode": "REQUEUE", "ProctrackType": "proctrack/pgid"}
    found = list(checkup.of_scheduler(config, {**SITE, **other, "SLURM_VERSION": "21.08.8"}))
    assert only(found, State.NOTE) == {
        "Slurm": "Slurm 21.08.8, cluster ours",
        "preemption": "preempt/qos, REQUEUE",
        "process tracking": "proctrack/pgid",
    }


def test_an_old_slurm_cannot_time_in_the_sessions_own_job(config: Config) -> None:
    config.retime.where = "allocation"
    assert list(failing(checkup.of_scheduler(config, {**SITE, "SLURM_VERSION": "21.08.8"}))) == ["Slurm"]


@pytest.mark.parametrize(
    ("version", "where", "said"),
    [
        ("22.05.8", "fresh", None),
        ("26.05.5", "allocation", None),
        ("23.11.10", "fresh", "Slurm 23.11.10, cluster ours"),
        ("26.05.2", "allocation", "before 26.05.3: such a trial is void"),
        ("22.05.8", "allocation", "before 26.05.3: such a trial is void"),
    ],
)
def test_the_version_is_one_that_the_tests_run_on(config: Config, version: str, where: str, said: str | None) -> None:
    config.retime.where = where
    noted = only(checkup.of_scheduler(config, {**SITE, "SLURM_VERSION": version}), State.NOTE)
    assert list(noted) == (["Slurm"] if said else [])
    assert (said or "") in noted.get("Slurm", "")


def test_what_queues_a_job_again_all_the_same(config: Config) -> None:
    """As scontrol prints it: 26.05 counts prologs, and one that is not there has no line."""
    shown = "JobRequeue              = 1\nProlog[0]               = /etc/prolog\nPrologSlurmctld         = (null)\n"
    found = {each.check: each.found for each in checkup.of_scheduler(config, slurm_settings.settings(shown))}
    assert "where its Prolog fails the site queues a job again all the same" in found["requeue"]
    alone = {each.check: each.found for each in checkup.of_scheduler(config, SITE)}
    assert alone["requeue"] == "no job of ours is queued again by itself: they have --no-requeue"


@pytest.mark.parametrize(
    ("skew_s", "state", "said"),
    [(-3, State.OK, "3 s behind ours"), (200, State.NOTE, "200 s ahead of ours"), (None, State.NOTE, "does not say")],
)
def test_the_clock_of_slurmctld(skew_s: int | None, state: State, said: str) -> None:
    found = checkup.of_clock(None if skew_s is None else timedelta(seconds=skew_s))
    assert found.state is state
    assert said in found.found


def test_wckeys_that_a_site_asks_for(config: Config) -> None:
    """Slurm 22.05 and 26.05 take jobs that name none all the same."""
    asked = {**SITE, "AccountingStorageEnforce": "associations,limits,wckeys"}
    assert checkup.of_wckeys(config.cluster, SITE, "").state is State.OK
    assert checkup.of_wckeys(config.cluster, asked, "").state is State.NOTE
    assert checkup.of_wckeys(config.cluster, asked, "theirs").found == "asked for, and ours have theirs"
    named = with_cluster(config, sbatch={"wckey": "ours"}).cluster
    assert checkup.of_wckeys(named, asked, "").state is State.OK


def test_a_node_that_unpacks_images(config: Config) -> None:
    start = ContainerStart(field="container.image", seconds=40, unpacked_in="/tmp")
    found = only(checkup.of_node(config, FACTS.model_copy(update={"containers": (start,)}), NOW), State.NOTE)
    assert found["container (container.image)"].endswith("the node cannot mount images, each start unpacks one in /tmp")


def surveyed(cluster: ClusterConfig, nodes: str = NODES) -> survey.Survey:
    return survey.survey(cluster, PARTITIONS, nodes)


def test_nodes_that_are_all_away(config: Config) -> None:
    away = surveyed(config.cluster, NODES.replace("IDLE", "DOWN*+DRAIN"))
    found = failing(checkup.of_partitions(config, away, 1))
    assert list(found) == ["GPUs"]
    assert "down or drained" in found["GPUs"]


def test_a_request_that_any_type_fits(config: Config) -> None:
    both = surveyed(config.cluster, NODES + NODES.replace("h100", "a100").replace("g1", "g2"))
    plain = with_cluster(config, gpu_request="gres=gpu:{count}")
    assert list(failing(checkup.of_partitions(plain, both, 1))) == ["GPU type"]
    assert not failing(checkup.of_partitions(with_cluster(plain, constraint="h100"), both, 1))
    assert not failing(checkup.of_partitions(config, both, 1))


def test_trials_that_are_longer_than_their_partition_allows(config: Config) -> None:
    found = failing(checkup.of_partitions(config, surveyed(config.cluster), 66.8))
    assert "that of trials 66.8: they would wait for ever" in found["partition gpu"]


def test_limits_that_hold_jobs_back_for_ever(config: Config) -> None:
    """As sacctmgr prints them; sbatch takes such jobs."""
    columns = "lab|lab|gpu|fast|1-00:00:00|\nlab|other||slow||\n"
    own, default = limits.of_user(columns, "lab", "gpu")
    assert default == "fast"
    found = [*own, *limits.of_qos("fast|00:30:00|cpu=8,gres/gpu=4|\n")]
    said = [finding.found for finding in checkup.of_limits(with_cluster(config, session_hours=24).cluster, found)]
    assert said == [
        "QOS fast lets a job run for 0.5 hours, cluster.session_hours is 24",
        "QOS fast lets a job have 4 GPUs, and ours have 8",
    ]
    with pytest.raises(SchedulerError):
        limits.of_qos("fast|x\n")


def test_a_qos_for_jobs_with_many_gpus_alone(config: Config) -> None:
    """Slurm queues smaller ones all the same, for ever: QOSMinGRES."""
    (big,) = limits.of_qos("big|||cpu=1,gres/gpu=4\n")
    (relays,) = checkup.of_limits(config.cluster, [big])
    assert relays.found == "QOS big lets no job have fewer than 4 GPUs, and relays and agents without GPUs have none"
    alone = with_cluster(config, chain=False)
    assert list(checkup.of_limits(alone.cluster, [big])) == []
    (small,) = checkup.of_limits(with_cluster(alone, trial_gpus=1, exclusive=False).cluster, [big])
    assert small.found == "QOS big lets no job have fewer than 4 GPUs, and ours have 1"


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"session_hours": 36}, "partition gpu", "its time limit is 24 hours"),
        ({"partition": "closed"}, "partition closed", "its state is DRAIN"),
        ({"partition": "theirs", "account": "physics"}, "partition theirs", "AllowAccounts is chem,bio"),
        ({"partition": "whole", "exclusive": False}, "nodes of whole", "charged for, whole nodes"),
        ({"partition": "whole"}, "nodes of whole", "also those without GPUs"),
        ({"partition": "whole", "session_gpus": 0, "chain": False}, "nodes of whole", "also those without GPUs"),
        ({"partition": "whole", "session_gpus": 1}, "nodes of whole", "cluster.session_gpus is 1"),
        ({"node_gpus": 16, "trial_gpus": 16}, "GPUs", "none has the 16 h100 of a trial"),
        ({"node_gpus": 4, "trial_gpus": 4, "session_gpus": 4}, "GPUs", "charged for 8, cluster.node_gpus is 4"),
        ({"cpu_partition": "cpu", "session_hours": 24}, "partition cpu", "its time limit is 2 hours"),
        (
            {"cpu_partition": "cpu", "session_hours": 12, "session_gpus": 0, "chain": False},
            "partition cpu",
            "its time limit is 2 hours",
        ),
        (
            {"cpu_partition": "cpu", "session_hours": 36, "session_gpus": 0},
            "partition cpu",
            "its time limit is 2 hours",
        ),
    ],
)
def test_partitions_that_do_not_go_with_the_configuration(
    config: Config, change: Mapping[str, object], check: str, said: str
) -> None:
    changed = with_cluster(config, **change)
    found = failing(checkup.of_partitions(changed, surveyed(changed.cluster), 1))
    assert list(found) == [check]
    assert said in found[check]


def test_an_agent_that_asks_for_its_gpus(config: Config) -> None:
    """Nothing is wrong where jobs without GPUs have a partition; its own jobs have to fit theirs."""
    given = with_cluster(config, cpu_partition="cpu", session_hours=2)
    by_experiments = replace(given, agent=replace(given.agent, gpus="experiments"))
    assert by_experiments.cluster.session_gpus == 0
    found = list(checkup.of_partitions(by_experiments, surveyed(by_experiments.cluster), 1, 1.05))
    assert {finding.state for finding in found} == {State.OK}
    (own,) = limits.of_qos("own|02:00:00|gres/gpu=8|\n")
    assert not list(checkup.of_limits(by_experiments.cluster, [own]))
    assert not list(checkup.of_counts(by_experiments))
    beside = replace(by_experiments, budget=replace(by_experiments.budget, counts=["session", "retiming"]))
    assert "no budget limits them" in only(checkup.of_counts(beside), State.NOTE)["budget"]
    found = list(checkup.of_partitions(by_experiments, surveyed(by_experiments.cluster), 1, 25.05))
    assert "that of experiments up to 25" in failing(found)["partition gpu"]
    whole = with_cluster(by_experiments, partition="whole")
    found = list(checkup.of_partitions(whole, surveyed(whole.cluster), 1, 1.05))
    assert not failing(found)
    assert "is charged for whole nodes, and reserves less" in only(found, State.NOTE)["nodes of whole"]


def test_an_account_and_its_qos(config: Config) -> None:
    lab = Association("lab", frozenset({"normal", "long"}))
    with_qos = with_cluster(config, qos="long").cluster
    limited = Qos(frozenset(), 1.0, 30720)
    assert failing(checkup.of_user(config.cluster, "ada", None, None)) == {
        "account": "ada has no default account on this cluster"
    }
    found = only(checkup.of_user(with_qos, "ada", lab, limited), State.OK)
    assert found["QOS"] == "long, with a limit of 30720 on GPU-minutes"
    assert failing(checkup.of_user(with_qos, "ada", lab, None)) == {"QOS": "there is no QOS long"}
    other = replace(lab, qos=frozenset({"normal"}))
    assert failing(checkup.of_user(with_qos, "ada", other, limited)) == {"QOS": "ada may not use long"}


@pytest.mark.parametrize(
    ("facts", "check", "remedy"),
    [
        ({"sees_token": False}, "shared files", "a folder that all nodes share"),
        ({"lock_problem": "g1 takes a lock that is held here"}, "locks", "whose locks bind all nodes"),
        ({"scratch_problem": "no such folder"}, "scratch", "cluster.scratch"),
        ({"scratch_free_gb": 0.01}, "scratch", "cluster.scratch"),
        ({"sbatch_problem": "sbatch: command not found"}, "jobs from nodes", "retime.where=allocation"),
        ({"sacct_problem": "Connection refused"}, "sacct from nodes", "cluster.accounting=own"),
    ],
)
def test_a_node_where_no_session_can_run(config: Config, facts: Mapping[str, object], check: str, remedy: str) -> None:
    found = [
        finding
        for finding in checkup.of_node(config, FACTS.model_copy(update=dict(facts)), NOW)
        if finding.state is State.FAILS
    ]
    assert [finding.check for finding in found] == [check]
    assert remedy in found[0].remedy


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"fuse_problem": "/dev/fuse: Permission denied"}, "/dev/fuse to be open to users"),
        ({"user_namespaces": 0}, "users have no user namespaces"),
        ({}, "apptainer has to be on the PATH of jobs"),
    ],
)
def test_why_no_container_starts(config: Config, facts: Mapping[str, object], remedy: str) -> None:
    broken = (ContainerStart(field="container.image", problem="FATAL: no"),)
    found = checkup.of_node(config, FACTS.model_copy(update={**facts, "containers": broken}), NOW)
    assert [remedy in finding.remedy for finding in found if finding.state is State.FAILS] == [True]


def test_an_agent_that_lacks_something_with_its_model(config: Config) -> None:
    config.agent.kind, config.agent.model = "codex", "gpt-5.4"
    facts = FACTS.model_copy(update={"agent_warnings": ("Model metadata not found.",)})
    notes = only(checkup.of_node(config, facts, NOW), State.NOTE)
    assert notes == {"codex with gpt-5.4": "Model metadata not found."}


def test_a_node_that_cannot_queue_jobs_serves_a_session_in_its_own_job(config: Config) -> None:
    config.retime.where = "allocation"
    facts = FACTS.model_copy(update={"sbatch_problem": "not from here"})
    assert failing(checkup.of_node(config, facts, NOW)), "its relays still would"
    assert not failing(checkup.of_node(with_cluster(config, chain=False), facts, NOW))


def test_clocks_that_are_apart(config: Config) -> None:
    found = checkup.of_node(config, FACTS, NOW + timedelta(minutes=3))
    assert list(only(found, State.NOTE)) == ["clocks"]


def test_gpus_that_a_container_sees(config: Config) -> None:
    gpu = Gpu(uuid="GPU-1", name="NVIDIA H100 80GB HBM3", driver="580.1")
    both = FACTS.model_copy(update={"gpus": (gpu, gpu), "gpus_asked": 2})
    said = "2 of 2 in a container on g1: NVIDIA H100 80GB HBM3 (driver 580.1)"
    assert only(checkup.of_gpus(config, both), State.OK) == {"GPUs inside": said}
    assert list(failing(checkup.of_gpus(config, both.model_copy(update={"gpus_asked": 8})))) == ["GPUs inside"]


def test_a_job_that_came_back_without_an_answer() -> None:
    python = "/home/ada/bench/.venv/bin/python"
    no_log = checkup.of_no_answer("FAILED", None, python)
    no_python = checkup.of_no_answer("FAILED", f"line 23: {python}: Permission denied", python)
    killed = checkup.of_no_answer("OUT_OF_MEMORY", "Killed", python)
    assert "does not see runs" in no_log.remedy
    assert "interpreter must be there for jobs too" in no_python.remedy
    assert killed.found == "it ended (OUT_OF_MEMORY): Killed"
