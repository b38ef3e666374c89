"""Finding a baseline's statements again in a candidate that renamed and moved them.

Names must be renamed consistently within a function, a statement inside another must stay inside it, and no condition
may come between; then the candidate's statements do what the baseline's did.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Sequence

from slurm_bench.pure.programs import Program, Unit, shape_with_cut_calls

_KEPT_ARGUMENTS = 2
"""Of a model that is called: inputs and targets. What more a candidate's model takes is its own affair."""
_CLOSE = 0.5
_MOST_COMPARED = 300

Shape = Callable[[Unit, Program], str]
Place = tuple[str, str]


class Matching:
    """
    Attributes:
        found: by statement of the baseline, the candidate's.
        extended: those whose call of the model got other further arguments.
        changed: statements that are gone, with the new statement of the candidate that is closest to each.
        gone: those to which nothing is close.
    """

    def __init__(self, protected: Sequence[Unit], baseline: Program, candidate: Program) -> None:
        self._protected = tuple(dict.fromkeys(protected))
        self._baseline, self._candidate = baseline, candidate
        self.found: dict[Unit, Unit] = {}
        self.extended: set[Unit] = set()
        self.changed: dict[Unit, Unit] = {}
        self._standing: set[Unit] = set()
        self._renamed: dict[Place, dict[str, str]] = defaultdict(dict)
        self._stands_for: dict[Place, dict[str, str]] = defaultdict(dict)
        self._match_identical()
        self._leave_what_stayed()
        self._match_by(_shape)
        self.extended = self._match_by(_cut_shape)
        self._find_changed()
        self.gone = [unit for unit in self._protected if unit not in self.found and unit not in self.changed]

    def stands_for_one(self, unit: Unit) -> bool:
        """Whether a statement of the candidate is one of the baseline's, changed or not."""
        return unit in self._standing

    def names(self, where: Place) -> dict[str, str]:
        """Names in a function of the candidate that stand for names of the baseline."""
        return self._stands_for[where]

    def nearest(self, unit: Unit) -> Unit | None:
        """The candidate's statement for what came last before this one in the baseline."""
        before = self._protected[: self._protected.index(unit)]
        return next((self.found[each] for each in reversed(before) if each in self.found), None)

    def _match_identical(self) -> None:
        places: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
        for unit in self._candidate.units:
            places[unit.where, unit.source, unit.path].append(unit)
        for unit in self._protected:
            same = places[unit.where, unit.source, unit.path]
            if same and self._fits(unit, same[0]):
                self._take(unit, same.pop(0))

    def _leave_what_stayed(self) -> None:
        """What the rules do not protect and nobody touched stands for itself."""
        places: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
        for unit in self._candidate.units:
            if unit not in self._standing:
                places[unit.where, unit.source, unit.path].append(unit)
        protected = set(self._protected)
        for unit in self._baseline.units:
            same = places[unit.where, unit.source, unit.path]
            if unit not in protected and same:
                self._standing.add(same.pop(0))

    def _match_by(self, shape: Shape) -> set[Unit]:
        """Match what is left by such a shape; return what was."""
        left = [unit for unit in self._protected if unit not in self.found]
        if not left:
            return set()
        by_shape: dict[str, list[Unit]] = defaultdict(list)
        for unit in self._candidate.units:
            if unit not in self._standing:
                by_shape[shape(unit, self._candidate)].append(unit)
        for unit in left:
            alike = by_shape[shape(unit, self._baseline)]
            fitting = [other for other in alike if other not in self._standing and self._fits(unit, other)]
            if fitting:
                self._take(unit, max(fitting, key=lambda other: self._agreement(unit, other)))
        return {unit for unit in left if unit in self.found}

    def _fits(self, unit: Unit, other: Unit) -> bool:
        within = self.found.get(unit.parent) if unit.parent else None
        if within is not None and other.parent is not within:
            return False
        if unit.branch != other.branch or not _same_conditions(unit, other):
            return False
        renamed, stands_for = self._renamed[other.where], self._stands_for[other.where]
        pairs = set(zip(unit.names, other.names, strict=False))
        return all(renamed.get(old, new) == new and stands_for.get(new, old) == old for old, new in pairs)

    def _agreement(self, unit: Unit, other: Unit) -> tuple[int, int, bool, int]:
        """How much speaks for this match among several."""
        stands_for = self._stands_for[other.where]
        pairs = list(zip(unit.names, other.names, strict=False))
        agreeing = sum(stands_for.get(theirs) == ours for ours, theirs in pairs)
        return agreeing, sum(ours == theirs for ours, theirs in pairs), other.where == unit.where, len(stands_for)

    def _take(self, unit: Unit, other: Unit) -> None:
        self.found[unit] = other
        self._standing.add(other)
        for ours, theirs in zip(unit.names, other.names, strict=False):
            self._renamed[other.where].setdefault(ours, theirs)
            self._stands_for[other.where].setdefault(theirs, ours)

    def _find_changed(self) -> None:
        """Set each statement that is gone beside the closest of the candidate's new ones."""
        old = {unit.source for unit in self._baseline.units}
        new = [unit for unit in self._candidate.units if unit not in self._standing and unit.source not in old]
        for unit in [each for each in self._protected if each not in self.found][:_MOST_COMPARED]:
            left = [each for each in new if each not in self._standing]
            by_source = {each.source: each for each in reversed(left[:_MOST_COMPARED])}
            closest = difflib.get_close_matches(unit.source, by_source, n=1, cutoff=_CLOSE)
            if closest:
                self.changed[unit] = by_source[closest[0]]
                self._standing.add(by_source[closest[0]])


def _same_conditions(unit: Unit, other: Unit) -> bool:
    """The same conditions and loops around it, or fewer in another function. The outermost may be written anew."""
    ours, theirs = unit.path, other.path
    lifted = len(ours) - len(theirs)
    if unit.where == other.where and (lifted or unit.loops != other.loops):
        return False
    return lifted >= 0 and other.loops <= unit.loops and (ours[lifted:] == theirs if lifted else ours[1:] == theirs[1:])


def _shape(unit: Unit, _program: Program) -> str:
    return unit.shape


def _cut_shape(unit: Unit, program: Program) -> str:
    return shape_with_cut_calls(unit, program.definitions, _KEPT_ARGUMENTS)
