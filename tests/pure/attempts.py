"""Attempts and entries as tests want them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
_FINISHED = Attempt(
    raw_id="7",
    job_id="7",
    job_name="job",
    task=0,
    state=JobState.COMPLETED,
    exit_code=0,
    elapsed_s=100,
    gpus=2,
    submitted=NOON,
    started=NOON,
    ended=NOON + timedelta(seconds=100),
    node="gpu1",
)


def attempt(**changes: object) -> Attempt:
    """A task of two GPUs that ran 100 s."""
    return replace(_FINISHED, **changes)  # type: ignore[arg-type]


def running(**changes: object) -> Attempt:
    return attempt(state=JobState.RUNNING, ended=None, **changes)


def entry(**changes: object) -> LedgerEntry:
    """Two tasks of two GPUs for at most 150 s each."""
    made = LedgerEntry(
        job_name="job", kind="retiming", tasks=2, gpus=2, limit_s=120, overrun_s=30, weight=1.0, reserved_at=NOON
    )
    return made.model_copy(update=changes)
