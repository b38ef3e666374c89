"""How long an agent's program shows no sign of work, and when that is too long.

Signs are requests to its model and the processor time of its processes. What merely sleeps, or looks again and again
whether something has happened, gives none.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from slurm_bench.words.config import AgentConfig

BUSY_CORES = 0.1
"""What trains, compiles or copies uses more of one core than this; a loop around `sleep` uses less."""
LOOK = timedelta(seconds=20)
"""Between two looks at a program."""
_LONGEST_LOOK = timedelta(minutes=1)
"""That one look stands for: what nobody saw is not silence."""


@dataclass(frozen=True)
class Signs:
    """What one look at a program tells of its work."""

    processor_s: float
    """That its processes have used since they are there."""
    requests: int
    """That its model's service was sent so far."""
    is_asking: bool
    """Whether an answer of that service is awaited."""


@dataclass(frozen=True)
class Limits:
    stall: timedelta
    """Of silence in the middle of a turn."""
    linger: timedelta
    """Of silence once a turn is over, when the program should end."""

    @classmethod
    def of(cls, agent: AgentConfig) -> Self:
        return cls(timedelta(minutes=agent.stall_minutes), timedelta(minutes=agent.linger_minutes))


class Silence:
    """How long one program has shown no sign of work, from its start on, as looks at it tell."""

    def __init__(self, signs: Signs, now: datetime) -> None:
        self.lasts = timedelta(0)
        self.worked = timedelta(0)
        """From its start to its last sign."""
        self._signs, self._looked_at = signs, now

    def is_due(self, now: datetime) -> bool:
        """Whether it is time for another look."""
        return now - self._looked_at >= LOOK

    def shows_work(self, signs: Signs, now: datetime) -> bool:
        """Whether these signs, after those of the last look, are some of work."""
        before, self._signs = self._signs, signs
        cores = (signs.processor_s - before.processor_s) / (now - self._looked_at).total_seconds()
        return signs.is_asking or signs.requests != before.requests or cores > BUSY_CORES

    def note(self, now: datetime, *, works: bool) -> None:
        """What the look of this moment has found."""
        passed, self._looked_at = now - self._looked_at, now
        if works:
            self.worked += self.lasts + passed
            self.lasts = timedelta(0)
        else:
            self.lasts += min(passed, _LONGEST_LOOK)
