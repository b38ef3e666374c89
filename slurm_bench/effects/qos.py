"""What Slurm says of a QOS and of who may use it. Questions only: nothing here changes a cluster."""

import os
import pwd
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from slurm_bench.effects import slurm_commands
from slurm_bench.pure import guard, limits, slurm_settings
from slurm_bench.pure.limits import Limits
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import SchedulerError, UsageError

_FALLBACK_QOS = "normal"
"""Slurm's own, where neither the job nor its association names one."""


def me() -> str:
    """The user whose jobs these are: not by LOGNAME, which need not be true.

    Raises:
        UsageError: this machine does not know the name.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise UsageError(f"nobody knows the name of user {os.getuid()} here: ask where `id` prints it") from None


def site(named: Mapping[str, str]) -> dict[str, str]:
    """The site's settings, slurmctld's own word.

    Args:
        named: the cluster's `slurm_commands.environment`, here and below.

    Raises:
        SchedulerError: no answer, here and below.
    """
    return slurm_settings.settings(slurm_commands.ask(named, "scontrol", "show", "config"))


def skew(named: Mapping[str, str]) -> timedelta | None:
    """By how much slurmctld's clock is ahead of ours at least, below 0 behind; None where it does not say."""
    before = datetime.now(UTC)
    told = slurm_settings.told_at(slurm_commands.ask(named, "scontrol", "show", "config"))
    if told is None:
        return None
    after = datetime.now(UTC)
    # It tells whole seconds, of some time between our two.
    return max(told - after, timedelta()) + min(told + timedelta(seconds=1) - before, timedelta())


def default_wckey(named: Mapping[str, str], cluster: str) -> str:
    """What this user's jobs are written down under where they name nothing; empty if nothing."""
    return _accounting(named, "user", me(), f"cluster={cluster}", "format=defaultwckey").strip()


def find(named: Mapping[str, str], name: str) -> guard.Qos | None:
    return guard.qos(_accounting(named, "qos", name, f"format={guard.QOS_FIELDS}"))


def before(named: Mapping[str, str], partition: str | None) -> frozenset[str]:
    """QOS of the partition's own with a limit on GPU-minutes."""
    names = guard.partitions_qos(slurm_commands.ask(named, *slurm_commands.SHOW_PARTITIONS), partition)
    found = {name: find(named, name) for name in names}
    return frozenset(name for name, each in found.items() if each and each.gpu_minutes is not None)


def association(
    named: Mapping[str, str], cluster: str, account: str | None, partition: str | None
) -> guard.Association | None:
    """The one that our jobs run by; None if there is none."""
    rows = _accounting(named, "user", me(), f"cluster={cluster}", "withassoc", f"format={guard.USER_FIELDS}")
    return guard.association(rows, account, partition)


def limits_of_jobs(
    named: Mapping[str, str], config: ClusterConfig, cluster: str, account: str, partition: str
) -> list[Limits]:
    """What any QOS or association that our jobs run by lets a single job have.

    Args:
        account, partition: that they run by, of this user on the cluster of this name.
    """
    rows = _accounting(named, "user", me(), f"cluster={cluster}", "withassoc", f"format={limits.USER_FIELDS}")
    found, default = limits.of_user(rows, account, partition)
    ours = {config.qos or default or _FALLBACK_QOS}
    ours |= guard.partitions_qos(slurm_commands.ask(named, *slurm_commands.SHOW_PARTITIONS), config.partition)
    listed = _accounting(named, "qos", ",".join(sorted(ours)), f"format={limits.QOS_FIELDS}")
    return [*found, *limits.of_qos(listed)]


def used_gpu_minutes(named: Mapping[str, str], name: str) -> int | None:
    """What is used of its limit; None where the site does not tell users."""
    try:
        return guard.used_gpu_minutes(
            slurm_commands.ask(named, "scontrol", "show", "assoc_mgr", "flags=qos", f"qos={name}")
        )
    except SchedulerError:
        return None


def _accounting(named: Mapping[str, str], *question: str) -> str:
    return slurm_commands.ask(named, "sacctmgr", "--noheader", "--parsable2", "show", *question)
