"""What is taken from `scontrol --oneliner show partition` and `show node`."""

import pytest
from omegaconf import OmegaConf

from slurm_bench.pure import survey
from slurm_bench.pure.survey import NodeKind
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import UsageError
from tests.conftest import section

PARTITIONS = """\
PartitionName=gpu Default=YES AllowAccounts=ALL MaxTime=2-12:30:00 Nodes=g[1-3] State=UP
PartitionName=mixed Default=NO AllowAccounts=ALL MaxTime=UNLIMITED Nodes=g[1-3],m1 State=UP
PartitionName=plain Default=NO AllowAccounts=ALL MaxTime=04:00:00 Nodes=p1 State=UP
PartitionName=cpu Default=NO AllowAccounts=ALL MaxTime=12:00:00 Nodes=c1 State=UP
"""
NODES = """\
NodeName=g1 CPUEfctv=94 CPUTot=96 Gres=gpu:h100:8(S:0-1) OS=Linux 6.1 #1 SMP State=IDLE Partitions=gpu,mixed
NodeName=g2 CPUEfctv=94 CPUTot=96 State=IDLE+DRAIN Gres=gpu:h100:8(S:0-1),shard:h100:64(S:0-1) Partitions=gpu,mixed
NodeName=g3 CPUTot=64 Gres=gpu:h100:4(S:0) Partitions=gpu,mixed
NodeName=m1 CPUTot=128 Gres=gpu:nvidia_a100-sxm4-80gb:4(S:0-3),gpu:1g.10gb:7 Partitions=mixed
NodeName=p1 CPUTot=32 Gres=gpu:4 Partitions=plain
NodeName=c1 CPUTot=32 Gres=(null) Partitions=cpu
"""


def guesses(**given: object) -> dict[str, object]:
    config = cluster(**given)
    return {each.field: each.value for each in survey.guesses(config, survey.survey(config, PARTITIONS, NODES))}


def cluster(**given: object) -> ClusterConfig:
    written = OmegaConf.merge(OmegaConf.structured(ClusterConfig), section("cluster/slurm"), {"shared_poll": ""}, given)
    made = OmegaConf.to_object(written)
    assert isinstance(made, ClusterConfig)
    return made


def test_nodes_by_kind() -> None:
    found = survey.survey(cluster(partition="mixed"), PARTITIONS, NODES)
    assert found.nodes == {
        NodeKind("h100", 8, 8, 94): 2,
        NodeKind("h100", 4, 4, 64): 1,
        NodeKind("nvidia_a100-sxm4-80gb", 4, 11, 128): 1,
        NodeKind("1g.10gb", 7, 11, 128): 1,
    }
    assert found.up == {NodeKind("h100", 8, 8, 94): 1, **{kind: 1 for kind in found.nodes if kind.cores != 94}}
    assert survey.survey(cluster(partition="cpu"), PARTITIONS, NODES).nodes == {NodeKind("", 0, 0, 32): 1}


def test_a_node_of_two_types_is_charged_for_both() -> None:
    """Seen: an exclusive job for the four GPUs of one type was charged eight."""
    two = "NodeName=t1 CPUTot=96 Gres=gpu:h100:4(S:0),gpu:a100:4(S:1) Partitions=gpu\n"
    config = cluster(gpu_type="h100", trial_gpus=4, session_gpus=4)
    found = {each.field: each.value for each in survey.guesses(config, survey.survey(config, PARTITIONS, two))}
    assert (found["node_gpus"], found["gpu_cores"]) == (8, 12)


def test_cores_that_jobs_cannot_have_are_not_asked_for() -> None:
    """Of a node whose system keeps two, and in a partition that gives out fewer."""
    assert guesses()["gpu_cores"] == 11
    fewer = PARTITIONS.replace("MaxTime=2-12:30:00", "MaxTime=2-12:30:00 MaxCPUsPerNode=64")
    found = survey.guesses(cluster(), survey.survey(cluster(), fewer, NODES))
    assert {each.field: each.value for each in found}["gpu_cores"] == 8


def test_gpus_that_are_not_consumed() -> None:
    shared = "NodeName=s1 CPUTot=96 Gres=gpu:h100:no_consume:8 Partitions=gpu\n"
    assert list(survey.survey(cluster(), PARTITIONS, shared).nodes) == [NodeKind("h100", 8, 8, 96)]


def test_a_partition_of_one_type_says_all() -> None:
    assert guesses() == {
        "gpu_type": "h100",
        "node_gpus": 8,
        "gpu_cores": 11,
        "gpu_request": "gres=gpu:{type}:{count}",
        "session_hours": 60.5,
    }


def test_what_is_given_is_not_guessed() -> None:
    given = {"gpu_type": "h100", "node_gpus": 8, "gpu_cores": 4, "gpu_request": "gpus-per-node={count}"}
    assert guesses(**given) == {"session_hours": 60.5}
    assert not cluster(**given, session_hours=1).leaves_open


def test_relays_have_to_fit_into_their_own_partition() -> None:
    assert guesses(cpu_partition="cpu")["session_hours"] == 12


def test_a_partition_without_a_limit() -> None:
    assert guesses(partition="mixed", gpu_type="h100")["session_hours"] == survey.LONGEST_HOURS


def test_a_type_that_the_site_does_not_name_is_the_persons_own() -> None:
    named = guesses(partition="plain", gpu_type="l4", trial_gpus=4)
    assert named["gpu_request"] == "gres=gpu:{count}"
    assert (named["node_gpus"], named["gpu_cores"]) == (4, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"partition": "nine"}, "cluster.partition: no partition nine; there are cpu, gpu, mixed, plain"),
        ({"cpu_partition": "nine"}, "cluster.cpu_partition: no partition nine"),
        ({"partition": "cpu"}, "cluster.partition: no node of cpu has GPUs"),
        ({"partition": "plain"}, "cluster.gpu_type must be given: the nodes of plain have GPUs, and name no type"),
        ({"partition": "mixed"}, "cluster.gpu_type must be given: mixed has 1 node with 7 1g.10gb"),
        ({"gpu_type": "a100"}, "cluster.gpu_type: no a100 in partition gpu; gpu has 2 nodes with 8 h100"),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        guesses(**given)
    assert str(error.value).startswith(said)


def test_no_default_partition() -> None:
    with pytest.raises(UsageError, match="no default partition, name one; there are cpu"):
        survey.survey(cluster(), PARTITIONS.replace("Default=YES", "Default=NO"), NODES)


def test_a_guess_has_to_go_with_what_is_configured() -> None:
    config = cluster(partition="plain", gpu_type="l4")
    guessed = survey.guesses(config, survey.survey(config, PARTITIONS, NODES))
    with pytest.raises(UsageError, match=r"cluster.trial_gpus must be 1 to cluster.node_gpus \(4\), got 8"):
        survey.with_guesses(config, guessed)


WRONG_REQUESTS = (
    *("gres=gpu:8", "gpu:{type}:{count}", "mem={count}", "gres=gpu:{kind}:{count}", "gres=license:{count}"),
    *("gres=gpu:{count}:{", "gres=gpu:{count!r}", "gres=gpu:{count:>9}", "gres=gpu:{count}\n#SBATCH --nodes=9"),
)


@pytest.mark.parametrize("request_", WRONG_REQUESTS)
def test_a_request_that_is_none(request_: str) -> None:
    with pytest.raises(UsageError, match=r"cluster\.gpu_request must be"):
        cluster(gpu_request=request_)
