"""Text of sacct and squeue to attempts and states."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.records import Attempt, JobState

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
_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d+)")


_RANGE = re.compile(r"\d+_\[(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)(?:%\d+)?\]")


def attempts(text: str) -> list[Attempt]:
    """Attempts in the output of `sacct -X -D --parsable2`, in its order.

    Rows of an array's range (`7_[2-9]`) stand for tasks that have no row of their own yet, and can be
    stale: they are no attempts.

    Raises:
        SchedulerError: the header is not FIELDS, or a row cannot be read.
    """
    header, *rows = text.splitlines() or [""]
    if tuple(header.split("|")) != FIELDS:
        raise SchedulerError(f"sacct printed other columns than asked for: {header!r}")
    cells = (dict(_columns(row)) for row in rows)
    return [_attempt(row) for row in cells if "[" not in row["JobID"]]


def ended_ranges(text: str) -> dict[str, dict[int, JobState]]:
    """Terminal states by job name and array task in rows that stand for several tasks, such as `7_[4-9%2]`.

    Tasks that were cancelled while they were pending have no other row, and not even this one for certain. A row of a
    task by itself says more, and so does squeue; what Slurm has shortened (`7_[0,2,...%3]`) is left out.
    """
    header, *rows = text.splitlines() or [""]
    states: dict[str, dict[int, JobState]] = {}
    for row in rows if tuple(header.split("|")) == FIELDS else ():
        cells = dict(_columns(row))
        named = _RANGE.fullmatch(cells["JobID"])
        if named and job_state(cells["State"]).is_terminal:
            tasks = dict.fromkeys(_tasks(named[1]), job_state(cells["State"]))
            states.setdefault(cells["JobName"], {}).update(tasks)
    return states


def _tasks(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _columns(row: str) -> Iterator[tuple[str, str]]:
    values = row.split("|")
    if len(values) != len(FIELDS):
        raise SchedulerError(f"sacct printed a row with {len(values)} columns: {row!r}")
    return zip(FIELDS, values, strict=True)


def _attempt(row: dict[str, str]) -> Attempt:
    state = job_state(row["State"])
    job, _, task = row["JobID"].partition("_")
    code, _, signal = row["ExitCode"].partition(":")
    return Attempt(
        job_id=job,
        job_name=row["JobName"],
        task=int(task or 0),
        state=state,
        exit_code=int(code) or (128 + int(signal) if int(signal) else 0),
        elapsed_s=int(row["ElapsedRaw"]),
        # A job that runs can still have an empty AllocTRES; one that never ran was allocated nothing.
        gpus=gpus(row["AllocTRES"] or ("" if state.is_terminal else row["ReqTRES"])),
        submitted=datetime.fromtimestamp(int(row["Submit"]), UTC),
        started=_time(row["Start"]),
        ended=_time(row["End"]),
        node=row["NodeList"],
    )


def _time(text: str) -> datetime | None:
    return datetime.fromtimestamp(int(text), UTC) if text.isdigit() else None


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


def gpus(tres: str) -> int:
    """GPUs in a TRES list such as `cpu=16,gres/gpu:h100=8,gres/gpu=8,node=1`."""
    count = _GPUS.search(tres)
    return int(count[1]) if count else 0


def live_states(squeue: str) -> dict[str, dict[int, JobState]]:
    """States by job name and array task in the output of `squeue --array --noheader --format=%j|%i|%T`."""
    states: dict[str, dict[int, JobState]] = {}
    for line in squeue.splitlines():
        name, job, state = line.rsplit("|", 2)
        states.setdefault(name, {})[int(job.partition("_")[2] or 0)] = job_state(state)
    return states


def latest_states(rows: Iterable[Attempt]) -> dict[int, JobState]:
    """State of each task's newest attempt: a requeue resets Submit."""
    return {row.task: row.state for row in sorted(rows, key=lambda row: row.submitted)}
