"""What `command=doctor` finds."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from slurm_bench.words.records import Record
from slurm_bench.words.trials import Gpu


class State(StrEnum):
    OK = "ok"
    NOTE = "note"
    """A session can run, and its person should know."""
    FAILS = "fails"
    """A session could not run, or its numbers would be worth nothing."""
    UNKNOWN = "unknown"
    """It could not be looked at, because of something else that fails."""


@dataclass(frozen=True)
class Finding:
    check: str
    state: State
    found: str
    remedy: str = ""
    """What to do, in one line."""

    @property
    def line(self) -> str:
        return "; ".join(part for part in (f"{self.check}: {self.found}", self.remedy) if part)


class ContainerStart(Record):
    """A container that was started as a trial's, or the agent's, would be."""

    field: str
    """What of the configuration names its image."""
    problem: str = ""
    """Why none starts, in Apptainer's last words; empty if one does."""
    seconds: float = 0.0
    unpacked_in: str = ""
    """Where the node unpacks the image at each start, because it cannot mount it; empty if it can."""


class NodeFacts(Record):
    """What a job finds on its node. A problem is in the words of whatever failed, and empty where nothing did."""

    at: datetime
    """By the node's clock."""
    node: str
    python: str
    sees_token: bool
    """Whether it reads what the login node wrote into the folder of runs."""
    containers: tuple[ContainerStart, ...] = ()
    agent_warnings: tuple[str, ...] = ()
    """What the agent's program says that it lacks with its model."""
    fuse_problem: str = ""
    user_namespaces: int | None = None
    """That a user may have; None where the kernel does not say."""
    scratch: str = ""
    """The folder, the job's variables filled in."""
    scratch_problem: str = ""
    scratch_free_gb: float = 0.0
    lock_problem: str = ""
    """Why a lock that the login node holds in the folder of runs does not bind it."""
    shm_free_gb: float = 0.0
    sbatch_problem: str = ""
    sacct_problem: str = ""
    keys_problem: str = ""
    model_problem: str = ""
    """Why one of the services that are asked from a session's node is not reached."""
    gpus: tuple[Gpu, ...] = ()
    """Those that a trial's container sees."""
    gpus_asked: int = 0
