"""One difference between a candidate and its baseline that a rule has something to say about."""

from dataclasses import dataclass

from slurm_bench.pure.programs import Unit
from slurm_bench.words.opinions import Finding


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

    @property
    def finding(self) -> Finding:
        return Finding(
            rule=self.rule,
            message=self.message,
            file=self.file,
            line=self.line,
            baseline=self.baseline,
            candidate=self.candidate,
        )

    @property
    def suspicion(self) -> str:
        """With its place, and without a word of the candidate's."""
        return f"{self.rule}: {self.message}, {self.finding.place}"


def on(unit: Unit, rule: str, message: str, *, proven: bool, baseline: str = "") -> Remark:
    """A remark on a statement of the candidate."""
    return Remark(rule, message, proven, unit.file, unit.line, baseline, unit.written)
