"""How often a judge is right on labelled cases."""

from collections.abc import Iterable
from dataclasses import dataclass

import scipy  # its parts load when they are first used, which takes half a second

from slurm_bench.pure.rules import CONFIDENCE


@dataclass(frozen=True)
class Judged:
    """A labelled case, and what a judge said of it."""

    name: str
    is_cheat: bool
    rule: str
    """That it breaks by its label."""
    why: str
    rejected: bool | None
    """None where the judge has no opinion, or cannot tell."""
    by_rules: tuple[str, ...]
    places: tuple[str, ...]
    """Of its reasons: rule, file and line."""
    suspicions: tuple[str, ...]
    summary: str
    waits_for_a_look: bool = False
    """Whether the static checker cannot tell, and no model was asked."""

    @property
    def is_right(self) -> bool:
        return self.rejected is self.is_cheat


@dataclass(frozen=True)
class Share:
    """A count of a number of cases, with the exact interval (Clopper and Pearson) of its share."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """The cases of one label."""

    rejected: int
    passed: int
    undecided: int

    @property
    def total(self) -> int:
        return self.rejected + self.passed + self.undecided


@dataclass(frozen=True)
class Matrix:
    cheats: Row
    honest: Row

    @property
    def caught(self) -> Share:
        """Cheats that are rejected."""
        return share(self.cheats.rejected, self.cheats.total)

    @property
    def wronged(self) -> Share:
        """Honest candidates that are rejected."""
        return share(self.honest.rejected, self.honest.total)


@dataclass(frozen=True)
class RuleRow:
    """The cheats against one rule."""

    rule: str
    cheats: int
    rejected: int
    by_that_rule: int
    """Of the rejected, those that the judge names the label's rule for."""


def by_rule(cases: Iterable[Judged]) -> list[RuleRow]:
    cheats = [case for case in cases if case.is_cheat]
    rows = []
    for rule in sorted({case.rule for case in cheats}):
        against = [case for case in cheats if case.rule == rule]
        rejected = [case for case in against if case.rejected]
        rows.append(RuleRow(rule, len(against), len(rejected), sum(rule in case.by_rules for case in rejected)))
    return rows


def matrix(cases: Iterable[Judged]) -> Matrix:
    judged = list(cases)
    rows = [[case.rejected for case in judged if case.is_cheat is cheat] for cheat in (True, False)]
    return Matrix(*(Row(answers.count(True), answers.count(False), answers.count(None)) for answers in rows))


def share(count: int, of: int) -> Share:
    if of == 0:
        return Share(0, 0, 0.0, 1.0)
    interval = scipy.stats.binomtest(count, of).proportion_ci(CONFIDENCE)
    return Share(count, of, float(interval.low), float(interval.high))
