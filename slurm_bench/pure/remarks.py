"""One difference between a candidate and its baseline that a rule has something to say about."""

from dataclasses import dataclass

from slurm_bench.pure.programs import Unit


@dataclass(frozen=True)
class Remark:
    rule: str
    message: str
    proven: bool
    """Whether it breaks the rule; else it is a suspicion."""
    file: str
    line: int | None = None
    baseline: str = ""
    candidate: str = ""


def on(unit: Unit, rule: str, message: str, *, proven: bool, baseline: str = "") -> Remark:
    """A remark on a statement of the candidate."""
    return Remark(rule, message, proven, unit.file, unit.line, baseline, unit.written)
