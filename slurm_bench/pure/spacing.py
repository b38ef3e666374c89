"""Where labels go beside what they name, so that none lies on another."""

from collections.abc import Iterable, Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places nearest to those wanted (least squares) that are `gap` apart, in the same order.

    All in one unit. Where they do not fit between `low` and `high`, they begin at `low` and pass `high`.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    level = _ascending([wanted[index] - rank * gap for rank, index in enumerate(order)])
    most = max(low, high - gap * (len(wanted) - 1))
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = min(max(level[rank], low), most) + rank * gap
    return places


def _ascending(values: Iterable[float]) -> list[float]:
    """The nearest ascending sequence: neighbours in the wrong order share their mean."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return [mean for mean, size in blocks for _ in range(size)]


def fitting(wanted: Iterable[float], taken: Iterable[float], gap: float) -> list[float]:
    """Those of the wanted places, first come first served, that are `gap` from all others."""
    used, found = list(taken), []
    for place in wanted:
        if all(abs(place - other) >= gap for other in used):
            used.append(place)
            found.append(place)
    return found
