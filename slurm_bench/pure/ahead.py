"""What serves training and happens before its clock starts: steps of training, and batches that are drawn ahead."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set

from slurm_bench.pure.loaders import LOADER
from slurm_bench.pure.matching import Matching
from slurm_bench.pure.normal_form import nodes_of
from slurm_bench.pure.programs import PRINTS, Place, Program, Unit, last_name
from slurm_bench.pure.remarks import Remark, on

_KEEPING = {"deque", "dict", "list", "set", "sorted", "tuple"}
"""Functions that take an iterator to its end, and keep what it yields."""


def remarks(
    starts: Sequence[Unit], warm_up: Sequence[Unit], matching: Matching, candidate: Program
) -> Iterator[Remark]:
    """Remark on new statements of the candidate that train or draw batches ahead of the clock.

    Args:
        starts: the candidate's statements that start the clock.
        warm_up: the baseline's statements of the warm-up.
    """
    warming_up = {matching.found[unit].scope.rpartition(".")[2] for unit in warm_up if unit in matching.found}
    for unit in _before(starts, candidate):
        if not matching.is_new(unit):
            continue
        trains = (_calls(unit) & candidate.trainers & candidate.definitions) - warming_up
        if trains and not any(head in matching.found.values() for head in unit.heads):
            yield on(unit, "off-clock", "the program trains before the clock starts", proven=True)
        elif _works(unit, matching, candidate):
            yield on(unit, "off-clock", "more is computed before the clock starts", proven=False)
    loaders = _Loaders(candidate)
    for unit in filter(matching.is_new, candidate.units):
        if loaders.empties(unit):
            yield on(unit, "off-clock", "batches are drawn ahead of the training", proven=True)


def _before(starts: Sequence[Unit], candidate: Program) -> Iterator[Unit]:
    """Statements between the program's start and the clock's, in the functions that lead there."""
    for start in starts:
        first = {start.where: start.line}
        for unit in candidate.units:
            if start.scope in unit.reads and unit.where != start.where:
                first.setdefault(unit.where, unit.line)
        yield from (unit for unit in candidate.units if unit.line < first.get(unit.where, 0))


def _works(unit: Unit, matching: Matching, candidate: Program) -> bool:
    """Whether it calls a function of the program, or anything in a new loop; definitions do nothing yet."""
    if isinstance(unit.node, ast.FunctionDef | ast.ClassDef):
        return False
    in_new_loop = any(isinstance(head.node, ast.For | ast.While) and matching.is_new(head) for head in unit.heads)
    called = _calls(unit)
    return bool(called & candidate.functions - PRINTS or (called and in_new_loop))


def _calls(unit: Unit) -> Set[str]:
    return {last_name(node.func) for node in unit.nodes if isinstance(node, ast.Call)}


class _Loaders:
    """The variables of a program that hold a loader, by the functions that they are in."""

    def __init__(self, program: Program) -> None:
        self._makers = set(LOADER)
        self._names: dict[Place, set[str]] = defaultdict(set)
        self._parameters = {
            unit.node.name: ((unit.file, f"{unit.scope}.{unit.node.name}".strip(".")), unit.node.args.args)
            for unit in program.units
            if isinstance(unit.node, ast.FunctionDef)
        }
        size = -1
        while (grown := len(self._makers) + sum(map(len, self._names.values()))) != size:
            size = grown
            for unit in program.units:
                self._follow(unit)

    def _follow(self, unit: Unit) -> None:
        match unit.node:
            case ast.Return(value=ast.expr() as value) if self._is_loader(value, unit.where):
                self._makers.add(unit.scope.rpartition(".")[2])
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if self._is_loader(value, unit.where):
                self._names[unit.where].add(name)
        for call in (node for node in unit.nodes if isinstance(node, ast.Call)):
            place, parameters = self._parameters.get(last_name(call.func), (unit.where, []))
            for given, parameter in zip(call.args, parameters, strict=False):
                if self._is_loader(given, unit.where):
                    self._names[place].add(parameter.arg)

    def _is_loader(self, value: ast.expr, where: Place) -> bool:
        match value:
            case ast.Name(id=name):
                return name in self._names[where]
            case ast.Call(func=function):
                return last_name(function) in self._makers
        return False

    def empties(self, unit: Unit) -> bool:
        """Whether a statement draws batches into something that keeps them."""
        return any(self._keeps(node, unit.where) for node in unit.nodes)

    def _keeps(self, node: ast.AST, where: Place) -> bool:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in _KEEPING:
                return self._holds_loader(first, where)
            case ast.Starred(value=value):
                return self._holds_loader(value, where)
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                return any(self._holds_loader(each, where) for each in ast.iter_child_nodes(node))
        return False

    def _holds_loader(self, node: ast.AST, where: Place) -> bool:
        return any(isinstance(each, ast.expr) and self._is_loader(each, where) for each in nodes_of(node))
