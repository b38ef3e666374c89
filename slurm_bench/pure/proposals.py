"""Rows of the human tables for the records of upstream's leaderboard: each choice has its reason, none is a guess."""

import ast
import hashlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from slurm_bench.pure.leaderboard import Entry
from slurm_bench.pure.main_line import Window
from slurm_bench.pure.record_logs import Choice, Log
from slurm_bench.pure.rules import PROGRAM

Topic = Literal["name", "code", "runs", "made_by"]
Row = Mapping[str, str]

COLUMNS = (
    *("record", "date", "leaderboard_number", "leaderboard_minutes", "description", "contributors"),
    *("mean_seconds_faster_vs_FA3", "upstream_commit", "upstream_path", "blob_sha1", "sha256", "exact"),
    *("extra_files", "log_dir", "n_logs", "log_mean_train_time_s", "log_mean_val_loss", "made_by", "logged_code"),
)
RUN_COLUMNS = ("record", "log_file", "final_val_loss", "final_train_time_ms", "step_avg_ms", "n_steps")
RULE_COLUMNS = ("record", "warm_up", "objective")
REASON_COLUMNS = ("record", "what", "choice", "because")

OURS = {"description": "", "mean_seconds_faster_vs_FA3": "", "exact": "yes"}
"""What a new row begins with in columns that upstream says nothing of; what the tables have there is kept."""


@dataclass(frozen=True)
class Answer:
    """What a person decided of a record."""

    choose: tuple[str, ...]
    because: str


@dataclass(frozen=True)
class Question:
    """What wants a person."""

    number: int
    """Of the record on the leaderboard."""
    topic: Topic
    text: str


@dataclass(frozen=True)
class CodeFile:
    name: str
    blob: str
    data: bytes


@dataclass(frozen=True)
class Code:
    """A record's files at a commit, the program first."""

    commit: str
    files: tuple[CodeFile, ...]
    because: str = ""


@dataclass(frozen=True)
class Proposal:
    """A record's rows; without a row where a question is open."""

    number: int
    row: Row | None
    runs: tuple[Row, ...] = ()
    reasons: tuple[Row, ...] = ()
    questions: tuple[Question, ...] = ()


def files_of(sources: Mapping[str, tuple[str, bytes]]) -> tuple[CodeFile, ...]:
    """Return the program and the files beside it that it imports, they too, in the order of the imports.

    Args:
        sources: blob and bytes of the files of one folder by name.

    Returns:
        Nothing where there is no program, or one of the files is no Python.
    """
    found: dict[str, CodeFile] = {}
    waiting = [PROGRAM]
    try:
        while waiting:
            name = waiting.pop(0)
            if name in sources and name not in found:
                found[name] = CodeFile(name, *sources[name])
                waiting += _imports(sources[name][1])
    except SyntaxError:
        return ()
    return tuple(found.values())


def _imports(source: bytes) -> Iterator[str]:
    """Files that a module imports where they lie beside it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name}.py" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield f"{node.module}.py"


def code_of(window: Window, at: Callable[[str], tuple[CodeFile, ...]]) -> Code:
    """Return the code that the main line held when the leaderboard got the record, at the first commit that holds it.

    Args:
        at: gives the record's files at a commit.
    """
    commits = [step.commit.sha for step in (window.came, *window.edits)]
    found = [at(commit) for commit in commits]
    first = found.index(found[-1])
    because = f"it came by {commits[0][:8]}"
    changes = [
        commit[:8] for commit, before, after in zip(commits[1:], found, found[1:], strict=False) if before != after
    ]
    if changes:
        because += f", upstream changed it by {' and '.join(changes)}"
    because += f", and {window.listed.commit.sha[:8]} put it on the leaderboard"
    return Code(commits[first], found[first], because)


@dataclass
class Draft:
    """What is known of a record so far."""

    entry: Entry
    answers: Mapping[Topic, Answer]
    kept: Row
    """The tables' row of the record; empty where they have none."""
    questions: list[Question] = field(default_factory=list)
    reasons: list[Row] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the record: that of its folder; empty where there is none and no answer."""
        return self._answered("name") or self.entry.folder.rpartition("/")[2]

    @property
    def made_by(self) -> str:
        return self._answered("made_by") or self.entry.made_by

    def _answered(self, topic: Topic) -> str:
        return self.answers[topic].choose[0] if topic in self.answers else ""

    def patterns(self) -> tuple[str, ...]:
        """The answer which logs are the record's own."""
        return self.answers["runs"].choose if "runs" in self.answers else ()

    def ask(self, topic: Topic, text: str) -> None:
        self.questions.append(Question(self.entry.number, topic, text))

    def because(self, what: str, choice: str, why: str, topic: Topic | None = None) -> None:
        """Note a choice: with the answer's reason where there is an answer."""
        if topic and topic in self.answers:
            why = f"answered: {self.answers[topic].because}"
        self.reasons.append({"record": self.name, "what": what, "choice": choice, "because": why})


def propose(draft: Draft, code: Code | None, own: Choice | None, linked: Log | None) -> Proposal:
    """Return a record's rows.

    Args:
        code: None where that is open.
        own: its own logs; None where it has none, or that is open.
        linked: the log that the leaderboard links, or one of the record's own where it links a folder.
    """
    if not draft.name:
        draft.ask("name", "the leaderboard links no folder; what is it to be called?")
    if not draft.made_by:
        draft.ask("made_by", "the leaderboard credits nobody; people, ai or people+ai?")
    if draft.questions or code is None:
        return Proposal(draft.entry.number, None, questions=tuple(draft.questions))
    logs = own.logs if own else ()
    row = _of_leaderboard(draft) | _of_code(draft, code) | _of_logs(draft, logs, own) | _logged(draft, code, linked)
    row |= {column: draft.kept.get(column, new) for column, new in OURS.items()}
    return Proposal(
        draft.entry.number,
        {column: row[column] for column in COLUMNS},
        tuple(_run(draft.name, log) for log in logs),
        tuple(draft.reasons),
    )


def _of_leaderboard(draft: Draft) -> dict[str, str]:
    entry = draft.entry
    draft.because("record", draft.name, "the folder of the log that the leaderboard links", "name")
    named = "name an AI system" if "ai" in draft.made_by else "name no AI system"
    draft.because("made_by", draft.made_by, f"the leaderboard's credits {named}", "made_by")
    return {
        "record": draft.name,
        "date": entry.date,
        "leaderboard_number": str(entry.number),
        "leaderboard_minutes": entry.minutes,
        "contributors": entry.contributors,
        "made_by": draft.made_by,
    }


def _of_code(draft: Draft, code: Code) -> dict[str, str]:
    program, *extra = code.files
    draft.because("upstream_commit", code.commit, code.because, "code")
    return {
        "upstream_commit": code.commit,
        "upstream_path": program.name,
        "blob_sha1": program.blob,
        "sha256": _sha256(program),
        "extra_files": ",".join(f"{file.name}@{file.blob}:{_sha256(file)}" for file in extra),
    }


def _sha256(file: CodeFile) -> str:
    return hashlib.sha256(file.data).hexdigest()


def _of_logs(draft: Draft, logs: Sequence[Log], own: Choice | None) -> dict[str, str]:
    runs = [log.run for log in logs if log.run]
    folder = _common({log.folder for log in logs})
    if own is None:
        draft.because("n_logs", "0", "the leaderboard links no log")
    else:
        draft.because("n_logs", str(len(runs)), own.because, "runs")
        draft.because("machine", " or ".join(sorted({log.machine for log in logs})), "as these logs say")
    return {
        "log_dir": folder,
        "n_logs": str(len(runs)),
        "log_mean_train_time_s": _mean([Decimal(run.ms) / 1000 for run in runs], "0.0001"),
        "log_mean_val_loss": _mean([Decimal(run.loss) for run in runs], "0.00001"),
    }


def _mean(values: Sequence[Decimal], unit: str) -> str:
    """The mean, rounded to a unit; empty of nothing."""
    return str(statistics.mean(values).quantize(Decimal(unit))) if values else ""


def _common(folders: Iterable[str]) -> str:
    """The deepest folder that holds them all."""
    parts = [folder.split("/") for folder in folders]
    same = 0
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        same += 1
    return "/".join(parts[0][:same]) if parts else ""


def _logged(draft: Draft, code: Code, linked: Log | None) -> dict[str, str]:
    if linked is None:
        said, why = "none", "there is no log"
    elif linked.ran({file.name: file.data for file in code.files}):
        said, why = "same", f"{linked.path} begins with these files, comments and layout apart"
    else:
        said, why = "differs", f"{linked.path} begins with other code"
    draft.because("logged_code", said, why)
    return {"logged_code": said}


def _run(name: str, log: Log) -> Row:
    assert log.run is not None
    values = (name, log.path, log.run.loss, log.run.ms, log.run.step_ms, log.run.steps)
    return dict(zip(RUN_COLUMNS, values, strict=True))


def text_of(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Return a table's text."""
    lines = [columns, *([row.get(column) or "" for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


# Beside the tables.


@dataclass(frozen=True)
class Difference:
    """Where a proposed row is not that of the tables."""

    record: str
    column: str
    there: str
    proposed: str


def differences(proposal: Proposal, kept: Row) -> list[Difference]:
    """Return where a proposed row is not the tables' own of that record; nothing where one of them is missing."""
    if proposal.row is None or not kept:
        return []
    return [
        Difference(proposal.row["record"], column, there, said)
        for column, said in proposal.row.items()
        if (there := kept.get(column, "")) != said
    ]
