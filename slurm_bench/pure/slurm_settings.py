"""What a site's slurmctld says of itself and its partitions: `scontrol show config`, `show partition`."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from slurm_bench.words.errors import SchedulerError

_TIME_LIMIT_GRANULARITY_S = 60
"""slurmctld checks time limits once a minute."""
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?")
_LINE = re.compile(r"^(\w+)(?:\[\d+\])?\s*= ?(.*?)\s*$", re.MULTILINE)
_TOLD_AT = re.compile(r"^Configuration data as of (\d+)$", re.MULTILINE)


def settings(text: str) -> dict[str, str]:
    """Settings by name, e.g. KillWait to "30 sec"."""
    return dict(_LINE.findall(text))


def told_at(text: str) -> datetime | None:
    """Return when slurmctld said this, by its own clock (UTC); None where that is not in epoch seconds."""
    found = _TOLD_AT.search(text)
    return datetime.fromtimestamp(int(found[1]), UTC) if found else None


def overrun_s(site: Mapping[str, str], of_partitions: Iterable[str] = ()) -> int:
    """Seconds that a job may outlive its time limit: KillWait, OverTimeLimit and the minute that the clock may be late.

    Args:
        of_partitions: OverTimeLimits that partitions have of their own, in minutes.

    Raises:
        SchedulerError: there is no such bound.
    """
    kill_wait = re.match(r"(\d+) sec", site.get("KillWait", ""))
    limits = [re.match(r"\d+", text) for text in (site.get("OverTimeLimit", ""), *of_partitions)]
    if not kill_wait or not all(limits):
        raise SchedulerError("scontrol show config, show partition: no KillWait, or an OverTimeLimit without end")
    over = max(int(limit[0]) for limit in limits if limit)
    return int(kill_wait[1]) + 60 * over + _TIME_LIMIT_GRANULARITY_S


def partitions(text: str, chosen: str | None) -> list[dict[str, str]]:
    """Settings of partitions in `scontrol --oneliner show partition`.

    Args:
        chosen: one, or several with commas; None is the default.
    """
    ours = (chosen or "").split(",")
    return [
        row for row in rows(text) if row.get("PartitionName") in ours or (not chosen and row.get("Default") == "YES")
    ]


def rows(text: str) -> list[dict[str, str]]:
    """What `scontrol --oneliner show` says of each thing, by name; words without a "=" are left out."""
    return [
        {name: value for name, equals, value in (word.partition("=") for word in line.split()) if equals}
        for line in text.splitlines()
    ]


def over_time_limits(text: str, partition: str | None) -> list[str]:
    """OverTimeLimits of our partitions, where they have their own."""
    limits = [row.get("OverTimeLimit", "NONE") for row in partitions(text, partition)]
    return [limit for limit in limits if limit != "NONE"]


def hours(limit: str) -> float:
    """A time limit such as 1-00:00:00; infinite for UNLIMITED, or none."""
    parts = _TIME.fullmatch(limit)
    if not parts:
        return math.inf
    days, whole_hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 24 * days + whole_hours + minutes / 60 + seconds / 3600


def tracks_gpus(site: Mapping[str, str]) -> bool:
    """Whether its accounting counts GPUs at all: without `gres/gpu` every job seems to have used none."""
    return "gres/gpu" in site.get("AccountingStorageTRES", "").split(",")


def has_database(site: Mapping[str, str]) -> bool:
    """Whether it keeps what jobs used, so that sacct can tell."""
    return site.get("AccountingStorageType", "") == "accounting_storage/slurmdbd"
