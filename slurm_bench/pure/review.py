"""What the static rules say of a candidate: findings that reject, and suspicions, of which some have to be settled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from slurm_bench.pure import static_rules
from slurm_bench.pure.remarks import Remark
from slurm_bench.words.opinions import Finding, Opinion
from slurm_bench.words.records import Record

TO_SETTLE = "a model (judge=panel) or a person (command=judge command.vouch=…, docs/judge.md) has to look"
"""Who may settle what the static checker cannot."""


class Review(Record):
    findings: tuple[Finding, ...] = ()
    """Rules that are broken, at most one place for each kind of breach."""
    suspicions: tuple[str, ...] = ()
    """With rule and place, and without a word of the candidate's."""
    unsettled: tuple[Finding, ...] = ()
    """Suspicions that hold a candidate back until a model or a person has looked, with both texts."""

    @property
    def cheating(self) -> bool | None:
        """What the static checker says by itself; None where it cannot tell."""
        return True if self.findings else None if self.unsettled else False

    @property
    def summary(self) -> str:
        """Why it cannot tell, and what to do; empty where it can."""
        if self.cheating is not None:
            return ""
        first, more = self.unsettled[0], len(self.unsettled) - 1
        others = f" and {more} more" if more else ""
        return (
            f"the static checker cannot tell whether the same tokens come out: {first.message}, {first.place}{others}; "
            f"hand it in with the starting record's statements there, or {TO_SETTLE}"
        )


def review(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Review:
    """What can be said of a candidate beside the baseline; both map file names to text."""
    return of(static_rules.remarks(baseline, candidate))


def of_opinion(static: Opinion) -> Review:
    """Return what the static checker's opinion has of a review."""
    return Review(findings=static.findings, suspicions=static.suspicions, unsettled=static.unsettled)


def of(remarks: Iterable[Remark]) -> Review:
    found = [(remark, _finding(remark)) for remark in remarks]
    return Review(
        findings=tuple(finding for remark, finding in found if remark.proven),
        suspicions=tuple(_merged([each for remark, each in found if not remark.proven])),
        unsettled=tuple(finding for remark, finding in found if remark.proven is None),
    )


def _merged(suspicions: Sequence[Finding]) -> Iterator[str]:
    """One suspicion for each rule, with all its places: those of one change stand together."""
    by_rule: dict[str, list[str]] = {}
    for each in suspicions:
        by_rule.setdefault(each.rule, []).append(f"{each.message}, {each.place}")
    yield from (f"{rule}: {'; '.join(places)}" for rule, places in by_rule.items())


def _finding(remark: Remark) -> Finding:
    return Finding(
        rule=remark.rule,
        message=remark.message,
        file=remark.file,
        line=remark.line,
        baseline=remark.baseline,
        candidate=remark.candidate,
    )
