"""A training log's text to its result. The format is that of the human records (human_baselines/README.md)."""

import ast
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence

from slurm_bench.words.trials import TrainResult

SEPARATOR = "=" * 100
"""Before the first such line the log holds the program's own text, which speaks of losses too."""

_VALIDATION = re.compile(
    r"^step:(?P<step>\d{1,9})/(?P<steps>\d{1,9}) val_loss:(?P<loss>\S{1,40}) "
    r"train_time:(?P<ms>\d{1,12}(?:\.\d{1,9})?)ms step_avg:\S{1,40}$",
    re.MULTILINE,
)


class NoResult(Exception):
    """The log holds no final line that can be believed; the message says why."""


def parse(log: str) -> TrainResult:
    """Result on the last validation line, which must stand at the last step and be finite.

    Raises:
        NoResult: no separator, no validation line, not the last step, two last lines, or no finite loss.
    """
    _, separator, progress = f"\n{log}".partition(f"\n{SEPARATOR}\n")
    if not separator:
        raise NoResult("no line of 100 '=' after the program's text")
    lines = list(_VALIDATION.finditer(progress))
    final = [line for line in lines if line["step"] == line["steps"]]
    if not lines or not final:
        raise NoResult("no validation line at the last step")
    if len(final) > 1 or final[0] is not lines[-1]:
        raise NoResult("more than one final validation line")
    return _result(final[0])


def _result(line: re.Match[str]) -> TrainResult:
    try:
        loss = float(line["loss"])
    except ValueError:
        raise NoResult(f"val_loss {line['loss']!r} is no number") from None
    if not math.isfinite(loss):
        raise NoResult(f"val_loss {loss} is not finite")
    return TrainResult(steps=int(line["steps"]), val_loss=loss, train_time_s=float(line["ms"]) / 1000)


def implausible(result: TrainResult, wall_s: float, declared: Sequence[int]) -> str:
    """Why a result cannot be true, by what we know without the candidate; empty if it can.

    Args:
        declared: training steps that its program declares; none where that cannot be read.
    """
    if result.train_time_s > wall_s:
        return f"claims {result.train_time_s:.2f} s of training in {wall_s:.2f} s"
    if declared and result.steps not in declared:
        return f"logs {result.steps} steps, its program declares {' or '.join(map(str, declared))}"
    return ""


_SUM = ("num_scheduled_iterations", "num_extension_iterations")
"""Later records split their steps in two; their log counts the sum."""
_STEPS = ("num_iterations", "iteration_extension", "train_steps", *_SUM)
_MOST_STEPS = 10**9
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}


def declared_steps(program: str) -> frozenset[int]:
    """The numbers of training steps that a program's text sets; several where it has presets.

    None if any of them cannot be read: an honest run may then count to a number that we do not know.
    """
    known: dict[str, int] = {}
    found = set()
    try:
        for name, expression in sorted(_declarations(ast.parse(program)), key=lambda each: each[1].lineno):
            value = _constant(expression, known)
            if value is None:
                return frozenset()
            known[name] = value
            found.add(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    if all(name in known for name in _SUM):
        found.add(sum(known[name] for name in _SUM))
    return frozenset(found)


def _declarations(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Wherever the text gives a number of steps a value."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)], value=value) if name in _STEPS:
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in _STEPS:
                yield name, value
            case ast.keyword(arg=str(name), value=value) if name in _STEPS:
                yield name, value


def _constant(expression: ast.expr, known: Mapping[str, int]) -> int | None:
    match expression:
        case ast.Constant(value=int(value)) if abs(value) <= _MOST_STEPS:
            return value
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return known.get(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            sides = _constant(left, known), _constant(right, known)
            if sides[0] is None or sides[1] is None or (isinstance(op, ast.FloorDiv) and sides[1] == 0):
                return None
            value = int(_OPERATORS[type(op)](sides[0], sides[1]))
            return value if abs(value) <= _MOST_STEPS else None
        case _:
            return None
