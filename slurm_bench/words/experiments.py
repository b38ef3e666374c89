"""Experiments: an agent's own programs in jobs of their own. No verdict rests on any of it."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StringConstraints

from slurm_bench.words.records import Record, RequestId, Seal
from slurm_bench.words.trials import Caches, TrialPlan

ExperimentState = Literal["waiting", "running", "over"]


class ExperimentRequest(Record):
    """What the shims `experiment` and `experiments` write. Written by the agent's side: never trusted."""

    id: RequestId
    path: Annotated[str, StringConstraints(max_length=1024)] = ""
    gpus: Annotated[int, Field(gt=-(10**6), lt=10**6)] | None = None
    """None is as many as a timed run has."""
    minutes: FiniteFloat | None = None
    """None is as long as a timed run may take."""
    cancels: Annotated[str, StringConstraints(max_length=64)] = ""
    """Number of an experiment that is to be ended; all else is empty then."""


class Experiment(Record):
    """A request that the desk has taken up."""

    number: str
    request: str
    path: str
    gpus: int
    minutes: float
    received_at: datetime
    seal: Seal
    """The copy of its folder that is run."""


class ExperimentPlan(Record):
    """All that the runner on a node needs to know; it asks nobody else."""

    run: TrialPlan
    """Its one arm is the sealed copy of the folder."""
    output: str
    """File that gets what the program prints, as it comes."""
    left: str
    """Folder that gets what it wrote."""
    keeps: str
    """Archive for what it compiled."""
    record: str
    """File for its ExperimentRun."""


class ExperimentRun(Record):
    """One experiment as its runner saw it; written when it begins, and again at its end."""

    started: datetime
    ended: datetime | None = None
    node: str
    job: str
    exit_code: int | None = None
    note: str = ""
    left: int = 0
    """Files that were kept of what it wrote."""
    passed_over: int = 0
    """Files and folders that were not: too large, too many, or no plain files."""
    caches: Caches | None = None
    """What it compiled, beside what it began with."""


class ExperimentNote(Record):
    """How an experiment stands, as the agent is told in its inbox."""

    number: str
    """Empty where it was refused."""
    request: str
    path: str
    gpus: int
    minutes: float
    state: ExperimentState
    note: str = ""
    starts: datetime | None = None
    """While it waits, when the scheduler expects it to begin; None where it does not say."""
    exit_code: int | None = None
    h100_hours: float | None = None
    """That it was charged, once it is over."""
    left_h100_hours: float | None = None
    """Of the session's budget then."""
