"""What is asked for as an experiment, and how one stands."""

from collections.abc import Iterable

from slurm_bench.pure.budget import h100_hours
from slurm_bench.words.accounting import JobState, LedgerEntry
from slurm_bench.words.errors import InvalidCandidate
from slurm_bench.words.experiments import Experiment, ExperimentNote, ExperimentRequest, ExperimentRun

CANCELLED = 130
"""As of a program that Ctrl-C ended."""
WAS_CANCELLED = "it was cancelled"
SITE_FAILED = 3
TIMED_OUT = 124
"""As `timeout` has it."""


def asked(request: ExperimentRequest, gpus: int, minutes: float, most_minutes: float) -> tuple[int, float]:
    """Return the GPUs and minutes that are asked for.

    Args:
        gpus: of a timed run, which are the default and the most.
        minutes: that a timed run may take, which are the default.
        most_minutes: of an experiment.

    Raises:
        InvalidCandidate: they are out of bounds.
    """
    wanted, longest = request.gpus, request.minutes
    if wanted is not None and not 0 < wanted <= gpus:
        raise InvalidCandidate(f"--gpus {wanted}: 1 to {gpus}")
    if longest is not None and not 0 < longest <= most_minutes:
        raise InvalidCandidate(f"--minutes {longest:g}: more than 0, and {most_minutes:g} at most")
    return wanted or gpus, longest or min(minutes, most_minutes)


def all_wait(entries: Iterable[LedgerEntry]) -> bool:
    """Return whether something of a session is queued for GPUs, beside its own job, and nothing of it has begun."""
    queued = [each for each in entries if each.settled_at is None and each.kind not in ("session", "relay")]
    return bool(queued) and not any(attempt.started for each in queued for attempt in each.attempts)


def at_its_end(note: ExperimentNote, run: ExperimentRun | None, entry: LedgerEntry, left: float) -> ExperimentNote:
    """Return the last note on an experiment whose job is settled.

    Args:
        left: H100-hours of the session's budget.
    """
    exit_code, why = _end(run, entry)
    known = {
        "state": "over",
        "exit_code": exit_code,
        "note": why,
        "starts": None,
        "h100_hours": round(h100_hours(entry.charged_gpu_seconds, entry.weight), 4),
        "left_h100_hours": round(left, 4),
    }
    return note.model_copy(update=known)


def _end(run: ExperimentRun | None, entry: LedgerEntry) -> tuple[int, str]:
    if run and run.exit_code is not None:
        passed_over = f"{run.passed_over} files or folders of what it wrote were not kept" if run.passed_over else ""
        return run.exit_code, "; ".join(filter(None, (run.note, passed_over)))
    last = entry.attempts[-1].state if entry.attempts else JobState.CANCELLED
    if last is JobState.CANCELLED:
        return CANCELLED, WAS_CANCELLED
    return SITE_FAILED, f"the site ended its job ({last.value}); ask again"


def refused(request: ExperimentRequest, exit_code: int, why: str) -> ExperimentNote:
    """Return the note on what is not run."""
    return ExperimentNote(
        number="",
        request=request.id,
        path=request.path,
        gpus=request.gpus or 0,
        minutes=request.minutes or 0.0,
        state="over",
        note=why,
        exit_code=exit_code,
    )


def begun(experiment: Experiment) -> ExperimentNote:
    """Return the first note on one that is taken up."""
    return ExperimentNote(
        number=experiment.number,
        request=experiment.request,
        path=experiment.path,
        gpus=experiment.gpus,
        minutes=experiment.minutes,
        state="waiting",
    )
