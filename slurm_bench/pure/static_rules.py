"""The rules that a syntax tree can decide: the baseline's program against the candidate's.

What is proven is a finding, and rejects. What could be a breach and could be honest is a suspicion, for a model or a
reader.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

from slurm_bench.pure import forbidden, novelties, protected, suspicious
from slurm_bench.pure.programs import Program
from slurm_bench.pure.remarks import Remark, unreadable
from slurm_bench.pure.rules import LAUNCHER

_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
"""How a file names its encoding (PEP 263), in one of its first two lines."""

_DISGUISE = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that make text look other than it is run: they command a terminal, or turn the direction of writing."""

_COMPUTING = (ast.Call, ast.NamedExpr, ast.Lambda, ast.comprehension, ast.Await, ast.Yield, ast.YieldFrom)
_TOO_DEEP = "nests too deeply to be read"
_CHECKS = (*forbidden.CHECKS, *suspicious.CHECKS)
_LIBRARIES = {"numpy", "torch", "triton", "flash_attn", "flash_attn_interface"} | sys.stdlib_module_names


def remarks(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> list[Remark]:
    """What can be said of a candidate beside the baseline, each kind once; both map file names to text."""
    found = [*_launcher(baseline, candidate), *_unreadable(candidate), *_other_files(baseline, candidate)]
    if not any(remark.rule == "readable" for remark in found):
        try:
            ours, theirs = Program(baseline), Program(candidate)
            found += [*protected.differences(ours, theirs), *novelties.remarks(ours, theirs, _CHECKS)]
        except (RecursionError, MemoryError):
            found.append(unreadable(longest(candidate), _TOO_DEEP))
    return _first_of_each(found)


def _first_of_each(found: Iterable[Remark]) -> list[Remark]:
    """One remark of each kind: the first place is enough."""
    kinds: dict[tuple[str, str, bool], Remark] = {}
    for remark in found:
        kinds.setdefault((remark.rule, remark.message, remark.proven), remark)
    return list(kinds.values())


def _launcher(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Iterator[Remark]:
    ours, theirs = _commands(baseline[LAUNCHER]), _commands(candidate[LAUNCHER])
    if list(ours.values()) != list(theirs.values()):
        lines = [number for number, text in theirs.items() if text not in ours.values()]
        line = lines[0] if lines else None
        new = theirs.get(line, "") if line else ""
        gone = next((text for text in ours.values() if text not in theirs.values()), "")
        yield Remark(
            rule="environment",
            message="run.sh differs from the starting record's",
            proven=True,
            file=LAUNCHER,
            line=line,
            baseline=gone,
            candidate=new,
        )


def _commands(script: str) -> dict[int, str]:
    """Lines of a shell script that are no comments, by number."""
    lines = {number: line.rstrip() for number, line in enumerate(script.splitlines(), start=1)}
    return {n: line for n, line in lines.items() if line and (n == 1 or not line.lstrip().startswith("#"))}


def _unreadable(candidate: Mapping[str, str]) -> Iterator[Remark]:
    for name, text in candidate.items():
        if not name.endswith(".py"):
            continue
        stem = name.removesuffix(".py").partition("/")[0]
        if stem in _LIBRARIES:
            yield unreadable(name, f"takes the place of the module {stem}")
        cookie = _COOKIE.search("\n".join(text.split("\n")[:2]))
        if "\ufffd" in text or (cookie and cookie[1].lower().replace("_", "-") not in ("utf-8", "utf8")):
            yield unreadable(name, "is not UTF-8: Python could read another text than we do", 1)
        disguise = _DISGUISE.search(text)
        if disguise:
            line = 1 + text.count("\n", 0, disguise.start())
            yield unreadable(name, "holds characters that make it look other than it is run", line)
        try:
            yield from _annotations(name, ast.parse(text))
        except (SyntaxError, ValueError) as error:
            yield unreadable(name, "cannot be parsed", getattr(error, "lineno", None))
        except (RecursionError, MemoryError):
            yield unreadable(name, _TOO_DEEP)


def _annotations(file: str, tree: ast.Module) -> Iterator[Remark]:
    """Annotations that compute: they are run, and nobody reads them."""
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if annotation and any(isinstance(each, _COMPUTING) for each in ast.walk(annotation)):
            yield unreadable(file, "an annotation computes something", annotation.lineno)


def _other_files(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Iterator[Remark]:
    for name in candidate:
        if name not in baseline and not name.endswith((".py", ".md")):
            yield Remark(rule="tuning", message="a file comes along that is no program", proven=False, file=name)


def longest(candidate: Mapping[str, str]) -> str:
    """The Python file that is hardest to read."""
    return max((name for name in candidate if name.endswith(".py")), key=lambda name: len(candidate[name]))
