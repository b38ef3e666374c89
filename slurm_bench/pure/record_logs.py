"""A record's logs in upstream's repository: what program each ran, on what, and which are the record's own."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from slurm_bench.pure import trainlog
from slurm_bench.pure.normal_form import normalised, text_of
from slurm_bench.pure.rules import PROGRAM, SEPARATOR

GPUS = 8
"""That the leaderboard's times are measured on."""
LINKED = "linked"
"""Answers that the record's own runs are those of the program that the linked log ran."""

_RULE = "-" * 40
_FILE = re.compile(rf"\n*^{_RULE}\n# (\w+\.py)\n{_RULE}\n+", re.MULTILINE)
"""Before each further file of a program's text."""
_GPU = re.compile(r"^\|\s+\d+\s+NVIDIA (\S.*?)\s+(?:On|Off)\s+\|", re.MULTILINE)
_TORCH = re.compile(r"^Running PyTorch (\S+)", re.MULTILINE)
_TRITON = re.compile(r"^Running Triton version (\S+)", re.MULTILINE)
_FINAL = re.compile(r"step:(\d+)/\d+ val_loss:(\S+) train_time:(\d+)ms step_avg:(\S+)ms")


@dataclass(frozen=True)
class Run:
    """The final line of a finished run, as it is written."""

    loss: str
    """Nats a token."""
    ms: str
    """Of training."""
    step_ms: str
    steps: str


@dataclass(frozen=True)
class Log:
    path: str
    program: str
    """The text of all its files, one after the other."""
    gpus: int
    machine: str
    """GPUs, PyTorch and Triton in words."""
    run: Run | None
    """None where it is not finished."""

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def counts(self) -> bool:
        """Whether it can be one of a record's own: a finished run on eight GPUs."""
        return self.run is not None and self.gpus == GPUS

    @property
    def form(self) -> str:
        """The program without comments, annotations and docstrings: the same for programs that do the same."""
        return _form(self.program)

    def files(self) -> dict[str, str]:
        """Text of each of the program's files by name."""
        parts = _FILE.split(self.program)
        return {PROGRAM: parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}

    def ran(self, files: Mapping[str, bytes]) -> bool:
        """Whether it ran these files, comments, annotations and layout apart."""
        logged, asked = self.files(), {name: _text(data) for name, data in files.items()}
        return logged.keys() == asked.keys() and all(_form(text) == _form(asked[name]) for name, text in logged.items())


@dataclass(frozen=True)
class Choice:
    """The logs that are a record's own, and why."""

    logs: tuple[Log, ...]
    because: str


class Undecided(Exception):
    """Which logs are a record's own wants a person; the message says what is open."""


@cache
def _form(program: str) -> str:
    try:
        return text_of(normalised(ast.parse(program)))
    except SyntaxError:
        return program


def read(path: str, data: bytes) -> Log:
    """Return what a log says."""
    text = _text(data)
    program, _, rest = f"{text}\n".partition(f"\n{SEPARATOR}\n")
    gpus = _GPU.findall(rest)
    return Log(path, program, len(gpus), _machine(gpus, rest), _run(text))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


def _machine(gpus: Sequence[str], text: str) -> str:
    versions = [
        (name, found[1])
        for name, pattern in (("PyTorch", _TORCH), ("Triton", _TRITON))
        if (found := pattern.search(text))
    ]
    return ", ".join([f"{len(gpus)} {' and '.join(sorted(set(gpus)))}", *(" ".join(each) for each in versions)])


def _run(text: str) -> Run | None:
    try:
        trainlog.parse(text)
    except trainlog.NoResult:
        return None
    steps, loss, ms, step_ms = _FINAL.findall(text)[-1]
    return Run(loss, ms, step_ms, steps)


def own(logs: Sequence[Log], link: str, patterns: Sequence[str] = ()) -> Choice:
    """Return a record's own logs: those of the program that the linked log ran, or that an answer names.

    Args:
        logs: all in the record's folder.
        link: path of the linked log, or of a folder.
        patterns: of paths below the record's folder, by an answer; or the answer `linked`.

    Raises:
        Undecided: other programs' logs lie beside them, and there is no answer.
    """
    if patterns and list(patterns) != [LINKED]:
        return _named(logs, patterns)
    linked = [log for log in logs if log.path == link or log.path.startswith(f"{link}/")]
    programs = {log.form for log in linked}
    if len(programs) != 1:
        raise Undecided(f"the linked {link} holds logs of {len(programs)} programs; which are the record's own?")
    beside = {log.folder for log in linked}
    counting = [log for log in logs if log.counts]
    others = sum(log.folder in beside and log.form not in programs for log in counting)
    chosen = tuple(log for log in counting if log.form in programs)
    if others and not patterns:
        raise Undecided(
            f"beside the linked log lie {len(chosen)} runs of its program and {others} of others; "
            "which are the record's own?"
        )
    return Choice(chosen, f"the finished runs on {GPUS} GPUs of the program that the linked log ran")


def _named(logs: Sequence[Log], patterns: Sequence[str]) -> Choice:
    chosen = tuple(log for log in logs if log.counts and any(_fits(log.path, each) for each in patterns))
    if not chosen:
        raise Undecided(f"no finished run on {GPUS} GPUs fits {' or '.join(patterns)}; which are the record's own?")
    return Choice(chosen, f"the finished runs on {GPUS} GPUs that the answer names: {', '.join(patterns)}")


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(path.split("/", 3)[3], pattern)
