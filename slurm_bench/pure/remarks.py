"""One difference between a candidate and its baseline that a rule has something to say about."""

from dataclasses import dataclass

from slurm_bench.pure.programs import Unit


@dataclass(frozen=True, kw_only=True)
class Remark:
    # Not yet a Finding: the process that reads candidates is to start without pydantic.
    rule: str
    message: str
    proven: bool | None
    """Whether it breaks the rule; else it is a suspicion, one that has to be settled where this is None."""
    file: str
    line: int | None = None
    baseline: str = ""
    candidate: str = ""


def on(unit: Unit, rule: str, message: str, *, proven: bool | None, baseline: str = "") -> Remark:
    """A remark on a statement of the candidate."""
    return Remark(
        rule=rule,
        message=message,
        proven=proven,
        file=unit.file,
        line=unit.line,
        baseline=baseline,
        candidate=unit.written,
    )


def unreadable(file: str, message: str, line: int | None = None) -> Remark:
    """A remark on a file that cannot be read as everybody else would."""
    return Remark(rule="readable", message=message, proven=True, file=file, line=line)
