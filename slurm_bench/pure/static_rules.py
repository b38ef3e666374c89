"""The rules that a syntax tree can decide: the baseline's program against the candidate's.

A check extracts the pieces of a program that its rule protects, as normalised source. The candidate must hold
the same pieces as the baseline; what a check cannot prove is left to other judges.
"""

import ast
import copy
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from slurm_bench.words.records import Finding

PROGRAM = "train_gpt.py"
LAUNCHER = "run.sh"

_LOADER = {"_load_data_shard", "BOSFinder", "DataPreloader", "distributed_data_generator"}
_DATA_SETTINGS = {"train_files", "val_files", "val_tokens", "val_batch_size"}
_CLOCK = {"perf_counter", "training_time_ms", "t0"}
_WARM_UP = {"warmup_steps", "initial_state"}
_COMPILER_SETTINGS = ("torch._inductor.config", "torch._dynamo.config")
_CODE_FROM_TEXT = {"exec", "eval", "compile", "__import__", "importlib.import_module"}
_PATCHING_CALLS = {"setattr", "delattr", "globals", "locals", "vars", "object.__setattr__", "os.putenv"}
_STANDARD = {"atexit", "builtins", "ctypes", "gc", "importlib", "inspect", "runpy", "signal", "subprocess"}
_FAR_REACHING = _STANDARD | {"_inductor", "_dynamo"}
"""Parts of imported names with which a program could reach around what the other checks look at."""

_LIBRARIES = {"numpy", "torch", "triton", "flash_attn", "flash_attn_interface"} | sys.stdlib_module_names


@dataclass(frozen=True)
class Piece:
    line: int
    source: str


@dataclass(frozen=True)
class _Check:
    rule: str
    what: str
    pieces: Callable[[ast.Module], Iterator[Piece]]
    only_additions: bool = False
    """Whether leaving a piece away is allowed."""


def findings(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> tuple[Finding, ...]:
    """Broken rules of a candidate beside the baseline; both map file names to text."""
    found = list(_launcher(baseline[LAUNCHER], candidate[LAUNCHER]))
    for name, text in candidate.items():
        if name.endswith(".py"):
            found += _in_program(name, baseline.get(name, ""), text)
    return tuple(found)


def _in_program(name: str, baseline: str, candidate: str) -> Iterator[Finding]:
    stem = name.removesuffix(".py").partition("/")[0]
    if stem in _LIBRARIES:
        yield Finding(rule="one-program", message=f"takes the place of the module {stem}", file=name)
    try:
        reference, tree = ast.parse(baseline), ast.parse(candidate)
        for check in _CHECKS:
            yield from _compare(name, check, list(check.pieces(reference)), list(check.pieces(tree)))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        yield Finding(rule="one-program", message="cannot be parsed", file=name, line=line)
    except (RecursionError, MemoryError):
        yield Finding(rule="one-program", message="nests too deeply to be read", file=name)


def _launcher(baseline: str, candidate: str) -> Iterator[Finding]:
    if baseline != candidate:
        yield Finding(rule="environment", message="run.sh differs from the starting record's", file=LAUNCHER)


def _compare(name: str, check: _Check, reference: list[Piece], pieces: list[Piece]) -> Iterator[Finding]:
    """At most one finding a check: the first piece that was added, beside the first that went missing."""
    missing = _surplus(reference, pieces)
    added = _surplus(pieces, reference)
    if added or (missing and not check.only_additions):
        yield Finding(
            rule=check.rule,
            message=f"{check.what} differs",
            file=name,
            line=added[0].line if added else None,
            baseline=missing[0].source if missing else "",
            candidate=added[0].source if added else "",
        )


def _surplus(pieces: list[Piece], reference: list[Piece]) -> list[Piece]:
    left = Counter(piece.source for piece in reference)
    surplus = []
    for piece in pieces:
        if left[piece.source]:
            left[piece.source] -= 1
        else:
            surplus.append(piece)
    return surplus


# What each check extracts.


def _loader(tree: ast.Module) -> Iterator[Piece]:
    """The loader's definitions, and whatever else of the program they are built from."""
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    wanted, seen = [name for name in _LOADER if name in definitions], set[str]()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        yield _piece(definitions[name])
        used = {node.id for node in ast.walk(definitions[name]) if isinstance(node, ast.Name)}
        wanted += [other for other in used & definitions.keys() - seen if other not in wanted]
    yield from _bindings(tree, _LOADER | seen)


def _data_settings(tree: ast.Module) -> Iterator[Piece]:
    for node in ast.walk(tree):
        if _targets(node) & _DATA_SETTINGS or (isinstance(node, ast.keyword) and node.arg in _DATA_SETTINGS):
            yield _piece(node)


def _validation(tree: ast.Module) -> Iterator[Piece]:
    """The innermost branches that log a validation loss."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and _logs_validation(node):
            inner = (child for child in ast.walk(node) if isinstance(child, ast.If) and child is not node)
            if not any(_logs_validation(child) for child in inner):
                yield _piece(node)


def _logs_validation(node: ast.AST) -> bool:
    texts = (child.value for child in ast.walk(node) if isinstance(child, ast.Constant))
    return any(isinstance(text, str) and "val_loss:" in text for text in texts)


def _clock(tree: ast.Module) -> Iterator[Piece]:
    return _statements_with(tree, _CLOCK)


def _warm_up(tree: ast.Module) -> Iterator[Piece]:
    return _statements_with(tree, _WARM_UP)


def _prints(tree: ast.Module) -> Iterator[Piece]:
    """Calls that print, and the program's own way of printing."""
    yield from _calls(tree, lambda name: name in ("print", "print0"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "print0":
            yield _piece(node)


def _compile_calls(tree: ast.Module) -> Iterator[Piece]:
    """Every use of torch.compile, called, as a decorator or under another name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.compile":
            yield Piece(node.lineno, "torch.compile")
    yield from _calls(tree, lambda name: name == "torch.compile")


def _compiler_settings(tree: ast.Module) -> Iterator[Piece]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and any(
            name in _head(node) for name in _COMPILER_SETTINGS
        ):
            yield _piece(node)


def _code_from_text(tree: ast.Module) -> Iterator[Piece]:
    return _calls(tree, lambda name: name in _CODE_FROM_TEXT)


def _far_reaching_imports(tree: ast.Module) -> Iterator[Piece]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            words = set(re.findall(r"\w+", ast.unparse(node)))
            if words & _FAR_REACHING or {"torch", "compile"} <= words:
                yield _piece(node)


def _patches(tree: ast.Module) -> Iterator[Piece]:
    """What changes a library or the environment while the program runs."""
    foreign = {
        (name.asname or name.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            if _root(node) in foreign:
                yield _piece(node)
        elif isinstance(node, ast.Attribute) and node.attr in ("__dict__", "__globals__"):
            yield _piece(node)
    yield from _calls(tree, lambda name: name in _PATCHING_CALLS or name.startswith("os.environ."))


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _bindings(tree: ast.Module, names: set[str]) -> Iterator[Piece]:
    """Every place that gives one of the names a meaning."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name in names:
                yield Piece(node.lineno, f"definition of {name}")
            case ast.Name(id=name, ctx=ast.Store()) if name in names:
                yield Piece(node.lineno, f"{name} = …")
            case ast.Import() | ast.ImportFrom() if {alias.asname or alias.name for alias in node.names} & names:
                yield _piece(node)


_CHECKS = (
    _Check("data", "the data loader", _loader),
    _Check("data", "a file pattern or validation size", _data_settings),
    _Check("validation", "the validation branch", _validation),
    _Check("warm-up", "a statement of the warm-up", _warm_up),
    _Check("timing", "a statement that reads or moves the clock", _clock),
    _Check("prints", "a print", _prints),
    _Check("compiler", "a torch.compile call", _compile_calls, only_additions=True),
    _Check("compiler", "a setting of the compiler", _compiler_settings),
    _Check("environment", "an import that reaches around the rules", _far_reaching_imports, only_additions=True),
    _Check("one-program", "a call that makes code from text", _code_from_text, only_additions=True),
    _Check("environment", "a change to a library or to the environment", _patches, only_additions=True),
)


# Helpers on the tree.


def _piece(node: ast.AST) -> Piece:
    return Piece(getattr(node, "lineno", 0), ast.unparse(node))


def _statements_with(tree: ast.Module, names: set[str]) -> Iterator[Piece]:
    """Statements that speak of one of the names: a compound one by its head, its body by itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and names & _names(node):
            yield Piece(node.lineno, _head(node))


def _head(statement: ast.stmt) -> str:
    if not hasattr(statement, "body"):
        return ast.unparse(statement)
    # Without its body, which nests: the head of each level would else unparse all levels below.
    bare = copy.copy(statement)
    for name in ("body", "orelse", "handlers", "finalbody"):
        if hasattr(bare, name):
            setattr(bare, name, [ast.Pass()] if name == "body" else [])
    return ast.unparse(bare).partition("\n")[0]


def _names(statement: ast.stmt) -> set[str]:
    """Names and attributes in a statement, without those of the statements in it."""
    names: set[str] = set()
    nodes: list[ast.AST] = [statement]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        nodes += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
    return names


def _calls(tree: ast.Module, matches: Callable[[str], bool]) -> Iterator[Piece]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and matches(ast.unparse(node.func)):
            yield _piece(node)


def _targets(node: ast.AST) -> set[str]:
    match node:
        case ast.Assign():
            return {ast.unparse(target).rpartition(".")[2] for target in node.targets}
        case ast.AnnAssign() | ast.AugAssign():
            return {ast.unparse(node.target).rpartition(".")[2]}
        case _:
            return set()
