"""What the static rules say of a candidate, as findings that reject and suspicions that do not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from slurm_bench.pure import static_rules
from slurm_bench.pure.remarks import Remark
from slurm_bench.words.opinions import Finding
from slurm_bench.words.records import Record


class Review(Record):
    findings: tuple[Finding, ...] = ()
    """Rules that are broken, at most one place for each kind of breach."""
    suspicions: tuple[str, ...] = ()
    """With rule and place, and without a word of the candidate's."""


def review(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Review:
    """What can be said of a candidate beside the baseline; both map file names to text."""
    return of(static_rules.remarks(baseline, candidate))


def of(remarks: Iterable[Remark]) -> Review:
    found = [(remark, _finding(remark)) for remark in remarks]
    return Review(
        findings=tuple(finding for remark, finding in found if remark.proven),
        suspicions=tuple(_merged([each for remark, each in found if not remark.proven])),
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
