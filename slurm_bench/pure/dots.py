"""Dot plots as positions from 0 to 1 along one axis, for a page to draw."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TICKS = 5
_MARGIN = 0.04


@dataclass(frozen=True)
class Dots:
    rows: Mapping[str, tuple[float, ...]]
    """Positions of the values of each row, by its name."""
    means: Mapping[str, float]
    ticks: Mapping[str, float]
    """Positions by their labels."""
    mark: float | None = None
    """Of a value that all are held against."""


def dots(samples: Mapping[str, Sequence[float]], mark: float | None = None) -> Dots:
    """
    Args:
        samples: finite values by row; empty rows are left out.
        mark: a value that has to be seen too.
    """
    filled = {name: values for name, values in samples.items() if values}
    every = [value for values in filled.values() for value in values] + ([] if mark is None else [mark])
    low, high = _span(every)
    place = {value: (value - low) / (high - low) for value in every}
    step = _step(high - low)
    first = math.ceil(low / step)
    steps = [step * number for number in range(first, math.floor(high / step) + 1)]
    return Dots(
        rows={name: tuple(place[value] for value in values) for name, values in filled.items()},
        means={name: sum(place[value] for value in values) / len(values) for name, values in filled.items()},
        ticks={_label(tick, step): (tick - low) / (high - low) for tick in steps},
        mark=None if mark is None else place[mark],
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """A little more than the values take, and never nothing."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = _MARGIN * (high - low) or max(abs(low), 1.0) * 1e-3
    return low - room, high + room


def _step(span: float) -> float:
    """Between ticks: one, two or five times a power of ten, for about so many of them."""
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / _TICKS)


def _label(tick: float, step: float) -> str:
    return f"{tick:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
