"""What a user of a campaign may not read of it."""

from collections.abc import Iterable
from dataclasses import dataclass

REMEDY = "chmod -R g+rX"
"""What an owner does so that his group may read a folder."""


@dataclass(frozen=True)
class Unreadable:
    """A session or calibration that this user may not read: it is there, and nothing more is known of it."""

    name: str
    owner: str

    def __str__(self) -> str:
        return f"{self.name} (of {self.owner})"


def describe(unreadable: Iterable[Unreadable]) -> str:
    """Return what is not known, and how that is mended; empty where all can be read."""
    each = tuple(unreadable)
    if not each:
        return ""
    whom = " and ".join(sorted({one.owner for one in each}))
    names = ", ".join(map(str, each))
    return f"not readable by you, and all of it unknown: {names}; ask {whom} for {REMEDY} of it"
