"""What a candidate does to tokens and batches beside the statements of the loader that are protected."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence

from slurm_bench.pure import loaders
from slurm_bench.pure.loaders import GENERATOR, LOADER, READER, READING
from slurm_bench.pure.matching import Matching
from slurm_bench.pure.programs import PRINTS, Place, Program, Unit, last_name
from slurm_bench.pure.remarks import Remark, on
from slurm_bench.pure.writes import Writes

_CHANGING = {
    "bitwise_and", "bitwise_or", "clamp", "clamp_max", "clamp_min", "clip", "flip", "floor_divide", "fmod", "gather",
    "index_select", "masked_fill", "maximum", "minimum", "remainder", "repeat_interleave", "roll", "scatter", "sort",
    "take", "unique", "where",
}  # fmt: skip
"""Functions and methods whose result holds other tokens, or holds them elsewhere."""


def remarks(passing: Sequence[Unit], matching: Matching, candidate: Program, writes: Writes) -> Iterator[Remark]:
    """Remark on new statements of the candidate that change, leave out or bring in batches.

    Args:
        passing: the baseline's statements through which batches pass, from the shards to the model.
    """
    yield from _changed(matching, candidate, writes)
    new = [unit for unit in candidate.units if matching.is_new(unit)]
    places = {matching.found[unit].where for unit in passing if unit in matching.found and unit.scope}
    yielding = {head for unit in candidate.units if loaders.yields(unit) for head in unit.heads}
    reading = {unit.scope.partition(".")[0] for unit in candidate.units if loaders.calls(unit, {READER})}
    for unit in new:
        if unit.scope.partition(".")[0] in reading - {""} | {GENERATOR} and _changes_values(unit):
            yield on(unit, "data", "tokens are changed on their way out of a shard", proven=True)
        if unit.where in places and _is_handed_on(unit, matching):
            yield on(unit, "data", "a batch is handed to what can only change it", proven=True)
        if unit.where in places and isinstance(unit.node, ast.Continue) and yielding & set(unit.heads):
            yield on(unit, "data", "the loader leaves out batches", proven=True)
        if unit.scope.partition(".")[0] not in LOADER and loaders.calls(unit, READING):
            yield on(unit, "data", "shards are read elsewhere", proven=True)


def other_positions(
    loader: Sequence[Unit], edited: Unit | None, matching: Matching, candidate: Program
) -> Iterator[Remark]:
    """Remark on statements by which the loader's objects find other places in a shard.

    Args:
        loader: all statements of the baseline's loader.
        edited: the candidate's statement that does other arithmetic, where it is all that differs in the loader.
    """
    methods = (new.scope for unit, new in matching.found.items() if unit in loader and "." in unit.scope)
    classes = {scope.partition(".")[0] for scope in methods}
    for unit in loaders.Positions(loader, candidate.units).computed_otherwise(classes):
        proven = True if unit is edited else None
        yield on(unit, "data", "the loader finds its batches in another way", proven=proven)


def _changed(matching: Matching, candidate: Program, writes: Writes) -> Iterator[Remark]:
    """Statements that write into a batch after the loader has made it."""
    batches: dict[Place, set[str]] = defaultdict(set)
    for unit in candidate.units:
        if loaders.calls(unit, {"next", "__next__"}):
            batches[unit.where] |= unit.binds
    for unit in filter(matching.is_new, candidate.units):
        if unit.where in batches and writes.into(unit) & writes.views(unit.where, batches[unit.where]):
            yield on(unit, "data", "a batch is changed after the loader made it", proven=True)


def _changes_values(unit: Unit) -> bool:
    called = (last_name(node.func) for node in unit.nodes if isinstance(node, ast.Call))
    return any(name.rstrip("_") in _CHANGING for name in called)


def _is_handed_on(unit: Unit, matching: Matching) -> bool:
    """Whether it calls something with a value of the baseline's, and drops what that returns."""
    match unit.node:
        case ast.Expr(value=ast.Call(func=function, args=given)) if last_name(function) not in PRINTS:
            known = matching.old_names(unit.where)
            return any(isinstance(each, ast.Name) and each.id in known for each in given)
    return False
