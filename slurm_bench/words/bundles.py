"""What ties a session's verdicts together, and what says whose bundle an archive is, as Records."""

from datetime import datetime

from slurm_bench.words.records import Record


class Stamp(Record):
    """What a verdict rested on when it was given, chained to the verdicts of its session before it."""

    submission: str
    previous: str
    """Digest of the stamp before; of the first, of the session's origin."""
    confirmation: int | None
    """The how manieth confirmation of its session it queued; None if it is none, or queued nothing."""
    files: dict[str, str]
    """SHA-256 by path in the session's folder."""
    stamped_at: datetime


class ListedExperiment(Record):
    """An experiment of an agent, which a bundle has no more of than this."""

    number: str
    path: str
    """As its agent named the folder."""
    gpus: int
    gpu_seconds: int
    """That it was charged, as far as was known at the export."""


class ListedExperiments(Record):
    """Those that a session's agent had begun when a verdict was given. No verdict rests on them."""

    experiments: tuple[ListedExperiment, ...]


class Manifest(Record):
    """Whose bundle an archive is, and what wrote it."""

    campaign: str
    session: str
    submission: str
    stamp: str
    """Digest of the submission's stamp, which commits to all verdicts up to it."""
    revision: str
    """Of our code at the export."""
    versions: dict[str, str]
    """Of what computes a verdict, at the export."""
