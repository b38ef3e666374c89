"""Upstream's leaderboard: the table of records in its README, one row a record."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

_CELLS = 6
"""Number, time, description, date, links, contributors; the last four may be wrapped in links of their own."""
_TIME = re.compile(r"([\d.]+) minutes")
_LOG = re.compile(r"\[log\]\(([^)]+)\)")
_PULL = re.compile(r"\[PR\]\([^)]+/pull/(\d+)\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_FOLDER = re.compile(r"records/track_1_short/[^/]+")
_AI = re.compile(r"\bAI system\b", re.IGNORECASE)
_NOBODY = "-"


@dataclass(frozen=True)
class Entry:
    """A record as the leaderboard has it."""

    number: int
    minutes: str
    """As it is written there, e.g. 1.650."""
    date: str
    """YYYY-MM-DD."""
    contributors: str
    """Without links; empty where nobody is credited."""
    log: str = ""
    """Path of the log that it links, or of a folder of logs; empty without one."""
    pull: str = ""
    """Number of its pull request; empty without one."""

    @property
    def folder(self) -> str:
        """Path of the record's folder; empty without one."""
        found = _FOLDER.match(self.log)
        return found[0] if found else ""

    @property
    def made_by(self) -> str:
        """`people`, `ai` or `people+ai` by the credits, which name an AI system as one; empty where nobody is."""
        if not _AI.search(self.contributors):
            return "people" if self.contributors else ""
        return "people+ai" if "@" in self.contributors else "ai"


def parse(readme: str) -> list[Entry]:
    """Return the entries of the first table of records in a README, in its order; later tables are other tracks'."""
    rows: list[Entry] = []
    for line in readme.splitlines():
        row = _entry([cell.strip() for cell in line.strip().strip("|").split("|")])
        if row is not None:
            rows.append(row)
        elif rows:
            break
    return rows


def _entry(cells: list[str]) -> Entry | None:
    """A row of the table; None for any other line."""
    if len(cells) != _CELLS or not cells[0].isdecimal():
        return None
    time, date = _TIME.fullmatch(cells[1]), _date(cells[3])
    if time is None or date is None:
        return None
    contributors = _LINK.sub(r"\1", cells[5])
    return Entry(
        number=int(cells[0]),
        minutes=time[1],
        date=date,
        contributors="" if contributors == _NOBODY else contributors,
        log=next(_links(_LOG, cells[4]), "").rstrip("/"),
        pull=next(_links(_PULL, cells[4]), ""),
    )


def _links(pattern: re.Pattern[str], cell: str) -> Iterator[str]:
    return (match[1] for match in pattern.finditer(cell))


def _date(cell: str) -> str | None:
    """MM/DD/YY as YYYY-MM-DD."""
    try:
        return datetime.strptime(cell, "%m/%d/%y").date().isoformat()
    except ValueError:
        return None
