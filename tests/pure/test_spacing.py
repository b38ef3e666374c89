from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_bench.pure.spacing import fitting, spread

heights = st.lists(st.floats(-100, 100), min_size=1, max_size=12)


def test_what_is_apart_stays_where_it_is() -> None:
    assert spread([5, 1, 3], 1, 0, 10) == [5, 1, 3]


def test_neighbours_give_way_evenly_and_keep_their_order() -> None:
    assert spread([5, 5.2], 1, 0, 10) == pytest.approx([4.6, 5.6])
    assert spread([5.2, 5, 9], 1, 0, 10) == pytest.approx([5.6, 4.6, 9])


def test_nothing_leaves_the_axes() -> None:
    assert spread([-3, 0], 1, 0, 10) == [0, 1]
    assert spread([10, 10, 12], 1, 0, 10) == [8, 9, 10]


@given(heights)
def test_no_two_are_nearer_than_the_gap_and_all_keep_their_order(wanted: list[float]) -> None:
    places = spread(wanted, 2, -100, 100)
    by_place = sorted(places)
    assert all(after - before >= 2 - 1e-9 for before, after in pairwise(by_place))
    assert [place for _, place in sorted(zip(wanted, places, strict=True))] == pytest.approx(by_place)
    assert by_place[0] >= -100
    assert by_place[-1] <= 100 + 1e-9


def test_what_fits_comes_first_come_first_served() -> None:
    assert fitting([10, 9.5, 8, 7.2], taken=[6.5], gap=1) == [10, 8]
