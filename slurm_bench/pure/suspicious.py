"""Constructs that may be honest where they are new, and are told to whoever can weigh them."""

import ast
from collections.abc import Iterator

from slurm_bench.pure.normal_form import nodes_of
from slurm_bench.pure.novelties import Check
from slurm_bench.pure.programs import EXITS, Program, dotted, imported_roots, last_name, root_of

_MODES = {"training"}
_LOADS = {
    "b64decode", "decompress", "frombuffer", "genfromtxt", "loadtxt", "open", "read", "read_bytes", "read_text",
    "readinto", "unpack",
}  # fmt: skip
"""Functions with which a program gets at data; those that read shards or weights have checks of their own."""
_DEFERRED = {"threading", "concurrent", "asyncio", "queue"}
_COMPUTING = {
    "__future__", "abc", "array", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses", "datetime",
    "decimal", "enum", "flash_attn", "flash_attn_interface", "fractions", "functools", "gc", "glob", "heapq",
    "itertools", "json", "math", "numbers", "numpy", "operator", "os", "pathlib", "random", "re", "statistics",
    "string", "sys", "textwrap", "time", "torch", "triton", "types", "typing", "uuid", "warnings",
}  # fmt: skip
"""Modules that a candidate may import without being asked; others have checks of their own, or are told."""
_LONG_TEXT = 500
_LONG_LIST = 24


def _modes(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in _MODES and isinstance(node.ctx, ast.Load):
        yield node.attr


def _loads(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Call) and last_name(node.func) in _LOADS:
        yield last_name(node.func)


def _deferred(node: ast.AST, _program: Program) -> Iterator[str]:
    yield from (root for root in imported_roots(node) if root in _DEFERRED)


def _imports(node: ast.AST, program: Program) -> Iterator[str]:
    """Modules that are neither the candidate's own, nor known to only compute, nor PyTorch's and its like."""
    yield from (root for root in imported_roots(node) if root not in _COMPUTING | _DEFERRED | program.modules)


def _reflection(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id="setattr" | "delattr" | "globals" | "locals" | "vars" as name)):
            yield name
        case ast.Call(func=ast.Name(id="getattr"), args=[_, second, *_]) if not isinstance(second, ast.Constant):
            yield "getattr"
        case ast.Call(func=ast.Attribute(attr="__setattr__" | "__delattr__" as name)):
            yield name
        case ast.FunctionDef(name="__getattribute__" | "__getattr__" | "__setattr__" | "__getitem__" as name):
            yield name
        case ast.Attribute(attr="__dict__" | "__globals__" | "__code__" | "modules" as name):
            yield name


def _clock_reads(node: ast.AST, _program: Program) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and root_of(node) == "time" and node.attr != "sleep":
        yield node.attr


def _training_calls(node: ast.AST, program: Program) -> Iterator[str]:
    if isinstance(node, ast.Call) and last_name(node.func) in program.trainers:
        yield "training"


def _early_ends(node: ast.AST, program: Program) -> Iterator[str]:
    """Ends of the program, and of loops that train."""
    match node:
        case ast.For() | ast.While() if program.trains(node):
            yield from ("break" for each in nodes_of(node) if isinstance(each, ast.Break | ast.Continue))
        case ast.Call() if dotted(node.func) in EXITS:
            yield "exit"


def _long_texts(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() | bytes() as value) if len(value) > _LONG_TEXT:
            yield "text"
        case ast.List(elts=elements) | ast.Tuple(elts=elements) if len(elements) > _LONG_LIST:
            yield "list"


def _causal(node: ast.AST, _program: Program) -> Iterator[str]:
    match node:
        case ast.keyword(arg="causal" | "is_causal", value=ast.Constant(value=True)):
            yield "causal"


CHECKS = (
    Check("comparable", "the program asks whether it is validated", _modes, proven=False),
    Check("tuning", "more is loaded than the starting record loads", _loads, proven=False),
    Check("tuning", "a long constant", _long_texts, proven=False),
    Check("off-clock", "work can run beside the training loop", _deferred, proven=False),
    Check("environment", "a module that the starting record does not import", _imports, proven=False),
    Check("environment", "names are looked up or set while the program runs", _reflection, proven=False),
    Check("comparable", "fewer attentions are said to be causal", _causal, proven=False, against="less"),
    Check("timing", "the time is asked in another place", _clock_reads, proven=False),
    Check("off-clock", "training steps are called from another place", _training_calls, proven=False),
    Check("steps", "a loop or the program can end early", _early_ends, proven=False),
)
