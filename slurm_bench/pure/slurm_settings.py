"""What a site's slurmctld says of itself, `scontrol show config`."""

import re
from collections.abc import Mapping

from slurm_bench.words.errors import SchedulerError

_TIME_LIMIT_GRANULARITY_S = 60
"""slurmctld checks time limits once a minute."""
_LINE = re.compile(r"^(\w+)\s*= ?(.*?)\s*$", re.MULTILINE)


def settings(text: str) -> dict[str, str]:
    """Settings by name, e.g. KillWait to "30 sec"."""
    return dict(_LINE.findall(text))


def overrun_s(site: Mapping[str, str]) -> int:
    """Seconds that a job may outlive its time limit: KillWait, OverTimeLimit and the minute that the clock may be late.

    Raises:
        SchedulerError: there is no such bound.
    """
    kill_wait = re.match(r"(\d+) sec", site.get("KillWait", ""))
    over = re.match(r"\d+", site.get("OverTimeLimit", ""))
    if not kill_wait or not over:
        raise SchedulerError("scontrol show config: no KillWait, or an OverTimeLimit without end")
    return int(kill_wait[1]) + 60 * int(over[0]) + _TIME_LIMIT_GRANULARITY_S


def tracks_gpus(site: Mapping[str, str]) -> bool:
    """Whether its accounting counts GPUs at all: without `gres/gpu` every job seems to have used none."""
    return "gres/gpu" in site.get("AccountingStorageTRES", "").split(",")


def has_database(site: Mapping[str, str]) -> bool:
    """Whether it keeps what jobs used, so that sacct can tell."""
    return site.get("AccountingStorageType", "") == "accounting_storage/slurmdbd"
