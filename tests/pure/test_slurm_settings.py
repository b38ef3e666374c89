"""`scontrol show config` as Slurm 22.05 prints it."""

import pytest

from slurm_bench.pure import slurm_settings
from slurm_bench.words.errors import SchedulerError

PRINTED = """\
Configuration data as of 2026-11-25T09:28:00
AccountingStorageTRES   = cpu,mem,energy,node,billing,fs/disk,vmem,pages,gres/gpu,gres/gpu:h100
AccountingStorageUser   = N/A
KillWait                = 30 sec
OverTimeLimit           = 2 min
PriorityFlags           =
SlurmctldHost[0]        = login(127.0.0.1)

Slurmctld(primary) at login is UP
"""


def test_settings_by_name() -> None:
    site = slurm_settings.settings(PRINTED)
    assert site["KillWait"] == "30 sec"
    assert site["PriorityFlags"] == ""
    assert site["AccountingStorageUser"] == "N/A"


def test_the_worst_overrun_is_kill_wait_and_over_time_and_a_minute() -> None:
    assert slurm_settings.overrun_s(slurm_settings.settings(PRINTED)) == 30 + 120 + 60


@pytest.mark.parametrize("limit", ["UNLIMITED", ""])
def test_an_overrun_without_end_is_refused(limit: str) -> None:
    with pytest.raises(SchedulerError, match="without end"):
        slurm_settings.overrun_s({"KillWait": "30 sec", "OverTimeLimit": limit})


def test_a_site_that_does_not_count_gpus() -> None:
    assert slurm_settings.tracks_gpus(slurm_settings.settings(PRINTED))
    assert not slurm_settings.tracks_gpus({"AccountingStorageTRES": "cpu,mem,gres/gpu:h100"})
    assert not slurm_settings.tracks_gpus({})


def test_a_site_without_a_database() -> None:
    assert slurm_settings.has_database({"AccountingStorageType": "accounting_storage/slurmdbd"})
    assert not slurm_settings.has_database({"AccountingStorageType": "accounting_storage/none"})
    assert not slurm_settings.has_database({})


PARTITIONS = """\
PartitionName=gpu AllowGroups=ALL Default=YES OverTimeLimit=NONE OverSubscribe=NO State=UP
PartitionName=long AllowGroups=ALL Default=NO OverTimeLimit=10 State=UP
PartitionName=free AllowGroups=ALL Default=NO OverTimeLimit=UNLIMITED State=UP
"""


def test_a_partition_may_let_jobs_run_over_for_longer() -> None:
    site = slurm_settings.settings(PRINTED)
    assert slurm_settings.over_time_limits(PARTITIONS, None) == []
    limits = slurm_settings.over_time_limits(PARTITIONS, "gpu,long")
    assert slurm_settings.overrun_s(site, limits) == 30 + 600 + 60
    with pytest.raises(SchedulerError, match="without end"):
        slurm_settings.overrun_s(site, slurm_settings.over_time_limits(PARTITIONS, "free"))
