"""What a candidate keeps of its warm-up, though its state is put back."""

import ast
from collections.abc import Iterator, Sequence

from slurm_bench.pure import loaders
from slurm_bench.pure.matching import Matching
from slurm_bench.pure.programs import PRINTS, Program, Unit, root_of
from slurm_bench.pure.remarks import Remark, on

_COPYING = {"deepcopy", "clone", "copy_"}


def remarks(warm_up: Sequence[Unit], matching: Matching, candidate: Program) -> Iterator[Remark]:
    """Remark on state that is not copied before the warm-up, and on what is gathered in it and used after it.

    Args:
        warm_up: the baseline's statements: what takes the state, the loop, what puts the state back.
    """
    for unit in warm_up:
        new = matching.changed.get(unit)
        if new and _copies(unit) and not _copies(new):
            yield on(
                new,
                "warm-up",
                "the state is remembered without a copy of its values",
                proven=True,
                baseline=unit.written,
            )
    for loop in (matching.found[unit] for unit in warm_up if unit in matching.found and _is_loop(unit)):
        yield from _kept(loop, matching, candidate)


def _kept(loop: Unit, matching: Matching, candidate: Program) -> Iterator[Remark]:
    """Statements after the warm-up's loop that use what was gathered in it, other than to print it."""
    inside = [unit for unit in candidate.units if matching.is_new(unit) and unit.is_within(loop)]
    gathered = {name for unit in inside for name in _gathered_by(unit)}
    stored = {name for unit in inside for name in _stored_by(unit)}
    for unit in candidate.units:
        if unit.is_within(loop) or not matching.is_new(unit) or loaders.calls(unit, PRINTS):
            continue
        after = unit.where == loop.where and unit.line > loop.line
        if unit.reads & (gathered if after else frozenset()) or unit.reads & stored:
            yield on(unit, "warm-up", "what was gathered in the warm-up is kept", proven=True)


def is_rewritten(unit: Unit, warm_up: Sequence[Unit], matching: Matching, candidate: Program) -> bool:
    """Return whether new statements beside the warm-up put values into something, in place of this one."""
    places = {matching.found[each].where for each in warm_up if each in matching.found and each.where == unit.where}
    new = (each for each in candidate.units if matching.is_new(each) and each.where in places)
    return bool(unit.scope) and any(each.touches for each in new)


def _copies(unit: Unit) -> bool:
    return loaders.calls(unit, _COPYING)


def _is_loop(unit: Unit) -> bool:
    return isinstance(unit.node, ast.For | ast.While)


def _gathered_by(unit: Unit) -> Iterator[str]:
    """Names whose values a statement adds to."""
    match unit.node:
        case ast.AugAssign(target=target):
            yield root_of(target)
        case ast.Assign(targets=[target], value=ast.BinOp(left=left)) if root_of(left) == root_of(target):
            yield root_of(target)
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name, value=value))):
            if name in ("append", "extend", "update") or name.endswith("_"):
                yield root_of(value)


def _stored_by(unit: Unit) -> Iterator[str]:
    """Names of what outlives the function, into whose parts a statement puts a value."""
    match unit.node:
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute() as target]):
            yield root_of(target)
