"""Which values a statement changes in place: by itself, through another name, or by a function that it calls."""

import ast
from collections import defaultdict
from collections.abc import Iterable

from slurm_bench.pure.programs import Place, Program, Unit, last_name, root_of

_VIEWING = {"as_tensor", "asarray", "atleast_1d", "enumerate", "frombuffer", "from_numpy", "ravel", "reshape", "zip"}
"""Functions, not methods, whose result may share memory with their arguments."""


class Writes:
    """What the statements of one program write into."""

    def __init__(self, program: Program) -> None:
        self._units: dict[Place, list[Unit]] = defaultdict(list)
        for unit in program.units:
            self._units[unit.where].append(unit)
        self._sources = {unit: _sources(unit) for unit in program.units}
        self._views: dict[tuple[Place, frozenset[str]], frozenset[str]] = {}
        self._filled: dict[str, frozenset[int]] = {}
        while (filled := self._filled_arguments(program)) != self._filled:
            self._filled = filled

    def into(self, unit: Unit) -> frozenset[str]:
        """Return the names whose values a statement changes in place, be it by what it calls."""
        calls = (node for node in unit.nodes if isinstance(node, ast.Call))
        return unit.touches.union(*map(self._given_to_be_filled, calls))

    def views(self, where: Place, names: Iterable[str]) -> frozenset[str]:
        """Return these names, and those in the same function that may stand for a part of their values."""
        wanted = where, frozenset(names)
        if wanted not in self._views:
            self._views[wanted] = self._looked_up(*wanted)
        return self._views[wanted]

    def _looked_up(self, where: Place, found: frozenset[str]) -> frozenset[str]:
        while more := {name for unit in self._units[where] if self._sources[unit] & found for name in unit.binds}:
            if more <= found:
                break
            found |= more
        return found

    def _filled_arguments(self, program: Program) -> dict[str, frozenset[int]]:
        """By name of a function, the numbers of the arguments that it writes into."""
        filled: dict[str, frozenset[int]] = defaultdict(frozenset)
        for unit in program.units:
            if isinstance(unit.node, ast.FunctionDef):
                inside = unit.file, f"{unit.scope}.{unit.node.name}".strip(".")
                written = frozenset[str]().union(*map(self.into, self._units[inside]))
                arguments = [each.arg for each in (*unit.node.args.posonlyargs, *unit.node.args.args)]
                changed = (number for number, name in enumerate(arguments) if self.views(inside, [name]) & written)
                filled[unit.node.name] |= frozenset(changed)
        return filled

    def _given_to_be_filled(self, call: ast.Call) -> frozenset[str]:
        numbers = self._filled.get(call.func.id, frozenset()) if isinstance(call.func, ast.Name) else frozenset()
        return frozenset(root_of(each) for number, each in enumerate(call.args) if number in numbers) - {""}


def _sources(unit: Unit) -> frozenset[str]:
    """Names whose memory what the statement binds may share."""
    match unit.node:
        case ast.Assign(value=ast.Tuple(elts=values)):
            return frozenset(name for value in values for name in _shared(value))
        case ast.Assign(value=value) | ast.For(iter=value):
            return _shared(value)
    return frozenset()


def _shared(value: ast.expr) -> frozenset[str]:
    if isinstance(value, ast.Call) and last_name(value.func) in _VIEWING:
        return frozenset(root_of(each) for each in (value, *value.args)) - {""}
    return frozenset({root_of(value)}) - {""}
