"""The limit inside Slurm: what an administrator runs for it, and all that has to hold."""

import shlex
from dataclasses import replace

import pytest

from slurm_bench.pure import guard
from slurm_bench.pure.guard import Association, Found, Guard, Qos
from slurm_bench.words.errors import SchedulerError

WANTED = Guard(qos="slurm_bench-paper", gpu_minutes=30720, user="ada", account="lab", cluster="dev")
SITE = {
    "AccountingStorageEnforce": "associations,limits,qos,safe",
    "AccountingStorageTRES": "cpu,mem,gres/gpu,gres/gpu:h100",
    "PriorityDecayHalfLife": "7-00:00:00",
    "PriorityType": "priority/multifactor",
    "PriorityUsageResetPeriod": "NONE",
}
QOS = Qos(frozenset({"NoDecay"}), usage_factor=1.0, gpu_minutes=30720)
FOUND = Found(SITE, QOS, 12, Association("lab", frozenset({"normal", "slurm_bench-paper"})))
MODIFY = "sacctmgr -i modify qos where name=slurm_bench-paper set"


def failing(found: Found, configured: str | None = "slurm_bench-paper") -> list[tuple[str, str]]:
    points = guard.points(WANTED, found, configured)
    return [(point.text, point.remedy) for point in points if not point.holds]


def with_site(**changes: str) -> Found:
    return replace(FOUND, site={**SITE, **changes})


def with_qos(**changes: object) -> Found:
    return replace(FOUND, qos=replace(QOS, **changes))  # type: ignore[arg-type]


def test_all_holds() -> None:
    assert failing(FOUND) == []
    said = [point.text for point in guard.points(WANTED, FOUND, "slurm_bench-paper")]
    assert "the QOS's limit is 30720 GPU-minutes (12 used), the campaign's 30720" in said
    assert failing(with_qos(gpu_minutes=100)) == [], "a lower limit is a limit"
    assert failing(with_qos(flags=frozenset({"NoDecay", "DenyOnLimit"}))) == []
    over = replace(QOS, flags=frozenset({"NoDecay", "OverPartQOS"}))
    assert failing(replace(FOUND, before=frozenset({"partq"}), qos=over)) == []
    assert failing(replace(FOUND, used_gpu_minutes=None)) == [], "a site need not tell what is used"


@pytest.mark.parametrize(
    ("found", "text", "remedy"),
    [
        (with_site(AccountingStorageEnforce="associations,limits,qos"), "is associations,limits,qos", "killed in mid-"),
        (with_site(AccountingStorageEnforce="none"), "is none", "needs associations,limits,qos,safe"),
        (with_site(PriorityType="priority/basic"), "is priority/basic", "needs priority/multifactor"),
        (with_site(AccountingStorageTRES="cpu,gres/gpu:h100"), "lacks gres/gpu", "AccountingStorageTRES=gres/gpu"),
        (with_site(PriorityUsageResetPeriod="YEARLY"), "is YEARLY", "needs NONE"),
        (replace(FOUND, qos=None), "QOS slurm_bench-paper does not exist", "guard=show"),
        (with_qos(flags=frozenset()), "the QOS's flags are none", f"{MODIFY} Flags+=NoDecay: else usage fades by Prio"),
        (with_qos(usage_factor=0.0), "the QOS's UsageFactor is 0", f"{MODIFY} UsageFactor=1"),
        (with_qos(gpu_minutes=None), "the QOS's limit is missing", f"{MODIFY} GrpTRESMins=gres/gpu=30720"),
        (with_qos(gpu_minutes=30721), "is 30721 GPU-minutes (12 used)", f"{MODIFY} GrpTRESMins=gres/gpu=30720"),
        (
            replace(FOUND, before=frozenset({"partq"})),
            "another limit (partq)",
            f"{MODIFY} Flags+=OverPartQOS",
        ),
        (
            replace(FOUND, association=Association("lab", frozenset({"normal"}))),
            "user ada of account lab may not use it",
            "sacctmgr -i modify user where name=ada cluster=dev account=lab set qos+=slurm_bench-paper",
        ),
        (replace(FOUND, association=None), "has no association on cluster dev", "cluster.account"),
    ],
)
def test_each_point_fails_by_itself_and_says_its_remedy(found: Found, text: str, remedy: str) -> None:
    ((said, to_do),) = failing(found)
    assert text in said and remedy in to_do
    assert len(f"slurm_bench: {said}: {to_do}".splitlines()) == 1


def test_jobs_must_name_it() -> None:
    assert failing(FOUND, None) == [
        ("cluster.qos is null", "set cluster.qos=slurm_bench-paper: else jobs run under another")
    ]


def test_the_commands() -> None:
    assert guard.commands(WANTED) == [
        "sacctmgr -i add qos slurm_bench-paper",
        f"{MODIFY} Flags+=NoDecay GrpTRESMins=gres/gpu=30720",
        "sacctmgr -i modify user where name=ada cluster=dev account=lab set qos+=slurm_bench-paper",
    ]
    (line, *_) = guard.commands(replace(WANTED, qos="a; rm -rf b"))
    assert shlex.split(line)[-1] == "a; rm -rf b"


@pytest.mark.parametrize(
    ("hours", "weight", "minutes"), [(512, 1, 30720), (6 * 0.1, 1, 36), (1, 2, 30), (0.001, 1, 1), (0.1, 0.7, 9)]
)
def test_gpu_minutes_are_rounded_up(hours: float, weight: float, minutes: int) -> None:
    assert guard.gpu_minutes(hours, weight) == minutes


def test_a_qos_as_sacctmgr_prints_it() -> None:
    assert guard.qos("DenyOnLimit,NoDecay|1.000000|cpu=5,gres/gpu=16\n") == Qos(
        frozenset({"DenyOnLimit", "NoDecay"}), 1.0, 16
    )
    assert guard.qos("|1.000000|\n") == Qos(frozenset(), 1.0, None)
    assert guard.qos("|1.000000|gres/gpu:h100=16\n") == Qos(frozenset(), 1.0, None), "that limit is of another resource"
    assert guard.qos("") is None
    with pytest.raises(SchedulerError, match="other columns"):
        guard.qos("NoDecay|gres/gpu=16\n")


ROWS = "lab|lab||normal,x\nlab|lab|debug|y\nlab|root||normal\n"


@pytest.mark.parametrize(
    ("account", "partition", "expected"),
    [
        (None, None, Association("lab", frozenset({"normal", "x"}))),
        ("LAB", "gpu", Association("lab", frozenset({"normal", "x"}))),
        ("lab", "debug", Association("lab", frozenset({"y"}))),
        ("root", "debug", Association("root", frozenset({"normal"}))),
        ("other", None, None),
    ],
)
def test_the_association_of_a_users_jobs(account: str | None, partition: str | None, expected: Association) -> None:
    assert guard.association(ROWS, account, partition) == expected


def test_no_association_at_all() -> None:
    assert guard.association("", None, None) is None
    with pytest.raises(SchedulerError, match="other columns"):
        guard.association("lab|lab|normal\n", None, None)


# `scontrol --oneliner show partition`, shortened
PARTITIONS = """\
PartitionName=gpu AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A DefaultTime=NONE
PartitionName=long AllowQos=ALL AllocNodes=ALL Default=NO QoS=partq DefaultTime=NONE
"""


@pytest.mark.parametrize(
    ("partition", "names"), [(None, set()), ("gpu", set()), ("long", {"partq"}), ("gpu,long", {"partq"})]
)
def test_the_qos_of_partitions(partition: str | None, names: set[str]) -> None:
    assert guard.partitions_qos(PARTITIONS, partition) == names
    assert guard.partitions_qos(PARTITIONS.replace("Default=YES QoS=N/A", "Default=YES QoS=q"), None) == {"q"}


# `scontrol show assoc_mgr flags=qos`, shortened
ASSOC_MGR = """\
QOS=slurm_bench-x(2)
    UsageRaw=8.000000
    GrpTRES=cpu=N(2),gres/gpu=N(4),gres/gpu:h100=N(4)
    GrpTRESMins=cpu=N(3),gres/gpu=6(5),gres/gpu:h100=N(9)
    GrpTRESRunMins=cpu=N(2),gres/gpu=N(4),gres/gpu:h100=N(4)
"""


def test_what_is_used() -> None:
    assert guard.used_gpu_minutes(ASSOC_MGR) == 5
    assert guard.used_gpu_minutes(ASSOC_MGR.replace("gres/gpu=6(5)", "gres/gpu=N(5)")) == 5
    assert guard.used_gpu_minutes("No QOS currently cached in Slurm.\n") is None
