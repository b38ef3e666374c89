"""Limits of single jobs that a QOS or an association sets: what exceeds them is queued, and never starts."""

import math
import re
from dataclasses import dataclass

from slurm_bench.pure import slurm_settings
from slurm_bench.words.errors import SchedulerError

QOS_FIELDS = "name,maxwall,maxtresperjob,mintresperjob"
"""Columns for `sacctmgr --noheader --parsable2 show qos NAMES format=`."""
USER_FIELDS = "defaultaccount,account,partition,defaultqos,maxwall,maxtresperjob"
"""Columns for `sacctmgr --noheader --parsable2 show user NAME cluster=NAME withassoc format=`."""

_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")


@dataclass(frozen=True)
class Limits:
    of: str
    hours: float
    gpus: float
    """Infinite where there is none, as hours."""
    least_gpus: int = 0


def of_qos(text: str) -> list[Limits]:
    """
    Raises:
        SchedulerError: sacctmgr printed other columns than QOS_FIELDS.
    """
    return [_limits(f"QOS {name}", wall, most, least) for name, wall, most, least in _rows(text, 4)]


def of_user(text: str, account: str, partition: str) -> tuple[list[Limits], str]:
    """Those of the associations that jobs of an account may run by, and the QOS that these name; empty if none does.

    Raises:
        SchedulerError: sacctmgr printed other columns than USER_FIELDS.
    """
    ours = [row for row in _rows(text, 6) if row[1] == account.lower() and row[2] in ("", partition.lower())]
    named = [qos for _, _, _, qos, _, _ in sorted(ours, key=lambda row: row[2]) if qos]
    return [_limits(f"account {row[1]}", row[4], row[5]) for row in ours], named[-1] if named else ""


def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [line.split("|") for line in text.splitlines()]
    if any(len(row) != columns for row in rows):
        raise SchedulerError(f"sacctmgr printed other columns than asked for: {text.strip()!r}")
    return rows


def _limits(of: str, wall: str, most: str, least: str = "") -> Limits:
    most_gpus, least_gpus = _GPUS.search(most), _GPUS.search(least)
    return Limits(
        of,
        slurm_settings.hours(wall),
        int(most_gpus[1]) if most_gpus else math.inf,
        int(least_gpus[1]) if least_gpus else 0,
    )
