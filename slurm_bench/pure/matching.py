"""Finding a baseline's statements again in a candidate that renamed and moved them.

Names must be renamed consistently within a function, a statement inside another must stay inside it, and no condition
may come between; then the candidate's statements do what the baseline's did.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from slurm_bench.pure.programs import Form, Place, Program, Unit, form_with_cut_calls

_KEPT_ARGUMENTS = 2
"""Of a model that is called: inputs and targets. What more a candidate's model takes is its own affair."""
_CLOSE = 0.5
_MOST_COMPARED = 300

FormOf = Callable[[Unit, Program], Form]


class Matching:
    """
    Attributes:
        found: by statement of the baseline, the candidate's.
        extended: those whose call of the model got other further arguments.
        changed: statements that were not found, with the new statement of the candidate that is closest to each.
    """

    def __init__(self, protected: Sequence[Unit], baseline: Program, candidate: Program) -> None:
        self._protected = tuple(dict.fromkeys(protected))
        self._baseline, self._candidate = baseline, candidate
        self.found: dict[Unit, Unit] = {}
        self.changed: dict[Unit, Unit] = {}
        self._accounted_for: set[Unit] = set()
        self._new_names: dict[Place, dict[str, str]] = defaultdict(dict)
        self._old_names: dict[Place, dict[str, str]] = defaultdict(dict)
        # What is the same in the same place first, so that what is only alike cannot take its place.
        self._match_identical()
        self._match_by(_form)
        self.extended = self._match_by(_cut_form)
        self._find_changed()

    def is_new(self, unit: Unit) -> bool:
        """Whether a statement of the candidate is none of the baseline's, changed or not."""
        return unit not in self._accounted_for

    def old_names(self, where: Place) -> dict[str, str]:
        """Names in a function of the candidate, with what they were in the baseline."""
        return self._old_names[where]

    def nearest(self, unit: Unit) -> Unit | None:
        """The candidate's statement for what came last before this one in the baseline."""
        before = self._protected[: self._protected.index(unit)]
        return next((self.found[each] for each in reversed(before) if each in self.found), None)

    def _match_identical(self) -> None:
        """What nobody touched stands for itself, whether the rules protect it or not."""
        places: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
        for unit in self._candidate.units:
            places[unit.where, unit.source, unit.path].append(unit)
        protected = set(self._protected)
        others = (unit for unit in self._baseline.units if unit not in protected)
        for unit in (*self._protected, *others):
            same = places[unit.where, unit.source, unit.path]
            if unit not in protected and same:
                self._accounted_for.add(same.pop(0))
            elif same and self._fits(unit, unit.form, same[0], same[0].form):
                self._take(unit, unit.form, same[0], same.pop(0).form)

    def _match_by(self, form_of: FormOf) -> set[Unit]:
        """Match what is left by such a form; return what was."""
        left = [unit for unit in self._protected if unit not in self.found]
        if not left:
            return set()
        by_shape: dict[str, list[tuple[Unit, Form]]] = defaultdict(list)
        for other in filter(self.is_new, self._candidate.units):
            form = form_of(other, self._candidate)
            by_shape[form.shape].append((other, form))
        for unit in left:
            form = form_of(unit, self._baseline)
            fitting = [pair for pair in by_shape[form.shape] if self.is_new(pair[0]) and self._fits(unit, form, *pair)]
            if fitting:
                best = max(fitting, key=lambda pair: self._agreement(unit, form, *pair))
                self._take(unit, form, *best)
        return {unit for unit in left if unit in self.found}

    def _fits(self, unit: Unit, form: Form, other: Unit, other_form: Form) -> bool:
        within = self.found.get(unit.parent) if unit.parent else None
        if within is not None and other.parent is not within:
            return False
        if form.shape != other_form.shape or unit.branch != other.branch or not _same_conditions(unit, other):
            return False
        new_names, old_names = self._new_names[other.where], self._old_names[other.where]
        pairs = _pairs(form, other_form)
        return all(new_names.get(old, new) == new and old_names.get(new, old) == old for old, new in pairs)

    def _agreement(self, unit: Unit, form: Form, other: Unit, other_form: Form) -> tuple[int, int, bool, int]:
        """How much speaks for this match among several."""
        old_names = self._old_names[other.where]
        pairs = list(_pairs(form, other_form))
        agreeing = sum(old_names.get(new) == old for old, new in pairs)
        return agreeing, sum(old == new for old, new in pairs), other.where == unit.where, len(old_names)

    def _take(self, unit: Unit, form: Form, other: Unit, other_form: Form) -> None:
        self.found[unit] = other
        self._accounted_for.add(other)
        for old, new in _pairs(form, other_form):
            self._new_names[other.where].setdefault(old, new)
            self._old_names[other.where].setdefault(new, old)

    def _find_changed(self) -> None:
        """Set each statement that was not found beside the closest of the candidate's new ones."""
        old = {unit.source for unit in self._baseline.units}
        new = [unit for unit in self._candidate.units if self.is_new(unit) and unit.source not in old]
        for unit in [each for each in self._protected if each not in self.found][:_MOST_COMPARED]:
            by_source = {each.source: each for each in reversed([*filter(self.is_new, new)][:_MOST_COMPARED])}
            closest = difflib.get_close_matches(unit.source, by_source, n=1, cutoff=_CLOSE)
            if closest:
                self.changed[unit] = by_source[closest[0]]
                self._accounted_for.add(by_source[closest[0]])


def _pairs(form: Form, other: Form) -> Iterable[tuple[str, str]]:
    return zip(form.names, other.names, strict=True)


def _same_conditions(unit: Unit, other: Unit) -> bool:
    """The same conditions and loops around it; in another function perhaps fewer, the outer ones around its call.

    The outermost condition may be written anew: it says when the validation comes, and the last step must have one.
    Where it is itself protected, its own match decides.
    """
    lifted = len(unit.path) - len(other.path)
    if unit.where == other.where:
        return lifted == 0 and unit.loops == other.loops and unit.path[1:] == other.path[1:]
    if lifted < 0 or other.loops > unit.loops:
        return False
    return unit.path[lifted:] == other.path or (lifted == 0 and unit.path[1:] == other.path[1:])


def _form(unit: Unit, _program: Program) -> Form:
    return unit.form


def _cut_form(unit: Unit, program: Program) -> Form:
    return form_with_cut_calls(unit, program.definitions, _KEPT_ARGUMENTS)
