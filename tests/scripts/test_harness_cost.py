"""scripts/harness_cost: the order of its runs, what it makes of them, and one round of real ones."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness_cost import WAYS, Run, in_turn, summarised
from slurm_bench.rehearsal import corpus
from tests.clusters import DEV_CLUSTER
from tests.conftest import IMAGE, QUICK_REHEARSAL, REPOSITORY
from tests.waiting import LONG_S


def test_every_way_is_as_often_in_each_place() -> None:
    rounds = [
        [in_turn(number, WAYS) for number in range(start, start + len(WAYS))] for start in range(0, 25, len(WAYS))
    ]
    assert all(sorted(each) == sorted(WAYS) for each in rounds)
    assert all(set(Counter(places).values()) == {1} for places in zip(*rounds, strict=True))


def runs(**changed: tuple[float, float]) -> list[Run]:
    """Two runs of each way that train for 10 s in 20 s, give or take a millisecond."""
    times = {way: changed.get(way.replace(" ", "_"), (10.0, 20.0)) for way in WAYS}
    return [Run(way, train + off, wall) for way, (train, wall) in times.items() for off in (-0.001, 0.001)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "holds: start-up added by the runner: 0.00 s"),
        ({}, "holds: training time in the runner differs by -0.0"),
        ({"runner": (10.0, 22.9)}, "holds: start-up added by the runner: 2.90 s"),
        ({"runner": (10.0, 23.1)}, "FAILS: start-up added by the runner: 3.10 s"),
        ({"runner": (9.9, 20.0)}, "FAILS: training time in the runner differs by -1.0"),
        ({"runner": (10.01, 20.0)}, "not resolved by these runs: training time in the runner differs by +0.0"),
        (
            {"warm_caches": (10.0, 2.0)},
            "empty compile caches: 18.00 s a run, 0.200 GPU-hours a verdict of 20 runs on 2",
        ),
    ],
)
def test_the_summary(changed: dict[str, tuple[float, float]], said: str) -> None:
    assert said in "\n".join(summarised(runs(**changed), gpus=2))


def test_one_round_says_nothing() -> None:
    assert list(summarised(runs()[::2], gpus=1)) == [
        "too few runs to say anything: two rounds at least, bare ones among them"
    ]


def test_some_of_the_ways_are_summed_up_too() -> None:
    text = "\n".join(summarised([run for run in runs() if run.way in ("bare", "warm caches")], gpus=1))
    assert "empty compile caches: 0.00 s" in text and "runner" not in text


@pytest.mark.long
@pytest.mark.slurm
@pytest.mark.apptainer
def test_a_round_and_then_another(tmp_path: Path) -> None:
    corpus.write_shards(tmp_path / "data", "tiny", seed=0)
    argv = [
        sys.executable,
        "scripts/harness_cost.py",
        f"--record={QUICK_REHEARSAL}",
        f"--image={IMAGE}",
        f"--data={tmp_path / 'data'}",
    ]
    argv += [f"--out={tmp_path}", "--gpus=0", "--gres=gpu:h100:8", "--env=TRAIN_PRESET=tiny"]
    environment = {**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}
    for rounds, words in ((1, "too few runs"), (2, "start-up added by the runner")):
        done = subprocess.run(
            [*argv, f"--rounds={rounds}"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )
        assert words in done.stdout, done.stderr
        assert done.returncode == int("FAILS" in done.stdout), "on a busy machine it may"
        assert len((tmp_path / "harness.jsonl").read_text().splitlines()) == rounds * len(WAYS)
    assert words in (tmp_path / "harness.txt").read_text()
