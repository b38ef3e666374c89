"""Records that should be the same: exactly, but for the last digits of computed numbers."""

import pytest

from slurm_bench.pure.differences import differences
from slurm_bench.words.trials import SpeedTest, TrainResult

SPEED = SpeedTest(
    incumbent_mean_s=2.0, candidate_mean_s=1.0, saved_s=1.0, saved_low_s=0.9, saved_high_s=1.1, p_value=1e-5
)


@pytest.mark.parametrize(("factor", "is_same"), [(1, True), (1 + 1e-10, True), (1 + 1e-8, False), (-1, False)])
def test_numbers_to_a_share_of_themselves(factor: float, is_same: bool) -> None:
    other = SPEED.model_copy(update={"p_value": SPEED.p_value * factor})
    assert (differences(SPEED, other) == []) == is_same


def test_what_differs_is_named() -> None:
    one, other = (
        TrainResult(steps=10, val_loss=3.2, train_time_s=1.0),
        TrainResult(steps=11, val_loss=3.2, train_time_s=2.0),
    )
    assert differences(one, other) == ["steps 10, computed 11", "train_time_s 1.0, computed 2.0"]


def test_a_field_that_is_not_there() -> None:
    class Longer(TrainResult):
        more: tuple[int, ...] = (1, 2)

    longer = Longer(steps=10, val_loss=3.2, train_time_s=1.0)
    assert differences(TrainResult(steps=10, val_loss=3.2, train_time_s=1.0), longer) == ["more None, computed [1, 2]"]
    assert differences(longer, longer.model_copy(update={"more": (1, 3)})) == ["more[1] 2, computed 3"]
    assert differences(longer, longer.model_copy(update={"more": (1,)})) == ["more [1, 2], computed [1]"]
