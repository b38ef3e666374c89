"""What a verdict is computed again from, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from slurm_bench.pure.blocks import Left
from slurm_bench.pure.review import Review
from slurm_bench.pure.verdict import Terms
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.bundles import Manifest, Stamp
from slurm_bench.words.config import Config
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.records import Seal, Session, Submission
from slurm_bench.words.trials import Arm, Decoy, EarlyStop, Retiming, Trial, TrialPlan
from slurm_bench.words.verdicts import Verdict


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    found: str
    agrees: bool | None
    """None where nothing could be computed again: it rests on the records alone."""


@dataclass(frozen=True)
class Array:
    """What an array of blocks left behind; runs by place of their arm and index."""

    plan: TrialPlan
    records: Mapping[tuple[int, int], Trial]
    logs: Mapping[tuple[int, int], str]
    """Training logs."""
    entry: LedgerEntry | None
    """The scheduler's rows."""

    @property
    def left(self) -> Left:
        return Left(self._record, f"{self.plan.arms[0].trials_dir.rpartition('/')[0]}/jobs")

    def _record(self, arm: Arm, index: int) -> Trial | None:
        return self.records.get((self.plan.arms.index(arm), index))


@dataclass(frozen=True)
class Exhibit:
    """The stamped records of one submission."""

    stamp: Stamp
    submission: Submission
    verdict: Verdict
    seal: Seal | None
    opinion: Opinion | None
    second_opinion: Opinion | None
    arrays: tuple[Array, ...]
    """Its array, and that of the blocks that were run once more, if they were planned."""
    decoy: Decoy | None
    decoy_arrays: tuple[Array, ...]
    """Likewise; none where another session made it."""
    stopped: EarlyStop | None
    collected: Retiming | None


@dataclass(frozen=True)
class Sealed:
    """A seal, with the files that are said to be its."""

    seal: Seal
    contents: Mapping[str, tuple[int, bytes]]
    """Mode and bytes by name."""
    text: Mapping[str, str]


@dataclass(frozen=True)
class Evidence:
    manifest: Manifest
    config: Config
    config_sha256: str
    session: Session
    images: frozenset[str] | None
    """SHA-256 of those that the session ran in; None where nobody wrote them down."""
    incumbent: Sealed
    candidate: Sealed | None
    stamps: tuple[Stamp, ...]
    """Of all verdicts of the session that there were at the export."""
    hashes: Mapping[str, str]
    """SHA-256 of the archive's members."""
    exhibit: Exhibit
    repeated: Exhibit | None
    """The earlier submission whose verdict is repeated."""
    earlier: tuple[Verdict, ...]
    """Of a confirmation, all verdicts of its session before it."""
    calibration: Retiming | None
    """In the classic design, with what it was taken from."""
    calibration_arrays: tuple[Array, ...]
    review: Review | None
    """What the static checker says of the candidate now."""
    facts: Mapping[str, str]
    """By rule, what the starting record does."""
    rules: str
    """Digest of the rules as they are now."""

    @property
    def timed(self) -> Exhibit:
        """Whose decision the verdict is."""
        return self.repeated or self.exhibit

    @property
    def beside(self) -> tuple[Trial, ...]:
        """The incumbent's trials, in the classic design."""
        return self.calibration.trials if self.calibration else ()

    @property
    def terms(self) -> Terms:
        """What the decision was made by."""
        return Terms.of(self.config.retime, self.config.task, self.exhibit.stamp.confirmation)


def compared(what: str, wrong: list[str], right: str) -> Check:
    """The check of a thing: what is wrong with it, or what is right."""
    return Check(what, "; ".join(wrong) if wrong else right, not wrong)
