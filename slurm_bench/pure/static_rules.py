"""The rules that a syntax tree can decide: the baseline's program against the candidate's.

What is proven is a finding, and rejects. What could be a breach and could be honest is a suspicion, for a model or a
reader; a rewritten loader waits for one of them.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice, zip_longest

from slurm_bench.pure import forbidden, novelties, protected, suspicious
from slurm_bench.pure.library_names import LIBRARY_NAMES
from slurm_bench.pure.normal_form import nodes_of
from slurm_bench.pure.plain import odd_line
from slurm_bench.pure.programs import Program, module_of
from slurm_bench.pure.remarks import Remark, unreadable
from slurm_bench.pure.rules import LAUNCHER, PROGRAM, SEPARATOR

_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
"""How a file names its encoding (PEP 263), in one of its first two lines."""

_RESULT = re.compile(r"val_loss:\d")
_COMPUTING = (ast.Call, ast.NamedExpr, ast.Lambda, ast.comprehension, ast.Await, ast.Yield, ast.YieldFrom)
_TOO_DEEP = "nests too deeply to be read"
_CHECKS = (*forbidden.CHECKS, *suspicious.CHECKS)
_LIBRARIES = {"flash_attn_interface", "nvidia"} | LIBRARY_NAMES | sys.stdlib_module_names
"""What Python or a library may import at any time, from the candidate's folder too."""


def remarks(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> list[Remark]:
    """What can be said of a candidate beside the baseline, each kind once; both map file names to text."""
    found = [*_launcher(baseline, candidate), *_unreadable(candidate), *_other_files(baseline, candidate)]
    found += _logs_quoted(baseline, candidate)
    if not any(remark.rule == "readable" for remark in found):
        try:
            ours, theirs = _starting_record(tuple(baseline.items())), Program(candidate)
            found += [*_unused(theirs), *protected.differences(ours, theirs)]
            if ours.declares_steps and not theirs.declares_steps:
                message = "how many steps it trains for cannot be read"
                found.append(Remark(rule="steps", message=message, proven=False, file=PROGRAM))
            found += novelties.remarks(ours, theirs, _CHECKS)
        except (RecursionError, MemoryError):
            found.append(unreadable(longest(candidate), _TOO_DEEP))
    return _first_of_each(found)


@lru_cache(maxsize=1)
def _starting_record(files: tuple[tuple[str, str], ...]) -> Program:
    """The same for all candidates of a process: what has been computed of its statements is kept with it."""
    return Program(dict(files))


def _first_of_each(found: Iterable[Remark]) -> list[Remark]:
    """One remark of each kind: the first place is enough."""
    kinds: dict[tuple[str, str, bool | None], Remark] = {}
    for remark in found:
        kinds.setdefault((remark.rule, remark.message, remark.proven), remark)
    return list(kinds.values())


def _launcher(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Iterator[Remark]:
    """The launcher is the starting record's, to the byte: what a shell makes of a text is not guessed at."""
    lines = zip_longest(baseline[LAUNCHER].split("\n"), candidate[LAUNCHER].split("\n"))
    differing = ((number, ours, theirs) for number, (ours, theirs) in enumerate(lines, start=1) if ours != theirs)
    for number, ours, theirs in islice(differing, 1):
        yield Remark(
            rule="environment",
            message="run.sh differs from the starting record's",
            proven=True,
            file=LAUNCHER,
            line=number,
            baseline=ours or "",
            candidate=theirs or "",
        )


def _unreadable(candidate: Mapping[str, str]) -> Iterator[Remark]:
    for name, text in candidate.items():
        if not name.endswith(".py"):
            continue
        stem = name.removesuffix(".py").partition("/")[0]
        if stem in _LIBRARIES:
            yield unreadable(name, f"takes the place of the module {stem}, which a library may import")
        cookie = _COOKIE.search("\n".join(text.split("\n")[:2]))
        if "\ufffd" in text or (cookie and cookie[1].lower().replace("_", "-") not in ("utf-8", "utf8")):
            yield unreadable(name, "is not UTF-8: Python could read another text than we do", 1)
        odd = odd_line(text)
        if odd:
            yield unreadable(name, "holds characters that make it look other than it is run", odd)
        try:
            yield from _annotations(name, ast.parse(text))
        except (SyntaxError, ValueError) as error:
            yield unreadable(name, "cannot be parsed", getattr(error, "lineno", None))
        except (RecursionError, MemoryError):
            yield unreadable(name, _TOO_DEEP)


def _logs_quoted(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Iterator[Remark]:
    """Text that looks like a log's line with a result: a log quotes its program."""
    for name, text in candidate.items():
        found = _RESULT.search(text)
        if found and SEPARATOR in text and name.endswith(".py") and not _RESULT.search(baseline.get(name, "")):
            line = text.count("\n", 0, found.start()) + 1
            message = "a text that looks like a line of the log"
            yield Remark(rule="prints", message=message, proven=True, file=name, line=line, candidate=found[0])


def _annotations(file: str, tree: ast.Module) -> Iterator[Remark]:
    """Annotations that compute: they are run, and nobody reads them."""
    for node in nodes_of(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if annotation and any(isinstance(each, _COMPUTING) for each in nodes_of(annotation)):
            yield unreadable(file, "an annotation computes something", annotation.lineno)


def _other_files(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Iterator[Remark]:
    for name in candidate:
        if name not in baseline and not name.endswith((".py", ".md")):
            yield Remark(rule="tuning", message="a file comes along that is no program", proven=False, file=name)


def _unused(candidate: Program) -> Iterator[Remark]:
    """Files that nothing of the candidate imports: whatever does would be none of its code."""
    for file in candidate.files:
        if file != PROGRAM and module_of(file) not in candidate.imported:
            yield unreadable(file, "nothing in the candidate imports it")


def longest(candidate: Mapping[str, str]) -> str:
    """The Python file that is hardest to read."""
    return max((name for name in candidate if name.endswith(".py")), key=lambda name: len(candidate[name]))
