"""`command=records`: rows of the human tables as a clone of upstream has them, and what of it wants a person."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm_bench.effects import git_history, human_records, record_answers, store
from slurm_bench.effects.git_history import README, Clone
from slurm_bench.pure import leaderboard, main_line, proposals, record_logs
from slurm_bench.pure.leaderboard import Entry
from slurm_bench.pure.main_line import Step
from slurm_bench.pure.proposals import Answer, Code, CodeFile, Draft, Proposal, Row, Topic
from slurm_bench.pure.record_logs import Choice, Log, Undecided
from slurm_bench.pure.rules import PROGRAM
from slurm_bench.words.config import Config, RecordsCommand
from slurm_bench.words.errors import UsageError

ANSWERS = "answers.yaml"
FIRST = 29
"""Number of the first record that the tables have: agents start there, or later."""
_LOGS = (".txt", ".log")
_ABSENT = "0" * 40
"""Blob of a file that a commit deletes."""


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: no whole clone, no leaderboard in it, tables or answers of another form; or questions are open.
        InfrastructureError: git failed.
    """
    command = config.command
    assert isinstance(command, RecordsCommand)
    assert command.source is not None
    tables = Path(command.tables) if command.tables else human_records.SHIPPED
    known = {int(row["leaderboard_number"]): row for row in human_records.rows("human_records", tables)}
    found = _proposed(_Upstream.read(git_history.clone(command.source)), known, record_answers.read(tables / ANSWERS))
    if command.into:
        _write(found, known, tables, Path(command.into))
    _say(found, known, tables)


@dataclass(frozen=True)
class _Upstream:
    """A clone, its leaderboard, and where on the main line the records are."""

    clone: Clone
    head: str
    entries: Sequence[Entry]
    line: Sequence[Step]
    came: Mapping[int, int]
    listed: Mapping[int, Sequence[int]]

    @classmethod
    def read(cls, clone: Clone) -> "_Upstream":
        line = clone.main_line()
        boards = {step.readme for step in line} - {"", _ABSENT}
        parsed = {blob: leaderboard.parse(data.decode("utf-8", "replace")) for blob, data in clone.read(boards).items()}
        head = line[-1].commit.sha
        entries = [entry for entry in parsed.get(clone.files(head).get(README, ""), ()) if entry.number >= FIRST]
        if not entries:
            raise UsageError(f"command.source: {README} of {clone.repository} has no leaderboard with record {FIRST}")
        numbers = {blob: [entry.number for entry in board] for blob, board in parsed.items()}
        return cls(clone, head, entries, line, main_line.arrivals(line, entries), main_line.listings(line, numbers))

    def files_at(self, commit: str) -> tuple[CodeFile, ...]:
        """A record's files as a commit has them."""
        top = {name: blob for name, blob in self.clone.files(commit).items() if name.endswith(".py")}
        data = self.clone.read(top.values())
        return proposals.files_of({name: (blob, data[blob]) for name, blob in top.items()})

    def logs(self, entry: Entry) -> list[Log]:
        """All logs in a record's folder, by path."""
        listed = self.clone.files(self.head, entry.folder) if entry.folder else {}
        paths = {path: blob for path, blob in listed.items() if path.endswith(_LOGS)}
        data = self.clone.read(paths.values())
        return [record_logs.read(path, data[blob]) for path, blob in sorted(paths.items())]


def _proposed(
    upstream: _Upstream, known: Mapping[int, Row], answers: Mapping[int, Mapping[Topic, Answer]]
) -> list[Proposal]:
    strangers = sorted(set(answers) - {entry.number for entry in upstream.entries})
    if strangers:
        raise UsageError(f"{ANSWERS}: the leaderboard has no record {strangers[0]} from {FIRST} on")
    drafts = (Draft(entry, answers.get(entry.number, {}), known.get(entry.number, {})) for entry in upstream.entries)
    return [_proposal(draft, upstream) for draft in drafts]


def _proposal(draft: Draft, upstream: _Upstream) -> Proposal:
    code = _code(draft, upstream)
    logs = upstream.logs(draft.entry)
    own = _own(draft, logs)
    linked = [log for log in logs if log.path == draft.entry.log] or (own.logs if own else ())
    return proposals.propose(draft, code, own, linked[0] if linked else None)


def _code(draft: Draft, upstream: _Upstream) -> Code | None:
    number = draft.entry.number
    if "code" in draft.answers:
        commit = upstream.clone.full(draft.answers["code"].choose[0])
        code = Code(commit, upstream.files_at(commit))
    elif number in upstream.came:
        where = main_line.window(number, upstream.line, upstream.came, upstream.listed)
        code = proposals.code_of(where, upstream.files_at)
    else:
        draft.ask("code", "no commit of the main line brings it; the files of which commit is it?")
        return None
    if not code.files:
        draft.ask("code", f"{code.commit} has no {PROGRAM} that is Python; the files of which commit is it?")
    return code


def _own(draft: Draft, logs: Sequence[Log]) -> Choice | None:
    if not draft.entry.log:
        return None
    try:
        return record_logs.own(logs, draft.entry.log, draft.patterns())
    except Undecided as problem:
        draft.ask("runs", str(problem))
        return None


# What is said and written.


def _say(found: Sequence[Proposal], known: Mapping[int, Row], tables: Path) -> None:
    """
    Raises:
        UsageError: questions are open.
    """
    rows = [proposal for proposal in found if proposal.row]
    apart = [each for proposal in rows for each in proposals.differences(proposal, known.get(proposal.number, {}))]
    for each in apart:
        print(f"{each.record}: {each.column} is {each.there!r} in {tables}, here {each.proposed!r}")
    new = sum(proposal.number not in known for proposal in rows)
    differ = len({each.record for each in apart})
    print(f"{len(found)} records: {len(rows) - new - differ} as in {tables}, {differ} not as there, {new} new")
    wordless = [row["record"] for proposal in found if (row := proposal.row) and not row["description"]]
    if wordless:
        print(f"without a description, a warm_up and an objective, which are yours to write: {', '.join(wordless)}")
    questions = [question for proposal in found for question in proposal.questions]
    for question in questions:
        print(f"record {question.number}, {question.topic}: {question.text}")
    if questions:
        raise UsageError(f"{len(questions)} questions are open; answer them in {tables / ANSWERS}")


def _write(found: Sequence[Proposal], known: Mapping[int, Row], tables: Path, into: Path) -> None:
    """Write a whole folder of tables; a record without a proposal keeps the rows that it has."""
    proposed = {proposal.number: proposal.row for proposal in found if proposal.row}
    records = [row for _, row in sorted({**known, **proposed}.items())]
    kept = {row["record"] for number, row in known.items() if number not in proposed}
    runs = [row for row in human_records.rows("human_runs", tables) if row["record"] in kept]
    runs += _all(proposal.runs for proposal in found)
    rules = {row["record"]: row for row in human_records.rows("human_rules", tables)}
    texts = {
        "human_records": proposals.text_of(proposals.COLUMNS, records),
        "human_runs": proposals.text_of(proposals.RUN_COLUMNS, sorted(runs, key=lambda row: row["log_file"])),
        "human_rules": proposals.text_of(
            proposals.RULE_COLUMNS, [rules.get(row["record"], {"record": row["record"]}) for row in records]
        ),
        "reasons": proposals.text_of(proposals.REASON_COLUMNS, _all(proposal.reasons for proposal in found)),
    }
    others = {file.name: file.read_text() for file in (*tables.glob("*.tsv"), *tables.glob(ANSWERS))}
    into.mkdir(parents=True, exist_ok=True)
    for name, text in (others | {f"{name}.tsv": text for name, text in texts.items()}).items():
        store.write_text(into / name, text)
    print(f"proposed tables: {into}")


def _all(groups: Iterable[Iterable[Row]]) -> list[Row]:
    return [row for group in groups for row in group]
