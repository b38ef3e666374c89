"""The second fence of the budget, inside Slurm: a QOS with a limit in GPU-minutes, and all that makes it hold."""

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from slurm_bench.pure import slurm_settings
from slurm_bench.words.errors import SchedulerError

QOS_FIELDS = "flags,usagefactor,grptresmins"
"""Columns for `sacctmgr --noheader --parsable2 show qos NAME format=`."""
USER_FIELDS = "defaultaccount,account,partition,qos"
"""Columns for `sacctmgr --noheader --parsable2 show user NAME cluster=NAME withassoc format=`."""

_ENFORCED = ("associations", "limits", "qos", "safe")
_LIMIT = re.compile(r"(?:^|,)gres/gpu=(\d+)")
_USED = re.compile(r"^ +GrpTRESMins=(?:.*,)?gres/gpu=\w+\((\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Guard:
    """The limit that a campaign should have, and whose jobs it is for."""

    qos: str
    gpu_minutes: int
    user: str
    account: str
    cluster: str
    """Slurm's name for it, ClusterName."""


@dataclass(frozen=True)
class Qos:
    flags: frozenset[str]
    usage_factor: float
    """What a GPU-minute counts."""
    gpu_minutes: int | None
    """Of GrpTRESMins; None is no limit."""


@dataclass(frozen=True)
class Association:
    account: str
    qos: frozenset[str]
    """Names of those that its jobs may run under."""


@dataclass(frozen=True)
class Found:
    """What a site says."""

    site: Mapping[str, str]
    """Its `slurm_settings.settings`."""
    qos: Qos | None
    used_gpu_minutes: int | None
    """Of the QOS's limit; None where Slurm does not tell."""
    association: Association | None
    before: frozenset[str] = frozenset()
    """QOS of our partitions with a limit of their own on GPU-minutes: Slurm looks at that one only."""


class Point(NamedTuple):
    holds: bool
    text: str
    """What there is."""
    remedy: str
    """What to do if it does not hold, and why."""


def gpu_minutes(h100_hours: float, weight: float) -> int:
    """GPU-minutes, rounded up, of H100-hours on a GPU type that counts `weight` H100s."""
    # 0.6 hours are 36 minutes, whatever floating point makes of them.
    return math.ceil(round(h100_hours / weight * 60, 6))


def commands(guard: Guard) -> list[str]:
    """What an administrator runs, as shell lines; a second time with another limit changes it."""
    return [
        _sacctmgr("add", "qos", guard.qos),
        _change(guard, "Flags+=NoDecay", _limit(guard)),
        _allow(guard),
    ]


def points(guard: Guard, found: Found, configured: str | None) -> list[Point]:
    """All that has to hold for the limit to bite; of a QOS that does not exist, only that.

    Args:
        configured: `cluster.qos`.
    """
    return [*_of_site(found.site), *_of_qos(guard, found), _of_user(guard, found), _of_config(guard, configured)]


def _of_site(site: Mapping[str, str]) -> Iterator[Point]:
    enforced = site.get("AccountingStorageEnforce", "none")
    yield Point(
        set(_ENFORCED) <= set(enforced.split(",")),
        f"AccountingStorageEnforce is {enforced}",
        f"slurm.conf needs {','.join(_ENFORCED)}: three limit, and without safe jobs are killed in mid-run",
    )
    priority = site.get("PriorityType", "unknown")
    yield Point(
        priority == "priority/multifactor",
        f"PriorityType is {priority}",
        "slurm.conf needs priority/multifactor: no other adds usage up",
    )
    tracked = slurm_settings.tracks_gpus(site)
    yield Point(
        tracked,
        f"AccountingStorageTRES {'has' if tracked else 'lacks'} gres/gpu",
        "slurm.conf needs AccountingStorageTRES=gres/gpu: else no GPU is counted",
    )
    reset = site.get("PriorityUsageResetPeriod", "unknown")
    yield Point(
        reset == "NONE",
        f"PriorityUsageResetPeriod is {reset}",
        "slurm.conf needs NONE: a reset forgets a QOS's usage, with NoDecay too (seen in 22.05)",
    )


def _of_qos(guard: Guard, found: Found) -> Iterator[Point]:
    qos = found.qos
    yield Point(
        qos is not None,
        f"QOS {guard.qos} {'exists' if qos else 'does not exist'}",
        "an administrator runs what command=budget guard=show prints",
    )
    if qos is None:
        return
    limit = f"{_said(qos.gpu_minutes)}{_spent(found.used_gpu_minutes)}"
    half_life = found.site.get("PriorityDecayHalfLife", "unknown")
    yield Point(
        "NoDecay" in qos.flags,
        f"the QOS's flags are {','.join(sorted(qos.flags)) or 'none'}",
        f"{_change(guard, 'Flags+=NoDecay')}: else usage fades by PriorityDecayHalfLife (now {half_life})",
    )
    yield Point(
        qos.usage_factor >= 1,
        f"the QOS's UsageFactor is {qos.usage_factor:g}",
        f"{_change(guard, 'UsageFactor=1')}: else a GPU-minute counts as that many",
    )
    yield Point(
        qos.gpu_minutes is not None and qos.gpu_minutes <= guard.gpu_minutes,
        f"the QOS's limit is {limit}, the campaign's {guard.gpu_minutes}",
        _change(guard, _limit(guard)),
    )
    before = "" if "OverPartQOS" in qos.flags else ",".join(sorted(found.before))
    yield Point(
        not before,
        f"the partition's own QOS sets {f'another limit ({before})' if before else 'no other limit'}",
        f"{_change(guard, 'Flags+=OverPartQOS')}: else Slurm looks at that limit only",
    )


def _of_user(guard: Guard, found: Found) -> Point:
    who = f"user {guard.user} of account {guard.account}"
    if found.association is None:
        return Point(False, f"{who} has no association on cluster {guard.cluster}", "set cluster.account")
    may = guard.qos in found.association.qos
    return Point(may, f"{who} {'may' if may else 'may not'} use it", _allow(guard))


def _of_config(guard: Guard, configured: str | None) -> Point:
    return Point(
        configured is not None,
        f"cluster.qos is {configured or 'null'}",
        f"set cluster.qos={guard.qos}: else jobs run under another",
    )


def _sacctmgr(*words: str) -> str:
    # -i: administrators who paste it are not asked again.
    return shlex.join(("sacctmgr", "-i", *words))


def _change(guard: Guard, *settings: str) -> str:
    return _sacctmgr("modify", "qos", "where", f"name={guard.qos}", "set", *settings)


def _limit(guard: Guard) -> str:
    return f"GrpTRESMins=gres/gpu={guard.gpu_minutes}"


def _allow(guard: Guard) -> str:
    whose = (f"name={guard.user}", f"cluster={guard.cluster}", f"account={guard.account}")
    return _sacctmgr("modify", "user", "where", *whose, "set", f"qos+={guard.qos}")


def _said(minutes: int | None) -> str:
    return "missing" if minutes is None else f"{minutes} GPU-minutes"


def _spent(minutes: int | None) -> str:
    return "" if minutes is None else f" ({minutes} used)"


def qos(text: str) -> Qos | None:
    """A QOS as `sacctmgr show qos` prints it by QOS_FIELDS; None for no row.

    Raises:
        SchedulerError: it printed something else.
    """
    if not text.strip():
        return None
    try:
        flags, factor, limits = text.splitlines()[0].split("|")
        limit = _LIMIT.search(limits)
        return Qos(frozenset(flags.split(",")) - {""}, float(factor), int(limit[1]) if limit else None)
    except ValueError:
        raise SchedulerError(f"sacctmgr printed other columns than asked for: {text.strip()!r}") from None


def partitions_qos(text: str, partition: str | None) -> set[str]:
    """Names of the QOS that our partitions have of their own, in `scontrol --oneliner show partition`."""
    return {row.get("QoS", "N/A") for row in slurm_settings.partitions(text, partition)} - {"N/A"}


def association(text: str, account: str | None, partition: str | None) -> Association | None:
    """The one that a user's jobs run by, in what `sacctmgr show user … withassoc` prints by USER_FIELDS.

    Args:
        account: None is the user's default.
        partition: an association with it goes before one with none.

    Raises:
        SchedulerError: it printed something else.
    """
    try:
        ours = [
            (where, Association(name, frozenset(names.split(","))))
            for default, name, where, names in (line.split("|") for line in text.splitlines())
            if name == (account or default).lower() and where in ("", (partition or "").lower())
        ]
    except ValueError:
        raise SchedulerError(f"sacctmgr printed other columns than asked for: {text.strip()!r}") from None
    return max(ours, key=lambda each: each[0], default=("", None))[1]


def used_gpu_minutes(text: str) -> int | None:
    """Whole GPU-minutes that slurmctld has counted, from `scontrol show assoc_mgr flags=qos`; None if it is silent."""
    used = _USED.search(text)
    return int(used[1]) if used else None
