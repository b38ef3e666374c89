"""Text of sacct and squeue to attempts and states."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import NamedTuple

from slurm_bench.words.accounting import Attempt, JobState
from slurm_bench.words.errors import SchedulerError

FIELDS = (
    "JobID",
    "JobIDRaw",
    "JobName",
    "State",
    "ExitCode",
    "ElapsedRaw",
    "AllocTRES",
    "ReqTRES",
    "Submit",
    "Start",
    "End",
    "NodeList",
)
"""Columns for `sacct --parsable2 --format`; times as epoch seconds (SLURM_TIME_FORMAT=%s)."""

# The untyped count includes the typed one and all nodes of the job: it alone is summed.
_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)(K?)")


def attempts(text: str) -> list[Attempt]:
    """Attempts in the output of `sacct -X -D --parsable2`, oldest first, each once.

    Rows of an array's range (`7_[2-9]`) stand for tasks that have no row of their own yet, and can be
    stale: they are no attempts.

    Raises:
        SchedulerError: the header is not FIELDS, or a row cannot be read.
    """
    header, *rows = text.splitlines() or [""]
    if tuple(header.split("|")) != FIELDS:
        raise SchedulerError(f"sacct printed other columns than asked for: {header!r}")
    return merged(_attempt(row) for row in map(_split, rows) if "[" not in row[0])


def merged(*accounts: Iterable[Attempt]) -> list[Attempt]:
    """All attempts that any of these accounts knows, oldest first; of one attempt the last account's word."""
    by_key = {attempt.key: attempt for account in accounts for attempt in account}
    return sorted(by_key.values(), key=attrgetter("submitted"))


def _split(row: str) -> list[str]:
    values = row.split("|")
    if len(values) != len(FIELDS):
        raise SchedulerError(f"sacct printed a row with {len(values)} columns: {row!r}")
    return values


def _attempt(row: Sequence[str]) -> Attempt:
    job_id, raw_id, name, state_text, exit_text, elapsed, allocated, requested, submit, start, end, node = row
    state = job_state(state_text)
    job, _, task = job_id.partition("_")
    try:
        return Attempt(
            raw_id=raw_id,
            job_id=job,
            job_name=name,
            task=int(task or 0),
            state=state,
            exit_code=_exit_code(exit_text),
            elapsed_s=max(0, int(elapsed)),  # below 0 where the node's clock is behind slurmctld's
            # A job that runs can still have an empty AllocTRES; one that never ran was allocated nothing.
            gpus=gpus(allocated or ("" if state.is_terminal else requested)),
            submitted=datetime.fromtimestamp(int(submit), UTC),
            started=epoch_time(start),
            ended=epoch_time(end),
            node=node,
        )
    except ValueError as error:
        raise SchedulerError(f"sacct printed a row that is none ({error}): {row!r}") from None


def epoch_time(text: str) -> datetime | None:
    """None of Unknown, None and the like."""
    return datetime.fromtimestamp(int(text), UTC) if text.isdigit() else None


@cache
def _exit_code(text: str) -> int:
    """Of `0:9` and the like, as a shell would say it."""
    code, signal = (int(part) for part in text.split(":"))
    return code or (128 + signal if signal else 0)


@cache
def job_state(text: str) -> JobState:
    """State of `CANCELLED by 1000` and the like.

    Raises:
        SchedulerError: a state that Slurm's manual does not know; guessing could free GPU-hours in use.
    """
    name = text.split(maxsplit=1)[0] if text.strip() else text
    try:
        return JobState(name)
    except ValueError:
        raise SchedulerError(f"unknown Slurm job state {text!r}") from None


@cache
def gpus(tres: str) -> int:
    """GPUs in a TRES list such as `cpu=16,gres/gpu:h100=8,gres/gpu=8,node=1`."""
    count = _GPUS.search(tres)
    return int(count[1]) * (1024 if count[2] else 1) if count else 0


QUEUE_FORMAT = "%j|%i|%T|%M|%r"
"""Columns for `squeue --array --states=all --noheader --format`."""

_PASSES = re.compile(
    r"None|Priority|Resources|Dependency|BeginTime|JobArrayTaskLimit|Licenses|Reservation|Cleaning|Prolog"
    r"|(ReqNodeNotAvail|Nodes required for job are).*"
    r"|(QOS|Assoc)(Grp|Max)(?!\w*(Minutes|Wall|Per(Job|Node)))\w+"
)
"""Reasons to wait that go by themselves, when other jobs end or their time comes. Of others nobody knows that: holds,
limits that no wait lifts, a partition that is down, and what Slurm may yet come to say.
"""


class _QueueRow(NamedTuple):
    name: str
    job: str
    task: int | None
    """None of a row for a whole array."""
    state: JobState
    used: str
    reason: str


def live_states(squeue: str) -> dict[str, dict[int, JobState]]:
    """States by job name and array task of what is not over yet."""
    states: dict[str, dict[int, JobState]] = {}
    for row in _queue_rows(squeue):
        if not row.state.is_terminal:
            states.setdefault(row.name, {})[row.task or 0] = row.state
    return states


def cancelled_rests(squeue: str) -> dict[str, frozenset[int]]:
    """By name the arrays whose pending tasks were cancelled, with those tasks that are still listed by themselves.

    Such tasks leave no row in the accounting, ever; for a while squeue shows one row for all of them, with the
    array's own number and no time used.
    """
    rows = list(_queue_rows(squeue))
    ended = {row.name for row in rows if (row.state, row.used) == (JobState.CANCELLED, "0:00") and row.task is None}
    return {name: frozenset(row.task for row in rows if row.name == name and row.task is not None) for name in ended}


def stuck(squeue: str) -> dict[str, str]:
    """By name the jobs of which nothing runs, and nothing is known to start by itself, with the queue's reason."""
    reasons: dict[str, list[str]] = {}
    for row in _queue_rows(squeue):
        if not row.state.is_terminal:
            passes = row.state is not JobState.PENDING or _PASSES.fullmatch(row.reason)
            reasons.setdefault(row.name, []).append("" if passes else row.reason)
    return {name: found[0] for name, found in reasons.items() if all(found)}


def _queue_rows(squeue: str) -> Iterator[_QueueRow]:
    for line in squeue.splitlines():
        try:
            name, job, state, used, reason = line.rsplit("|", 4)
            _, _, task = job.partition("_")
            yield _QueueRow(name, job, int(task) if task else None, job_state(state), used, reason)
        except ValueError as error:
            raise SchedulerError(f"squeue printed a row that is none ({error}): {line!r}") from None


def latest_states(rows: Iterable[Attempt]) -> dict[int, JobState]:
    """State of each task's newest attempt: a requeue resets Submit.

    An attempt without an end is not over, whatever its state: a database that catches up after an outage says
    COMPLETED first, and the end, and with it what was used, some seconds later.
    """
    newest = {row.task: row for row in sorted(rows, key=attrgetter("submitted"))}
    return {task: _state(row) for task, row in newest.items()}


def _state(row: Attempt) -> JobState:
    return JobState.COMPLETING if row.state.is_terminal and row.ended is None else row.state
