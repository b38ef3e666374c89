"""Two records that should be the same, field by field."""

import math
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

TOLERANCE = 1e-9
"""Relative, of floating-point numbers: another machine adds up in another order."""
_LONGEST = 80


def differences(stored: BaseModel, computed: BaseModel) -> list[str]:
    """What differs between a record and the same computed again, a line for each field."""
    return list(_between(stored.model_dump(mode="json"), computed.model_dump(mode="json"), ""))


def _between(stored: object, computed: object, where: str) -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(computed, Mapping):
        for name in sorted({*stored, *computed}):
            yield from _between(stored.get(name), computed.get(name), f"{where}.{name}" if where else name)
    elif _are_lists(stored, computed) and len(stored) == len(computed):  # type: ignore[arg-type]
        for index, (ours, theirs) in enumerate(zip(stored, computed, strict=True)):  # type: ignore[call-overload]
            yield from _between(ours, theirs, f"{where}[{index}]")
    elif not _are_same(stored, computed):
        yield f"{where} {_short(stored)}, computed {_short(computed)}"


def _are_lists(*values: object) -> bool:
    return all(isinstance(value, Sequence) and not isinstance(value, str) for value in values)


def _are_same(stored: object, computed: object) -> bool:
    if isinstance(stored, float) and isinstance(computed, float):
        return math.isclose(stored, computed, rel_tol=TOLERANCE)
    return stored == computed


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
