"""What a cluster says of its partitions and nodes, and what a configuration that leaves fields open takes from it."""

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from slurm_bench.pure import slurm_settings
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import UsageError

TYPED_REQUEST, PLAIN_REQUEST = "gres=gpu:{type}:{count}", "gres=gpu:{count}"
LONGEST_HOURS = 24.0
"""Of a session's job where its partition sets no limit."""

_GPUS = re.compile(r"(?:^|,)gpu(?::(?!no_consume:)([\w.-]*[a-zA-Z][\w.-]*))?(?::no_consume)?:(\d+)")
_AWAY = re.compile(r"DOWN|DRAIN|FAIL|FUTURE|POWERED_DOWN|UNKNOWN")


@dataclass(frozen=True)
class NodeKind:
    """Nodes that are alike."""

    gpu_type: str
    """Empty where the site names none, or the node has no GPU."""
    gpus: int
    """Of this type."""
    all_gpus: int
    """Of every type: what a job that has the node to itself is charged for."""
    cores: int
    """That jobs may use."""


@dataclass(frozen=True)
class Survey:
    """Of the partitions that jobs with GPUs go to, and of those without."""

    partitions: Sequence[Mapping[str, str]]
    cpu_partitions: Sequence[Mapping[str, str]]
    nodes: Mapping[NodeKind, int]
    """Nodes of the former, by their kind."""
    up: Mapping[NodeKind, int]
    """Those of them that are neither down nor drained."""

    @property
    def names(self) -> str:
        return ",".join(each["PartitionName"] for each in self.partitions)

    def kinds_with(self, gpu_type: str) -> list[NodeKind]:
        """Kinds of nodes with GPUs of a type, or of any where none is given."""
        return [kind for kind in self.nodes if kind.gpus and gpu_type in ("", kind.gpu_type)]

    def kinds_for(self, gpu_type: str) -> list[NodeKind]:
        """Those that serve a type; one that no node names is the person's own word for GPUs that have no name."""
        return self.kinds_with(gpu_type) or [kind for kind in self.kinds_with("") if not kind.gpu_type]


class Guess(NamedTuple):
    field: str
    value: object
    because: str


def survey(config: ClusterConfig, partitions: str, nodes: str) -> Survey:
    """
    Args:
        partitions, nodes: `scontrol --oneliner show partition`, and `show node`.

    Raises:
        UsageError: there is no partition of the configured name, or no default one.
    """
    ours = slurm_settings.partitions(partitions, config.partition)
    if not ours:
        wanted = f"no partition {config.partition}" if config.partition else "no default partition, name one"
        raise UsageError(f"cluster.partition: {wanted}; there are {', '.join(_names(partitions))}")
    cpu = slurm_settings.partitions(partitions, config.cpu_partition) if config.cpu_partition else ours
    if not cpu:
        there = ", ".join(_names(partitions))
        raise UsageError(f"cluster.cpu_partition: no partition {config.cpu_partition}; there are {there}")
    rows = _rows_of(nodes, {each["PartitionName"] for each in ours})
    up = [row for row in rows if not _AWAY.search(row.get("State", ""))]
    return Survey(ours, cpu, _by_kind(rows), _by_kind(up))


def _names(partitions: str) -> list[str]:
    return sorted(row["PartitionName"] for row in slurm_settings.rows(partitions) if "PartitionName" in row)


def _rows_of(text: str, partitions: set[str]) -> list[dict[str, str]]:
    """Nodes of any of these partitions."""
    return [row for row in slurm_settings.rows(text) if partitions & set(row.get("Partitions", "").split(","))]


def _by_kind(rows: Iterable[Mapping[str, str]]) -> dict[NodeKind, int]:
    return dict(Counter(kind for row in rows for kind in _kinds_of(row)))


def _kinds_of(row: Mapping[str, str]) -> list[NodeKind]:
    """One, or where a node has GPUs of several types one for each."""
    cores = int(row.get("CPUEfctv") or row.get("CPUTot", "0"))  # the former without those that the system keeps
    gres = re.sub(r"\([^)]*\)", "", row.get("Gres", ""))  # which sockets they hang on
    found = [(name or "", int(count)) for name, count in _GPUS.findall(gres)] or [("", 0)]
    return [NodeKind(name, count, sum(each for _, each in found), cores) for name, count in found]


def guesses(config: ClusterConfig, found: Survey) -> list[Guess]:
    """A value for each field that the configuration leaves open, and why.

    Raises:
        UsageError: more than one value would do; names the field and them.
    """
    guessed: list[Guess] = []
    if not config.gpu_type:
        guessed.append(Guess("gpu_type", _gpu_type(found), f"the GPUs of partition {found.names}"))
        config = with_guesses(config, guessed)
    kinds = found.kinds_for(config.gpu_type)
    if not kinds:
        raise UsageError(f"cluster.gpu_type: no {config.gpu_type} in partition {found.names}; {_what_there_is(found)}")
    if not config.node_gpus:
        most = max(kind.all_gpus for kind in kinds)
        guessed.append(Guess("node_gpus", most, "the most that a node has"))
    if not config.gpu_cores:
        cores = min(min(kind.cores, _most_cores(found)) // kind.all_gpus for kind in kinds)
        guessed.append(Guess("gpu_cores", max(1, cores), "a node's cores for each of its GPUs"))
    if not config.gpu_request:
        typed = any(kind.gpu_type for kind in kinds)
        because = "its nodes name the type" if typed else "its nodes name no type"
        guessed.append(Guess("gpu_request", TYPED_REQUEST if typed else PLAIN_REQUEST, because))
    if not config.session_hours:
        guessed.append(_session_hours(found))
    return guessed


def with_guesses(config: ClusterConfig, guessed: Iterable[Guess]) -> ClusterConfig:
    """
    Raises:
        UsageError: what is configured does not go with what was found.
    """
    # A plain mapping, since the fields are of many types.
    changes: dict[str, object] = {guess.field: guess.value for guess in guessed}
    return replace(config, **changes)  # type: ignore[arg-type]


def _gpu_type(found: Survey) -> str:
    types = sorted({kind.gpu_type for kind in found.kinds_with("")})
    if not types:
        raise UsageError(f"cluster.partition: no node of {found.names} has GPUs (Gres=gpu)")
    if types == [""]:
        raise UsageError(f"cluster.gpu_type must be given: the nodes of {found.names} have GPUs, and name no type")
    if len(types) > 1:
        raise UsageError(f"cluster.gpu_type must be given: {_what_there_is(found)}")
    return types[0]


def _what_there_is(found: Survey) -> str:
    kinds = sorted(found.nodes.items(), key=lambda each: each[0].gpu_type)
    nodes = [
        f"{count} node{'s' if count > 1 else ''} with {kind.gpus} {kind.gpu_type or 'GPUs'}"
        for kind, count in kinds
        if kind.gpus
    ]
    return f"{found.names} has {', '.join(nodes) or 'no GPUs'}"


def _most_cores(found: Survey) -> int:
    """That a job may have on a node, by its partition."""
    limits = [each.get("MaxCPUsPerNode", "") for each in found.partitions]
    return min((int(limit) for limit in limits if limit.isdecimal()), default=sys.maxsize)


def _session_hours(found: Survey) -> Guess:
    longest = min(longest_hours(each) for each in (*found.partitions, *found.cpu_partitions))
    if longest == math.inf:
        return Guess("session_hours", LONGEST_HOURS, "the partition sets no limit")
    return Guess("session_hours", math.floor(60 * longest) / 60, "the partition's time limit, in whole minutes")


def longest_hours(partition: Mapping[str, str]) -> float:
    """MaxTime of a partition, in hours; infinite if it has none."""
    return slurm_settings.hours(partition.get("MaxTime", ""))
