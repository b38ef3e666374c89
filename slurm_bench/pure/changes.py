"""What a candidate changed, as people read it: a unified difference of its files, cut where it would fill the page."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MOST_LINES = 400
"""Shown of one candidate."""
_MOST_WIDTH = 300
_MOST_FILE_LINES = 6000
"""Beyond it a file is not compared: hostile ones would take minutes."""
_CONTEXT = 2


@dataclass(frozen=True)
class Difference:
    lines: tuple[str, ...]
    """Each begins with `+`, `-`, `@` or a space; the name of a file stands in a line of its own after `=`."""
    left_out: int
    """Lines that follow, and are not shown."""
    added: int
    removed: int


def difference(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Difference:
    """From the files of a baseline to those of a candidate, texts by name."""
    lines = [line for name in sorted({*baseline, *candidate}) for line in _of_file(name, baseline, candidate)]
    return Difference(
        lines=tuple(line[:_MOST_WIDTH] for line in lines[:MOST_LINES]),
        left_out=max(0, len(lines) - MOST_LINES),
        added=sum(line.startswith("+") for line in lines),
        removed=sum(line.startswith("-") for line in lines),
    )


def _of_file(name: str, baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Iterator[str]:
    before, after = (files.get(name, "").splitlines() for files in (baseline, candidate))
    if before == after:
        return
    yield f"={name}{'' if name in baseline else ' (new)'}{'' if name in candidate else ' (gone)'}"
    if max(len(before), len(after)) > _MOST_FILE_LINES:
        yield " too long to be compared here"
        return
    changes = difflib.unified_diff(before, after, n=_CONTEXT, lineterm="")
    yield from (line for number, line in enumerate(changes) if number > 1)  # the two first name the files
