"""scripts/study: what its simulated runs are made of, and the numbers that it takes from elsewhere."""

import numpy as np
import pytest

from benchmarks import designs
from slurm_bench.pure.rules import LEVEL, MOST_CONFIRMATIONS, RUNS
from study import noise, power, runs
from study.looks import second_level
from study.simulations import LEVELS, Accepted, Candidates, World, confirm_best, human_world, in_blocks


@pytest.fixture(scope="module")
def world() -> World:
    return human_world()


@pytest.mark.parametrize(
    "kind",
    [
        *(noise.normal, noise.pooled, noise.within_record, noise.two_modes, noise.rare_failures),
        *(noise.on_nodes(nodes, 0.3) for nodes in (1, 4)),
    ],
)
def test_kinds_of_noise_have_the_same_variance(world: World, kind: noise.Kind) -> None:
    rng = np.random.default_rng(1)
    drawn = kind(rng, world.loss, world.records(rng, 40_000), RUNS)
    assert drawn.shape == (40_000, RUNS)
    assert drawn.mean() == pytest.approx(0, abs=0.02)
    assert drawn.std() == pytest.approx(1, abs=0.02)


def test_runs_on_a_node_are_correlated_as_said(world: World) -> None:
    rng = np.random.default_rng(2)
    drawn = noise.on_nodes(2, 0.3)(rng, world.loss, world.records(rng, 100_000), 4)
    assert np.mean(drawn[:, 0] * drawn[:, 2]) == pytest.approx(0.3, abs=0.02)
    assert np.mean(drawn[:, 0] * drawn[:, 1]) == pytest.approx(0, abs=0.02)


def test_who_begins_a_block() -> None:
    """Every other one, the candidate has runs 0, 3, 4 and 7 of eight; drawn, it begins half of the blocks."""
    rng = np.random.default_rng(3)
    added = np.tile(np.arange(8.0), (500, 1))
    ours, theirs = in_blocks(rng, added, drawn=False)
    assert sorted(ours[0]) == [0, 3, 4, 7]
    ours, theirs = in_blocks(rng, added, drawn=True)
    assert (np.sort(np.hstack([ours, theirs])) == np.arange(8)).all()
    assert ((ours < theirs).sum(axis=1) == 2).all()
    assert len({tuple(sorted(row)) for row in ours}) == 6, "of four blocks, two in every way"


def test_the_best_is_confirmed_first_and_three_at_most(world: World) -> None:
    """The best of these is hopeless, and so are the next two; the fourth is sure to pass, and is not tried."""
    margin, saved_s = np.array([-9.0, 9.0, -9.0, -9.0]), np.array([9.0, 5.0, 8.0, 7.0])
    some = Candidates(np.zeros(8, dtype=int), np.tile(margin, 2), np.tile(saved_s, 2))
    accepted = Accepted(some, np.array([saved_s, [9.0, 5.0, -np.inf, -np.inf]]))
    found = confirm_best(np.random.default_rng(4), world, accepted)
    assert found.confirmed.tolist() == [-1, 1]
    assert found.score_s[1] == pytest.approx(5, abs=0.5)
    assert found.best_s.tolist() == [9, 9]
    assert len(LEVELS) == MOST_CONFIRMATIONS
    assert sum(LEVELS) < LEVEL


def test_numbers_that_are_taken_from_elsewhere() -> None:
    assert pytest.approx(2 * designs.run_h(designs.WARM_S + designs.RUNNER_S), abs=0.005) == power.BLOCK_H
    assert f" {power.MARGIN} standard deviations" in "\n".join(runs.what_runs_show(human_world()))
    assert second_level() == pytest.approx(0.0064, abs=1e-4)
