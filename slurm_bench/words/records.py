"""What is written down, as frozen and versioned pydantic models: one JSON file each (more in accounting, trials,
opinions and verdicts).

Times are UTC, durations seconds, charges GPU-seconds (one GPU for one second) unless a name says otherwise.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", defer_build=True)

    version: Literal[1] = 1


RequestId = Annotated[str, StringConstraints(pattern=r"^[0-9a-zA-Z]{1,64}$")]


class RecordFacts(Record):
    """What a session's starting record does where a rule asks for the same, as agent and judges are told."""

    by_rule: dict[str, str]


class Request(Record):
    """What the submit shim writes into the outbox. Written by the agent's side: never trusted."""

    id: RequestId
    path: str


class Submission(Record):
    """A request that the desk has taken up."""

    number: str
    request: str
    path: str
    received_at: datetime
    confirms: str | None = None
    """The accepted submission that this one times afresh, where the desk itself asks for it."""


class SealedFile(Record):
    path: str
    mode: int
    size: int
    sha256: str


class Seal(Record):
    """The frozen copy of a candidate, named by the hash of its files' names, modes and bytes."""

    sha256: str
    files: tuple[SealedFile, ...]


class Turn(Record):
    """A confirmation's place among those of its session, taken before its array is queued."""

    number: int


class SessionState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    """Its job's time was up, or its model's service asks for a long wait: the next link goes on."""
    INTERRUPTED = "interrupted"
    """By a person, or by a problem."""
    FINISHED = "finished"


class Session(Record):
    """One agent's whole run."""

    id: str
    name: str
    campaign: str
    revision: str
    state: SessionState
    started: datetime
    ended: datetime | None = None
    agent_exit_code: int | None = None
    """None as long as its agent may go on."""
    agent_ended_by: str = ""
    """What ended the agent, where it did not end by itself."""
    problem: str = ""
    """Why the last start of the session ended before its agent did."""
    problem_exit_code: int = 0
    resume_at: datetime | None = None
    """Of a paused one: the next link is of no use before."""
    fruitless_links: int = 0
    """Links in a row, up to the last one, in which its agent did nothing."""


class Failing(StrEnum):
    """What fails where an agent's program does."""

    PROGRAM = "program"
    SERVICE = "service"
    """Of its model, for a while."""
    REFUSED = "refused"
    """By that service, for good."""


class Failures(Record):
    """In a row, of the same thing."""

    failing: Failing
    count: int
    since: datetime


class ConversationState(Record):
    """Where an agent's conversation is, for whoever starts its program next."""

    conversation: str | None = None
    """Its id, by which the program finds what it knows."""
    starts: int = 0
    """Of the program so far."""
    idle: int = 0
    """Answers in a row, up to the last, without an action."""
    failures: Failures | None = None
    """Up to the last end of the program, if that was one."""
    remark: str = ""
    """Why its program was ended, for its next start to say."""
    unheard: tuple[str, ...] = ()
    """Requests that had no verdict when its program ended, and of whose verdict it was not told since."""


class Working(Record):
    """How long an agent may still work, kept up to date while it does.

    Time without an allocation does not count: whoever goes on moves the deadline by what has passed since `seen_at`.
    """

    deadline: datetime
    """When it is ended at the latest."""
    seen_at: datetime
    """When its desk last looked."""
    progressed_at: datetime | None = None
    """When it last did something."""
    waited_s: float = 0.0
    """That did not count, because all that it had queued waited."""
