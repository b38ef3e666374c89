"""Names that protected statements use, and that a candidate gives another meaning where those statements stand."""

import ast
import builtins
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from slurm_bench.pure.normal_form import nodes_of
from slurm_bench.pure.programs import Place, Program, Unit
from slurm_bench.pure.remarks import Remark, on


def remarks(standing: Iterable[Unit], candidate: Program) -> Iterator[Remark]:
    """
    Args:
        standing: the candidate's statements that stand for protected ones.
    """
    standing = set(standing)
    libraries, own = _used(standing, candidate)
    twice = Counter((unit.where, name) for unit in candidate.units for name in unit.binds)
    for unit in candidate.units:
        is_new = unit not in standing
        if is_new and any(name in libraries[place] for place, name in _bindings(unit, candidate)):
            yield on(unit, "readable", "a name of a library or of Python gets another meaning", proven=True)
        if isinstance(unit.node, ast.Global) and unit.binds & own[unit.file, ""]:
            yield on(unit, "readable", "a function that protected statements call is given twice", proven=True)
        if any(name in own[unit.where] and twice[unit.where, name] > 1 for name in unit.binds):
            yield on(unit, "readable", "a function that protected statements call is given twice", proven=True)


def _used(standing: Iterable[Unit], candidate: Program) -> tuple[Mapping[Place, set[str]], Mapping[Place, set[str]]]:
    """By place what the statements there, or in functions there, take from libraries, and from the program's top."""
    given = candidate.foreign | frozenset(dir(builtins))
    libraries: dict[Place, set[str]] = defaultdict(set)
    own: dict[Place, set[str]] = defaultdict(set)
    for unit in standing:
        own[unit.file, ""] |= unit.reads & candidate.definitions
        scope = unit.scope
        while True:
            libraries[unit.file, scope] |= unit.reads & given
            if scope:  # a variable in the place of the program's own function
                libraries[unit.file, scope] |= unit.reads & candidate.definitions
            if not scope:
                break
            scope = scope.rpartition(".")[0]
    return libraries, own


def _bindings(unit: Unit, candidate: Program) -> Iterator[tuple[Place, str]]:
    """What a statement gives a meaning that is not a library's own, and where."""
    match unit.node:
        case ast.Import(names=aliases):
            names = [each.asname or "" for each in aliases if each.name.partition(".")[0] in candidate.modules]
        case ast.ImportFrom(module=module, level=level, names=aliases):
            is_own = level > 0 or module in candidate.modules
            names = [each.asname or each.name for each in aliases] if is_own else []
        case _:
            names = list(unit.binds)
    yield from ((unit.where, name) for name in names)
    if isinstance(unit.node, ast.FunctionDef):
        inner = f"{unit.scope}.{unit.node.name}".strip(".")
        arguments = [node.arg for node in nodes_of(unit.node.args) if isinstance(node, ast.arg)]
        yield from (((unit.file, inner), name) for name in arguments)
