"""What is right and wrong with a site, by what was found there. One check, one finding, one remedy."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from slurm_bench.pure import slurm_settings, survey
from slurm_bench.pure.guard import Association, Qos
from slurm_bench.pure.limits import Limits
from slurm_bench.pure.rules import RUNS
from slurm_bench.pure.survey import Survey
from slurm_bench.words.checkup import ContainerStart, Finding, NodeFacts, State
from slurm_bench.words.config import ClusterConfig, Config

_RUN = ("22.05", "26.05")
"""Versions of Slurm that the tests run on."""
_OLDEST, _WHOLE = (22, 5, 0), (26, 5, 3)
"""Slurm's versions since when srun --overlap shares GPUs, and since when it gives all that are asked for."""
_MOST_SKEW_S = 60.0
_NONE = "(null)"
_LEAST_SHM_GB = 1.0


def ok(check: str, found: str) -> Finding:
    return Finding(check, State.OK, found)


def fails(check: str, found: str, remedy: str = "") -> Finding:
    return Finding(check, State.FAILS, found, remedy)


def note(check: str, found: str, remedy: str = "") -> Finding:
    return Finding(check, State.NOTE, found, remedy)


def unknown(check: str, because: str) -> Finding:
    return Finding(check, State.UNKNOWN, because)


# --- what slurmctld says of itself


def of_scheduler(config: Config, site: Mapping[str, str]) -> Iterator[Finding]:
    """
    Args:
        site: `slurm_settings.settings` of the site.
    """
    yield _version(config, site)
    yield _accounting(config.cluster, site)
    yield _array_size(site)
    yield _requeue(site)
    yield _preemption(site)
    yield _process_tracking(site)


def _version(config: Config, site: Mapping[str, str]) -> Finding:
    version, cluster = site.get("SLURM_VERSION", "unknown"), site.get("ClusterName", "unknown")
    found = f"Slurm {version}, cluster {cluster}"
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    this = tuple(int(number or 0) for number in numbers.groups()) if numbers else _WHOLE
    if config.retime.is_nested and this < _OLDEST:
        return fails("Slurm", found, "retime.where=allocation needs Slurm 22.05 or newer: take retime.where=fresh")
    if config.retime.is_nested and this < _WHOLE:
        fewer = "srun --overlap may give a step fewer GPUs than it asks for before 26.05.3: such a trial is void"
        return note("Slurm", f"{found}: {fewer}", "take retime.where=fresh, or see that trials are not void")
    if not version.startswith(_RUN):
        return note("Slurm", found, f"the tests run on {' and '.join(_RUN)}: try a short session first")
    return ok("Slurm", found)


def _requeue(site: Mapping[str, str]) -> Finding:
    """Whether anything may start a job of ours again: --no-requeue does not stop what goes wrong before it begins."""
    programs = [name for name in ("Prolog", "PrologSlurmctld", "ResumeProgram") if site.get(name, _NONE) != _NONE]
    if not programs:
        return ok("requeue", "no job of ours is queued again by itself: they have --no-requeue")
    failing = f"where its {' or '.join(programs)} fails the site queues a job again all the same"
    return ok("requeue", f"ours have --no-requeue; {failing}: both attempts are charged, and a trial is void")


def _accounting(config: ClusterConfig, site: Mapping[str, str]) -> Finding:
    if config.accounting == "own":
        return note(
            "accounting", "our own record, by cluster.accounting=own", "sacct is the better witness, if it is there"
        )
    kind = site.get("AccountingStorageType", "unknown")
    if not slurm_settings.has_database(site):
        return fails("accounting", f"AccountingStorageType is {kind}: no slurmdbd", "set cluster.accounting=own")
    if not slurm_settings.tracks_gpus(site):
        lacks = f"AccountingStorageTRES is {site.get('AccountingStorageTRES', 'empty')}, without gres/gpu"
        return fails("accounting", lacks, "an administrator adds gres/gpu to it; until then cluster.accounting=own")
    return ok("accounting", "slurmdbd, and it counts gres/gpu")


def of_clock(skew: timedelta | None) -> Finding:
    """
    Args:
        skew: by how much slurmctld's clock is ahead of ours; None where it does not say.
    """
    if skew is None:
        return note("Slurm's clock", "scontrol show config does not say what it shows")
    seconds = skew.total_seconds()
    found = f"{abs(seconds):.0f} s {'ahead of' if seconds >= 0 else 'behind'} ours"
    if abs(seconds) <= _MOST_SKEW_S:
        return ok("Slurm's clock", found)
    remedy = "let the administrators know: jobs are found by name all the same, but at 300 s munge refuses to work"
    return note("Slurm's clock", found, remedy)


def of_wckeys(config: ClusterConfig, site: Mapping[str, str], default: str) -> Finding:
    """
    Args:
        default: the key of this user's jobs that name none; empty if there is none.
    """
    named = config.sbatch.get("wckey") or default
    if "wckeys" not in site.get("AccountingStorageEnforce", "").split(","):
        return ok("wckeys", "not asked for")
    if named:
        return ok("wckeys", f"asked for, and ours have {named}")
    remedy = "a site's own plugin may want one: '+cluster.sbatch.wckey=KEY', and cpu_sbatch's too"
    return note("wckeys", "asked for, and ours name none, which Slurm itself takes", remedy)


def _array_size(site: Mapping[str, str]) -> Finding:
    largest = site.get("MaxArraySize", "0")
    found = f"MaxArraySize is {largest}"
    if largest.isdecimal() and int(largest) > RUNS:
        return ok("job arrays", found)
    return fails("job arrays", found, f"arrays of {RUNS} tasks are needed: ask an administrator for {RUNS + 1} or more")


def _preemption(site: Mapping[str, str]) -> Finding:
    kind, mode = site.get("PreemptType", "preempt/none"), site.get("PreemptMode", "OFF")
    if kind in ("preempt/none", _NONE):
        return ok("preemption", "none")
    return note("preemption", f"{kind}, {mode}", "a trial that is preempted is void and run once more, at your cost")


def _process_tracking(site: Mapping[str, str]) -> Finding:
    kind = site.get("ProctrackType", "unknown")
    if kind == "proctrack/cgroup":
        return ok("process tracking", kind)
    return note("process tracking", kind, "proctrack/cgroup would end whatever a candidate leaves behind")


# --- partitions


def of_partitions(
    config: Config, found: Survey, trial_hours: float, experiment_hours: float = 0.0
) -> Iterator[Finding]:
    """
    Args:
        trial_hours: time limit of a trial's array task.
        experiment_hours: the longest of an experiment's job.
    """
    for partition in found.partitions:
        yield _partition(config, partition, trial_hours, experiment_hours if config.agent.experiments else 0.0)
        yield _sharing(config, partition)
    yield _gpus(config.cluster, found)
    yield _type(config.cluster, found)
    if _has_jobs_without_gpus(config.cluster) and config.cluster.cpu_partition:
        yield from (_cpu_partition(config.cluster, partition) for partition in found.cpu_partitions)


def _partition(config: Config, partition: Mapping[str, str], trial_hours: float, experiment_hours: float) -> Finding:
    cluster, name = config.cluster, partition["PartitionName"]
    check = f"partition {name}"
    if partition.get("State") != "UP":
        return fails(check, f"its state is {partition.get('State')}", "set another cluster.partition")
    longest = survey.longest_hours(partition)
    has_session = cluster.session_gpus or not cluster.cpu_partition
    if has_session and cluster.session_hours > longest:
        limit = f"its time limit is {longest:g} hours, cluster.session_hours {cluster.session_hours:g}"
        return fails(check, f"{limit}: such a job would wait for ever", f"set cluster.session_hours={longest:g}")
    if trial_hours > longest:
        limit = f"its time limit is {longest:g} hours, that of trials {trial_hours:g}"
        return fails(check, f"{limit}: they would wait for ever", "lower task.trial_minutes, or set another partition")
    if experiment_hours > longest:
        limit = f"its time limit is {longest:g} hours, that of experiments up to {experiment_hours:.3g}"
        return fails(check, f"{limit}: these would wait for ever", "lower agent.experiment_minutes")
    for ours, allowed in ((cluster.account, "AllowAccounts"), (cluster.qos, "AllowQos")):
        names = partition.get(allowed, "ALL").split(",")
        if ours and names != ["ALL"] and ours not in names:
            return fails(check, f"{allowed} is {','.join(names)}, without {ours}", "set another, or another partition")
    limit = "no time limit" if longest == math.inf else f"a time limit of {longest:g} hours"
    return ok(check, f"up, {limit}")


def _has_jobs_without_gpus(cluster: ClusterConfig) -> bool:
    """Relays, and the jobs of an agent that asks for no GPU."""
    return cluster.chain or not cluster.session_gpus


def _sharing(config: Config, partition: Mapping[str, str]) -> Finding:
    cluster = config.cluster
    check = f"nodes of {partition['PartitionName']}"
    whole = partition.get("OverSubscribe", "NO").startswith("EXCLUSIVE")
    if whole and not cluster.exclusive:
        found = "every job gets, and is charged for, whole nodes (OverSubscribe=EXCLUSIVE)"
        return fails(check, found, "set cluster.exclusive=true, or more is charged than was reserved")
    if whole and cluster.session_gpus not in (0, cluster.node_gpus):
        found = f"every job gets whole nodes, and cluster.session_gpus is {cluster.session_gpus}"
        return fails(check, found, f"set cluster.session_gpus={cluster.node_gpus}: that is what is charged")
    if whole and _has_jobs_without_gpus(cluster) and not cluster.cpu_partition:
        found = (
            "every job gets, and is charged for, whole nodes: also those without GPUs, which have no budget for them"
        )
        remedy = ", or cluster.chain=false" if cluster.session_gpus else ", or cluster.session_gpus"
        return fails(check, found, f"set cluster.cpu_partition to one without GPUs{remedy}")
    if whole and config.agent.experiments:
        found = "an experiment that asks for fewer GPUs is charged for whole nodes, and reserves less"
        return note(check, found, "take a partition whose nodes are shared, or agent.gpus=session")
    if not cluster.exclusive:
        return note(check, "trials share theirs (cluster.exclusive=false)", "such timings are worth less")
    return ok(check, "trials have theirs to themselves")


def _gpus(cluster: ClusterConfig, found: Survey) -> Finding:
    kinds = [kind for kind in found.kinds_for(cluster.gpu_type) if kind.gpus >= cluster.trial_gpus]
    there = "; ".join(
        f"{count} nodes with {kind.gpus} {kind.gpu_type or 'GPUs'}" for kind, count in found.nodes.items() if kind.gpus
    )
    if not kinds:
        wanted = f"none has the {cluster.trial_gpus} {cluster.gpu_type} of a trial"
        return fails("GPUs", f"{there or 'no GPUs'}: {wanted}", "set cluster.gpu_type, trial_gpus, or partition")
    if not any(kind in found.up for kind in kinds):
        return fails("GPUs", f"{there}, and all of ours are down or drained", "wait, or set another cluster.partition")
    if any(kind.all_gpus > cluster.node_gpus for kind in kinds) and cluster.exclusive:
        most = max(kind.all_gpus for kind in kinds)
        found_less = f"{there}; a node of its own is charged for {most}, cluster.node_gpus is {cluster.node_gpus}"
        return fails("GPUs", found_less, f"set cluster.node_gpus={most}, or less is reserved than charged")
    return ok("GPUs", there)


def _type(cluster: ClusterConfig, found: Survey) -> Finding:
    types = sorted({kind.gpu_type for kind in found.kinds_with("")})
    if "{type}" in cluster.gpu_request or cluster.constraint or len(types) < 2:
        return ok("GPU type", f"asked for by {cluster.gpu_request}")
    may_get = f"{cluster.gpu_request} may get any of {', '.join(types)}"
    return fails("GPU type", may_get, "put {type} into cluster.gpu_request, or set cluster.constraint")


def _cpu_partition(cluster: ClusterConfig, partition: Mapping[str, str]) -> Finding:
    check, longest = f"partition {partition['PartitionName']}", survey.longest_hours(partition)
    if cluster.session_hours > longest:
        asked = f"cluster.session_hours={cluster.session_hours:g}"
        found = f"its time limit is {longest:g} hours; jobs without GPUs ask for {asked}"
        return fails(check, found, "set another cluster.cpu_partition, fewer session_hours, or cluster.chain=false")
    return ok(check, "jobs without GPUs may run there")


# --- who we are to the accounting


def of_user(config: ClusterConfig, user: str, association: Association | None, qos: Qos | None) -> Iterator[Finding]:
    """
    Args:
        qos: the configured one, if there is one of its name.
    """
    if association is None:
        whose = f"account {config.account}" if config.account else "default account"
        look = f"sacctmgr show assoc user={user} format=cluster,account,partition,qos"
        yield fails("account", f"{user} has no {whose} on this cluster", f"set cluster.account; {look} lists yours")
        return
    yield ok("account", f"{user} of account {association.account}")
    if not config.qos:
        yield ok("QOS", "the default")
    elif qos is None:
        yield fails("QOS", f"there is no QOS {config.qos}", f"set cluster.qos to one of {_listed(association)}")
    elif config.qos not in association.qos:
        yield fails("QOS", f"{user} may not use {config.qos}", f"set cluster.qos to one of {_listed(association)}")
    else:
        limit = "no limit" if qos.gpu_minutes is None else f"a limit of {qos.gpu_minutes}"
        yield ok("QOS", f"{config.qos}, with {limit} on GPU-minutes")


def of_limits(config: ClusterConfig, found: Iterable[Limits]) -> Iterator[Finding]:
    """Whether a QOS or an association holds a job of ours back for ever: sbatch takes it all the same."""
    gpus = max(config.session_gpus, config.node_gpus if config.exclusive else config.trial_gpus)
    least = 0 if _has_jobs_without_gpus(config) else min(config.session_gpus, config.trial_gpus)
    for limits in found:
        if config.session_hours > limits.hours:
            said = f"{limits.of} lets a job run for {limits.hours:g} hours, cluster.session_hours is"
            yield fails("limits of jobs", f"{said} {config.session_hours:g}", "set that, or another cluster.qos")
        if gpus > limits.gpus:
            said = f"{limits.of} lets a job have {limits.gpus:g} GPUs, and ours have {gpus}"
            yield fails("limits of jobs", said, "set another cluster.qos or account, or ask for more")
        if least < limits.least_gpus:
            whose = "relays and agents without GPUs have none" if not least else f"ours have {least}"
            said = f"{limits.of} lets no job have fewer than {limits.least_gpus} GPUs, and {whose}"
            yield fails("limits of jobs", said, "set another cluster.qos, or cluster.chain=false with session_gpus")


def of_counts(config: Config) -> Iterator[Finding]:
    """Whether the budget holds an agent that asks for its GPUs."""
    if config.agent.experiments and "experiment" not in config.budget.counts:
        found = "experiments are not in budget.counts: no budget limits them"
        yield note("budget", found, "add experiment to budget.counts")


def _listed(association: Association) -> str:
    return ", ".join(sorted(association.qos))


# --- what a job found on its node


def of_node(config: Config, facts: NodeFacts, here: datetime) -> Iterator[Finding]:
    """
    Args:
        here: the time by our own clock when its job ended (UTC).
    """
    yield ok("a job", f"ran on {facts.node}, with {facts.python}")
    yield _shared(facts)
    yield _locks(facts)
    yield from (_container(each, facts) for each in facts.containers)
    yield from (_warning(config, each) for each in facts.agent_warnings)
    yield _scratch(config, facts)
    yield _submission(config, facts)
    if config.cluster.accounting == "sacct":
        yield _sacct(facts)
    yield _clock(facts, here)
    if config.agent.api.maker or config.judge.models:
        yield _keys(facts)
        yield _models(facts)


def _shared(facts: NodeFacts) -> Finding:
    if facts.sees_token:
        return ok("shared files", "the node sees runs as it is here, and renames files there")
    where = f"{facts.node} does not see the files that are in runs here"
    return fails("shared files", where, "set runs to a folder that all nodes share")


def _locks(facts: NodeFacts) -> Finding:
    if not facts.lock_problem:
        return ok("locks", "one that is held here binds the node too")
    remedy = "set runs to a folder whose locks bind all nodes (Lustre: -o flock; NFS: without local_lock)"
    return fails("locks", facts.lock_problem, remedy)


def _container(start: ContainerStart, facts: NodeFacts) -> Finding:
    check = f"container ({start.field})"
    if start.unpacked_in:
        how = start.problem or f"started in {start.seconds:.1f} s"
        found = f"{how}; the node cannot mount images, each start unpacks one in {start.unpacked_in}"
        remedy = "ask for squashfuse there; until then set APPTAINER_TMPDIR in cluster.setup to a large local disk"
        return (fails if start.problem else note)(check, found, remedy)
    if not start.problem:
        return ok(check, f"started in {start.seconds:.1f} s, without network")
    if facts.fuse_problem or "/dev/fuse" in start.problem:
        remedy = (
            "images are mounted by FUSE: ask for /dev/fuse to be open to users (mode 0666), or for setuid Apptainer"
        )
    elif facts.user_namespaces == 0:
        remedy = "users have no user namespaces there: ask for them, or for setuid Apptainer"
    else:
        remedy = "apptainer has to be on the PATH of jobs (cluster.modules), 1.1 or newer, and the image whole"
    return fails(check, start.problem, remedy)


def _warning(config: Config, warning: str) -> Finding:
    remedy = "set agent.model to one that this program knows, or agent.executable to a program that knows it"
    return note(f"{config.agent.kind} with {config.agent.model}", warning, remedy)


def _scratch(config: Config, facts: NodeFacts) -> Finding:
    if facts.scratch_problem:
        return fails("scratch", facts.scratch_problem, "set cluster.scratch to a folder on the nodes' own disks")
    needed = config.task.trial_gigabytes * 2**30 / 1e9
    found = f"{facts.scratch} has {facts.scratch_free_gb:.1f} GB free, /dev/shm {facts.shm_free_gb:.1f} GB"
    if facts.scratch_free_gb < needed:
        return fails("scratch", f"{found}; a trial may write {needed:.1f} GB", "set another cluster.scratch")
    if facts.shm_free_gb < _LEAST_SHM_GB:
        return note("scratch", found, "NCCL and data loaders want some room in /dev/shm")
    return ok("scratch", found)


def _submission(config: Config, facts: NodeFacts) -> Finding:
    check = "jobs from nodes"
    if not facts.sbatch_problem:
        return ok(check, "a node may queue jobs: the desk can, and relays")
    if config.retime.is_nested and not config.cluster.chain:
        return ok(check, f"not possible ({facts.sbatch_problem}), and not needed")
    remedy = "the desk queues trials from its node: without that only retime.where=allocation cluster.chain=false works"
    return fails(check, facts.sbatch_problem, remedy)


def _sacct(facts: NodeFacts) -> Finding:
    if not facts.sacct_problem:
        return ok("sacct from nodes", "answers")
    return fails("sacct from nodes", facts.sacct_problem, "the desk reads its budget there; or cluster.accounting=own")


def _clock(facts: NodeFacts, here: datetime) -> Finding:
    apart = abs((here - facts.at).total_seconds())
    found = f"the node's and ours are {apart:.0f} s apart, the job's end included"
    if apart > _MOST_SKEW_S:
        return note("clocks", found, "let the administrators know: jobs are found by name all the same")
    return ok("clocks", found)


def _keys(facts: NodeFacts) -> Finding:
    if not facts.keys_problem:
        return ok("keys on nodes", "there")
    return fails("keys on nodes", facts.keys_problem, "put key files where nodes see them; jobs inherit no variables")


def _models(facts: NodeFacts) -> Finding:
    check = "models"
    if facts.keys_problem:
        return unknown(check, "their keys have to be there first")
    if not facts.model_problem:
        return ok(check, "their services are reached from the node")
    remedy = "nodes need a way out: HTTPS_PROXY in cluster.setup, or a gateway as base_url (docs/agents.md)"
    return fails(check, facts.model_problem, remedy)


def of_gpus(config: Config, facts: NodeFacts) -> Iterator[Finding]:
    """What a trial's container sees of its allocation's GPUs."""
    if config.container.kind == "apptainer" and not config.container.gpu_devices:
        yield note(
            "GPUs inside", "container.gpu_devices=false hands none into a container", "set cluster.gpu_devices=true"
        )
        return
    names = ", ".join(sorted({f"{gpu.name} (driver {gpu.driver})" for gpu in facts.gpus}))
    found = f"{len(facts.gpus)} of {facts.gpus_asked} in a container on {facts.node}{f': {names}' if names else ''}"
    if len(facts.gpus) < facts.gpus_asked:
        yield fails("GPUs inside", found, "apptainer exec --nv needs the driver's libraries and nvidia-smi on the node")
    else:
        yield ok("GPUs inside", found)
    yield from (_container(each, facts) for each in facts.containers if each.problem)


def of_no_answer(state: str, last_words: str | None, python: str) -> Finding:
    """Of a job that ended without facts.

    Args:
        last_words: of its log; None where the node could not even write one.
        python: the interpreter that it should have started.
    """
    if last_words is None:
        found = f"it ended ({state}) and left no log"
        return fails("a job", found, "its node does not see runs: set it to a folder that all nodes share")
    if python in last_words:
        remedy = "the interpreter must be there for jobs too: put the checkout and its .venv where all nodes see them"
        return fails("a job", last_words, remedy)
    return fails(
        "a job",
        f"it ended ({state}): {last_words or 'without a word'}",
        "see its log; modules and setup come first",
    )
