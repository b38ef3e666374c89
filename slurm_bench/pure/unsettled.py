"""Which rewritten statements of a loader prove nothing: others may yield the same tokens in the same batches.

They are neither a breach nor let pass: a model or a person has to look. What shows that other tokens come out stays a
breach: a single statement that does other arithmetic on the same values, or one more that changes what was computed.
"""

import ast
from collections.abc import Iterable, Sequence

from slurm_bench.pure.matching import Matching
from slurm_bench.pure.normal_form import text_of
from slurm_bench.pure.programs import Program, Unit, dotted, last_name

_INPUTS_AND_TARGETS = 2
_GROWING = {"append", "extend"}
_CONVERTING = {"as_tensor", "clone", "contiguous", "cpu", "cuda", "from_numpy", "int", "long", "pin_memory", "to"}
_COMPUTING = (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript, ast.UnaryOp)


def carriers(units: Iterable[Unit], program: Program) -> frozenset[str]:
    """Return the program's own functions that a batch passes on its way from a loader to the model."""
    taking = [call for unit in units for call in _calls(unit) if any(_is_next(each) for each in call.args)]
    return frozenset(dotted(call.func) for call in taking) & program.definitions


def edit(loader: Sequence[Unit], matching: Matching, candidate: Program) -> Unit | None:
    """Return the statement of the candidate that does other arithmetic, if it is all that differs in the loader.

    It reads no value and calls nothing that the baseline's did not: so what it computes is another thing.
    """
    lost = [unit for unit in loader if unit not in matching.found]
    if len(lost) != 1 or lost[0] not in matching.changed:
        return None
    old, new = lost[0], matching.changed[lost[0]]
    places = {matching.found[unit].where for unit in loader if unit in matching.found}
    added = any(matching.is_new(unit) and unit.where in places for unit in candidate.units)
    same_values = new.where == old.where and new.reads <= old.reads and _called(new) <= _called(old)
    return new if same_values and not added else None


def takes_further_values(old: Unit, new: Unit) -> bool:
    """Return whether a statement takes more or fewer values from the same loader, inputs and targets as before."""
    match old.node, new.node:
        case (
            ast.Assign(targets=[ast.Tuple(elts=ours)], value=source),
            ast.Assign(targets=[ast.Tuple(elts=theirs)], value=same),
        ):
            kept, found = ([text_of(name) for name in names[:_INPUTS_AND_TARGETS]] for names in (ours, theirs))
            from_loader = any(_is_next(node) for node in old.nodes) and text_of(source) == text_of(same)
            return from_loader and kept == found and len(ours) != len(theirs)
    return False


def changes_what_was_computed(unit: Unit, names: frozenset[str]) -> bool:
    """Return whether a further statement makes other values of these, and does more than to convert or to move them."""
    if not unit.binds & unit.reads & names:
        return False
    computes = any(isinstance(node, _COMPUTING) for node in unit.nodes)
    return computes or not _called(unit) <= _CONVERTING


def only_grows(unit: Unit) -> bool:
    """Return whether a statement only adds to the end of a list, which changes nothing that is in it."""
    match unit.node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(), attr=method))):
            return method in _GROWING
    return False


def _called(unit: Unit) -> set[str]:
    return {last_name(call.func) for call in _calls(unit)}


def _calls(unit: Unit) -> list[ast.Call]:
    return [node for node in unit.nodes if isinstance(node, ast.Call)]


def _is_next(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func) == "next"
