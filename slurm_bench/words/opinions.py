"""What a judge says of a seal, as Records."""

from datetime import datetime
from typing import Literal

from slurm_bench.words.records import Record

PERSON = "person"
"""The judge of an opinion that a person wrote down (`command=judge command.vouch=…`)."""


class Finding(Record):
    """A rule that a judge holds broken, with the two places that show it."""

    rule: str
    message: str
    file: str
    line: int | None = None
    baseline: str = ""
    candidate: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Usage(Record):
    """Tokens that a model was paid for."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class Message(Record):
    role: Literal["user", "assistant"]
    text: str


class Opinion(Record):
    """What a judge says of a seal beside its baseline. A judge may only reject."""

    judge: str
    """`static`, the name of a model with its maker's, `person`, or `panel`."""
    seal: str
    baseline: str = ""
    rules: str = ""
    """Digest of the rules' text."""
    notes: tuple[str, ...] = ()
    """What the judge was told besides the seal: suspicions that it may weigh."""
    cheating: bool | None = False
    """None where there is no usable answer, or the static checker alone cannot tell: undecided."""
    confidence: float | None = None
    """Of a model in what it says, 0 to 1."""
    findings: tuple[Finding, ...] = ()
    """Reasons to reject."""
    suspicions: tuple[str, ...] = ()
    """What the static checker cannot prove; a model is told of them."""
    unsettled: tuple[Finding, ...] = ()
    """Those of them that hold a candidate back until a model or a person has looked, with both texts."""
    summary: str = ""
    """For an undecided opinion, why there is none."""
    members: tuple["Opinion", ...] = ()
    """The opinions that this one was made of."""
    system: str = ""
    messages: tuple[Message, ...] = ()
    """With `system` the whole of what was said to a model and by it."""
    retries: tuple[str, ...] = ()
    """Tries that a model's service failed."""
    usage: Usage = Usage()
    asked_at: datetime | None = None

    @property
    def rejects(self) -> bool:
        return bool(self.cheating)

    @property
    def is_undecided(self) -> bool:
        return self.cheating is None

    @property
    def waits_for_a_look(self) -> bool:
        """Whether it is the static checker's, which cannot tell, and nobody else was asked."""
        return self.is_undecided and bool(self.unsettled) and not self.members
