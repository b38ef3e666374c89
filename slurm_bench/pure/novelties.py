"""What a candidate has of a kind that its baseline has not, or no longer."""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from slurm_bench.pure.programs import Program
from slurm_bench.pure.remarks import Remark

Extract = Callable[[ast.AST, Program], Iterator[str]]


@dataclass(frozen=True)
class Check:
    """
    Attributes:
        extract: yields a text for each occurrence at a node, the same for what is the same to the rule.
    """

    rule: str
    message: str
    extract: Extract
    proven: bool = True
    """Whether it can only be a breach."""
    fixed: bool = False
    """Whether what the baseline has must be there too."""
    only_missing: bool = False
    """Whether that is all that matters."""
    counted: bool = True
    """Whether another occurrence of what the baseline has is new."""


@dataclass(frozen=True)
class _Piece:
    file: str
    line: int
    text: str
    source: str


def remarks(baseline: Program, candidate: Program, checks: Iterable[Check]) -> Iterator[Remark]:
    """What a candidate has of each kind that its baseline has not."""
    for check in checks:
        ours, theirs = list(_pieces(check.extract, baseline)), list(_pieces(check.extract, candidate))
        added, missing = _surplus(theirs, ours, check.counted), _surplus(ours, theirs, check.counted)
        if added and not check.only_missing:
            old = missing[0].source if missing else ""
            yield Remark(check.rule, check.message, check.proven, added[0].file, added[0].line, old, added[0].source)
        elif missing and check.fixed:
            gone = missing[0]
            yield Remark(check.rule, check.message, check.proven, gone.file, None, gone.source)


def _pieces(extract: Extract, program: Program) -> Iterator[_Piece]:
    for file, node in program.walk():
        for text in extract(node, program):
            line = getattr(node, "lineno", 0)
            yield _Piece(file, line, text, program.line(file, line))


def _surplus(pieces: list[_Piece], reference: list[_Piece], counted: bool) -> list[_Piece]:
    left = Counter(piece.text for piece in reference)
    if not counted:
        return [piece for piece in pieces if piece.text not in left]
    surplus = []
    for piece in pieces:
        if left[piece.text]:
            left[piece.text] -= 1
        else:
            surplus.append(piece)
    return surplus
