"""What a candidate has of a kind that its baseline has not, or no longer."""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

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
    against: Literal["more", "less", "other"] = "more"
    """What is wrong: more than the baseline has, less, or either."""
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
        theirs = list(_pieces(check.extract, candidate))
        if not theirs and check.against == "more":
            continue
        ours = list(_pieces(check.extract, baseline))
        added, missing = _surplus(theirs, ours, check.counted), _surplus(ours, theirs, check.counted)
        new = added[0] if added and check.against != "less" else None
        old = missing[0] if missing else None
        if new or (old and check.against != "more"):
            yield Remark(
                rule=check.rule,
                message=check.message,
                proven=check.proven,
                file=new.file if new else old.file if old else "",
                line=new.line if new else None,
                baseline=old.source if old else "",
                candidate=new.source if new else "",
            )


def _pieces(extract: Extract, program: Program) -> Iterator[_Piece]:
    for file, node in program.nodes:
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
