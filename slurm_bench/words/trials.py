"""What is run and what is computed from it: plans, trials, blocks and the tests of a verdict, each a Record."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from slurm_bench.words.data import DecoySet
from slurm_bench.words.records import Record, Seal


class Caches(Record):
    """What a decoy run left in its compile caches, as an archive."""

    archive: str
    sha256: str
    files: int
    bytes: int
    """Of the files, unpacked."""


class CacheUse(Record):
    """The compile caches of one run."""

    sha256: str | None
    """Of the archive that it began with; None where it began with empty ones."""
    given: int
    """Files and folders that it began with."""
    added: int
    """Those that there were more at its end: what it had to compile itself."""

    @property
    def is_miss(self) -> bool:
        """Whether it began with something, and had to compile much of it anew."""
        return self.sha256 is not None and self.added > max(_FEW_ADDED, self.given * _SMALL_SHARE)


_FEW_ADDED = 8
_SMALL_SHARE = 0.25
"""Of what it was given; a warm run of a human record adds about a hundredth."""


class Arm(Record):
    """One of the programs that are timed in turn on the same node, and where its trials are written down."""

    seal: Seal
    seal_dir: str
    trials_dir: str
    declared_steps: tuple[int, ...]
    """Training steps that the seal's program declares; empty where that cannot be read."""
    caches: Caches | None = None
    """What its runs begin with; None is empty caches."""
    keeps: str | None = None
    """Where this is the compiling half of a decoy run, the archive for what it compiles."""


class TrialPlan(Record):
    """All that the trial runner on a node needs to know; it asks nobody else."""

    job_name: str
    arms: tuple[Arm, ...]
    """What is timed; in the paired design the incumbent after it."""
    data_dir: str
    scratch_dir: str
    indices: tuple[int, ...]
    """Blocks by array task: all of them, or those whose first run was void."""
    candidate_first: tuple[int, ...]
    """Blocks that the candidate begins: half of all, drawn at random, so that nothing periodic favours either."""
    timeout_s: int
    """Of one trial."""
    scratch_bytes: int
    """What a trial may write on its node."""
    environment: dict[str, str]
    container: Literal["none", "apptainer"]
    image: str | None
    image_sha256: str | None
    gpus: int
    """GPUs that must be seen inside the container; 0 where none are handed in."""
    foreign_cores: float | None
    """CPU cores that processes of others may use before a trial starts; None where the node is shared."""
    step: tuple[str, ...]
    cache_variables: dict[str, str] = Field(default_factory=dict)
    """Variables that name a compile cache, and the folder that each gets."""
    patience_s: float = 60.0
    """How long a runner waits until it can write into the folder of runs: its GPUs wait with it."""
    is_decoy: bool = False
    """Whether it is of a decoy run: its arms are the canary, and what compiles before it if anything is to be kept."""


class Calibration(Record):
    """A program that is timed outside any session."""

    id: str
    program: str
    arms: tuple[Seal, ...]
    """It, and the incumbent if that runs beside it in each block."""


RECORD_LOST = 74
"""How a runner ends that cannot write into the folder of runs (EX_IOERR): what it timed is void."""


class TrialOutcome(StrEnum):
    BEGUN = "begun"
    """Written before the candidate starts; where nothing else follows, it took its runner down."""
    CLEAN = "clean"
    COMPILED = "compiled"
    """Of a decoy run's compiling half: it trained, and was ended then, or ended well by itself."""
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    NO_RESULT = "no result"
    IMPLAUSIBLE = "implausible"
    LEFT_BEHIND = "left processes behind"
    INFRASTRUCTURE = "infrastructure"
    """The site's failure: such a trial is void, and run once more."""
    STOPPED = "stopped"
    """Not run, or not to its end, because a run before it had decided."""


class TrainResult(Record):
    """The final line of a training log."""

    steps: int
    val_loss: float
    train_time_s: float


class Gpu(Record):
    """A GPU as nvidia-smi names it."""

    uuid: str
    name: str
    driver: str


class Trial(Record):
    """One timed training run, as its runner saw it."""

    index: int
    outcome: TrialOutcome
    note: str
    exit_code: int | None = None
    result: TrainResult | None = None
    wall_s: float = 0.0
    """By the runner's own clock, from before the container's start to after its end."""
    started: datetime | None = None
    ended: datetime | None = None
    node: str = ""
    job: str = ""
    """The scheduler's name of the array task."""
    gpus: tuple[Gpu, ...] = ()
    """Seen inside the container."""
    seal: str
    image_sha256: str | None
    first_run_void: str = ""
    """Why the first run of this trial did not count; empty if this is the first."""
    first_run_loss: float | None = None
    """Final loss of that first run if it was clean itself: of two draws the higher loss counts."""
    caches: CacheUse | None = None
    kept: Caches | None = None
    """What a decoy run's compiling half left to later runs."""

    @property
    def off_clock_s(self) -> float | None:
        """Seconds that the candidate did not claim: start, compilation, warm-up, validation."""
        return self.wall_s - self.result.train_time_s if self.result else None


class Canary(Record):
    """What a program printed on tokens that nobody could know, beside what it may print there."""

    outcome: TrialOutcome
    note: str
    loss: float | None
    """Nats a token; None where the run came to no result."""
    floor: float
    """Below which no model's loss can be there."""
    cold_s: float | None
    """Until the program trained, with nothing compiled."""
    off_clock_s: float | None
    """That the canary took beside its training, with what had been compiled."""


class Decoy(Record):
    """A seal's decoy run, on shards of random tokens, before any that counts.

    One run compiles, until it trains, where compile caches are named. The canary begins with what that left, as every
    timed run will: it can tell itself apart from them by its data alone.
    """

    seal: str
    shards: DecoySet
    compiling: Trial | None
    trial: Trial
    """The canary."""
    canary: Canary
    caches: Caches | None
    """What the runs of this seal begin with; None where the run left nothing that can be used."""


class Block(Record):
    """What one array task ran: a trial of the candidate, and in the paired design one of the incumbent."""

    candidate: Trial
    incumbent: Trial | None = None


class EarlyStop(Record):
    """Why the rest of an array was cancelled."""

    by: Literal["loss", "speed"]
    seen: tuple[int, ...]
    """The trials that it rests on: all that were clean, or the one that failed by itself."""
    chance: float
    """That all runs would have passed, by those seen; 0 where one failed by itself."""
    reason: str


class Retiming(Record):
    """The blocks of an array that is over."""

    blocks: tuple[Block, ...]
    stopped: EarlyStop | None = None

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The candidate's."""
        return tuple(block.candidate for block in self.blocks)

    @property
    def incumbents(self) -> tuple[Trial, ...]:
        """The incumbent's, in the paired design."""
        return tuple(block.incumbent for block in self.blocks if block.incumbent)


class Design(StrEnum):
    """How the incumbent's times come about that a candidate's are compared with."""

    CLASSIC = "classic"
    """Ten runs at another time, once for a whole campaign."""
    PAIRED = "paired"
    """One run beside each of the candidate's, on the same node."""


class LossTest(Record):
    """One-sided one-sample t-test that the mean validation loss (nats a token) lies below the target."""

    mean: float
    standard_deviation: float
    target: float
    p_value: float
    """As published: as if losses were normal."""
    adjusted_p_value: float
    """As losses are, skewed."""


class SpeedTest(Record):
    """One-sided test that the candidate trains faster than the incumbent, in seconds of training time."""

    design: Design = Design.CLASSIC
    incumbent_mean_s: float
    candidate_mean_s: float
    saved_s: float
    saved_low_s: float
    saved_high_s: float
    p_value: float


class OffClock(Record):
    """Seconds that runs took and did not claim as training time, candidate beside incumbent."""

    incumbent_mean_s: float
    candidate_mean_s: float
    p_value: float | None
    """Of the one-sided test of the speed that the candidate's are more; None where there are too few runs."""
    allowed_growth: float
    """As a share of the incumbent's."""
    flagged: bool


class CarryOver(Record):
    """Seconds saved by who ran first in a block: a candidate could slow down what runs after it on its node."""

    candidate_first_s: float
    incumbent_first_s: float
    p_value: float | None
    """Welch's one-sided test that more is saved where the candidate ran first; None where there are too few blocks."""
    flagged: bool
