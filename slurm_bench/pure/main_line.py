"""The main line of upstream's history, and where on it the code of a record is."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slurm_bench.pure.leaderboard import Entry

_PULLED = re.compile(r"Merge branch '[^']+' of \S+$")
"""A maintainer pulled: what was on the server until then is the second parent."""


@dataclass(frozen=True)
class Commit:
    sha: str
    parents: tuple[str, ...]
    subject: str

    @property
    def main_parent(self) -> str:
        """The commit that the main line held before; empty for the first of all."""
        if len(self.parents) > 1 and _PULLED.match(self.subject):
            return self.parents[1]
        return self.parents[0] if self.parents else ""


@dataclass(frozen=True)
class Step:
    """A commit of the main line, and what it changed there."""

    commit: Commit
    added: tuple[str, ...] = ()
    """Paths that are new."""
    changes_code: bool = False
    """Whether it changes a Python file in the top folder."""
    readme: str = ""
    """Blob of the README that it brings; empty where that stays."""


@dataclass(frozen=True)
class Window:
    """The steps of the main line in which a record's code is to be looked for."""

    came: Step
    """Brings the record."""
    edits: tuple[Step, ...]
    """Change the program after that, until the leaderboard has the record or the next record comes."""
    listed: Step
    """Brings the leaderboard that has the record."""


def main_line(commits: Iterable[Commit]) -> list[Commit]:
    """Return what the main branch held one after the other, oldest first.

    Args:
        commits: of its history, in any order but the newest first.
    """
    known: dict[str, Commit] = {}
    newest = ""
    for commit in commits:
        newest = newest or commit.sha
        known[commit.sha] = commit
    line: list[Commit] = []
    while newest in known:
        line.append(known[newest])
        newest = known[newest].main_parent
    return line[::-1]


def arrivals(line: Sequence[Step], entries: Iterable[Entry]) -> dict[int, int]:
    """Return by record's number where on the line it comes: with its pull request, or with the first of its logs.

    A record that neither brings is left out.
    """
    pulls = {entry.pull: entry.number for entry in entries if entry.pull}
    folders = {entry.folder.rpartition("/")[2]: entry.number for entry in entries if entry.folder}
    found: dict[int, int] = {}
    for place, step in enumerate(line):
        numbers = {pulls.get(_pull(step.commit.subject))}
        numbers |= {folders.get(part) for path in step.added for part in path.split("/")[1:-1]}
        for number in numbers - {None}:
            assert number is not None
            found.setdefault(number, place)
    return found


def _pull(subject: str) -> str:
    """Number of the pull request that a commit merges; empty for other commits."""
    found = re.search(r"\(#(\d+)\)$", subject) or re.match(r"Merge pull request #(\d+) from", subject)
    return found[1] if found else ""


def listings(line: Sequence[Step], numbers: Mapping[str, Iterable[int]]) -> dict[int, list[int]]:
    """Return by record's number where on the line a leaderboard comes that has it.

    Args:
        numbers: the records on the leaderboard, by blob of the README.
    """
    found: dict[int, list[int]] = {}
    for place, step in enumerate(line):
        for number in numbers.get(step.readme, ()):
            found.setdefault(number, []).append(place)
    return found


def window(number: int, line: Sequence[Step], came: Mapping[int, int], listed: Mapping[int, Sequence[int]]) -> Window:
    """Return where a record's code is: from the commit that brings it to the leaderboard that has it.

    Of several records that the leaderboard got at once, each ends before the next comes.
    """
    first = came[number]
    on_board = next((place for place in listed[number] if place >= first), len(line) - 1)
    last = min([on_board, *(place - 1 for place in came.values() if place > first)])
    edits = tuple(step for step in line[first + 1 : last + 1] if step.changes_code)
    return Window(line[first], edits, line[on_board])
