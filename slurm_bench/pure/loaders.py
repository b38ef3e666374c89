"""Which statements of a baseline's data loader decide the tokens that come out of it.

The rest decides where in a shard a batch begins, and when the next shard is read: the human records have rewritten
that several times, with the same batches.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set

from slurm_bench.pure.normal_form import text_of
from slurm_bench.pure.programs import Unit, last_name, root_of

READER, GENERATOR = "_load_data_shard", "distributed_data_generator"
LOADER = frozenset({READER, GENERATOR, "BOSFinder"})
READING = {"from_file", "fromfile", "memmap", "readinto"}
_BEGINNING = re.compile(r"\[:\w+\]")
_MOST_DETOURS = 3
_ALIGNMENT = "align_to_bos"


def deciding(loader: Sequence[Unit]) -> Iterator[Unit]:
    """Yield the statements that read tokens from a shard, cut them into batches, or choose the shards.

    Args:
        loader: all statements of the loader, definitions and what they call.
    """
    reading = {unit.where for unit in loader if calls(unit, READING)}
    yielding = {unit.where for unit in loader if yields(unit)}
    generator = [unit for unit in loader if unit.scope == GENERATOR]
    names = _names_of_batches(generator)
    called = _called_in(*(unit for unit in loader if unit.where in yielding))
    for unit in loader:
        if unit.scope == GENERATOR:
            decides = yields(unit) or _is_unaligned(unit) or bool(unit.binds & names)
        else:
            method = unit.scope.rpartition(".")[2]
            decides = method in called or unit.where in reading | yielding or _defines(unit, reading | yielding)
        if decides:
            yield unit


def shards(loader: Sequence[Unit]) -> frozenset[str]:
    """Return the names in the generator that hold a whole shard's tokens."""
    return frozenset(name for unit in loader if unit.scope == GENERATOR for name in _loaded(unit.node))


def _loaded(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            pairs = list(zip(targets, values, strict=False))
        case ast.Assign(targets=[target], value=value):
            pairs = [(target, value)]
        case _:
            pairs = []
    for target, value in pairs:
        if isinstance(value, ast.Call) and last_name(value.func) == READER:
            yield root_of(target)


class Positions:
    """What a loader's objects keep between batches, and how a baseline computes it.

    A candidate may compute the same for a part of a shard, earlier, or beside; nothing else.
    """

    def __init__(self, loader: Sequence[Unit], candidate: Sequence[Unit]) -> None:
        self._known: dict[str, set[str]] = defaultdict(set)
        for unit in loader:
            for name, value in _kept(unit):
                self._known[name].add(_plain(value))
        self._candidate = candidate

    def computed_otherwise(self, classes: Set[str]) -> Iterator[Unit]:
        """Yield the candidate's statements in these classes that give such an attribute another value."""
        for unit in self._candidate:
            for name, value in _kept(unit):
                is_loaders = unit.scope.partition(".")[0] in classes and name in self._known
                if is_loaders and not self._is_known(value, self._known[name], unit, _MOST_DETOURS):
                    yield unit

    def _is_known(self, value: ast.expr, known: Set[str], unit: Unit, detours: int) -> bool:
        """Whether a value is computed as in the baseline, be it by way of another variable."""
        if _plain(value) in known:
            return True
        sources = list(self._assigned(value, unit)) if detours else []
        return bool(sources) and all(self._is_known(source, known, other, detours - 1) for other, source in sources)

    def _assigned(self, variable: ast.expr, unit: Unit) -> Iterator[tuple[Unit, ast.expr]]:
        """Statements that give a variable its value, an attribute anywhere, a name in the same function."""
        for other in self._candidate:
            match variable, other.node:
                case ast.Attribute(attr=name), ast.Assign():
                    yield from ((other, value) for kept, value in _kept(other) if kept == name)
                case ast.Name(id=name), ast.Assign(targets=[ast.Name(id=bound)], value=value) if (
                    other.where == unit.where
                ):
                    if bound == name:
                        yield other, value


def _kept(unit: Unit) -> Iterator[tuple[str, ast.expr]]:
    """Attributes of its own object that a method sets, with their values."""
    match unit.node:
        case ast.Assign(targets=[ast.Attribute(value=ast.Name("self"), attr=name)], value=value):
            yield name, value


def _plain(value: ast.expr) -> str:
    """Its text, of a part of a shard as of the whole, of an attribute as of an argument."""
    return _BEGINNING.sub("", text_of(value)).replace("self.", "")


def _names_of_batches(generator: Sequence[Unit]) -> frozenset[str]:
    """Names in the generator that hold files, the tokens of a batch, or what makes batches."""
    pattern = {name for unit in generator if calls(unit, {"glob"}) for name in unit.binds}
    files = {
        name for unit in generator if unit.reads & pattern and isinstance(unit.node, ast.Assign) for name in unit.binds
    }
    yielded = [unit for unit in generator if yields(unit)]
    batch = {name for unit in yielded for name in unit.reads}
    sources = {
        root_of(unit.node.value) for unit in generator if unit.binds & batch and isinstance(unit.node, ast.Assign)
    }
    makers = _called_in(*(head for unit in yielded for head in unit.heads))
    return frozenset((pattern | files | batch | sources | makers) - shards(generator) - {""})


def _called_in(*units: Unit) -> set[str]:
    """Functions and methods that statements call, by their own names."""
    return {last_name(node.func) for unit in units for node in unit.nodes if isinstance(node, ast.Call)}


def calls(unit: Unit, names: Set[str]) -> bool:
    """Return whether a statement calls a function or method of one of these names."""
    return any(isinstance(node, ast.Call) and last_name(node.func) in names for node in unit.nodes)


def yields(unit: Unit) -> bool:
    """Return whether a statement makes a generator of its function."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in unit.nodes)


def _is_unaligned(unit: Unit) -> bool:
    """Whether it stands where batches run on over documents' ends, as validation has them."""
    for each in (unit, *unit.heads):
        head = each.parent
        if head and isinstance(head.node, ast.If) and each.branch == "orelse" and _ALIGNMENT in head.reads:
            return True
    return False


def _defines(unit: Unit, places: set[tuple[str, str]]) -> bool:
    if not isinstance(unit.node, ast.FunctionDef):
        return False
    return (unit.file, f"{unit.scope}.{unit.node.name}".strip(".")) in places
