"""Members of a bundle that nothing commits to: neither a stamp, nor what is part of every bundle."""

import re
from collections.abc import Iterator, Mapping

from slurm_bench.pure.evidence import Evidence, Sealed

_PARTS = re.compile(
    r"(manifest|session|metadata|incumbent|experiments)\.json|config\.yaml|ledger/[^/]+\.json"
    r"|calibration/(calibration\.json|(retiming|ledger)/.+)"
    r"|submissions/[0-9]{4}/(stamp\.json|(decoy|retiming[^/]*)/(rerun/)?jobs/.+)"
)
"""What bundles have beside what is stamped and sealed."""

_RECORDS = re.compile(
    r"submissions/[0-9]{4}/((submission|seal|opinion|second_opinion|turn|decoy|verdict)\.json"
    r"|(decoy|retiming[^/]*)/(rerun/)?((plan|stopped|collected)\.json|(trials|incumbents)/[0-9]{2}\.(json|log|out)))"
)
"""What a desk writes below `submissions`."""


def not_stamped(evidence: Evidence) -> list[str]:
    """Names of what is there and counts for nothing, those first that no desk writes."""
    named = {*_sealed("candidate", evidence.candidate), *_sealed("incumbent", evidence.incumbent)}
    for exhibit in filter(None, (evidence.exhibit, evidence.repeated)):
        named |= set(exhibit.stamp.files)
    named |= set(verdicts_before(evidence))
    found = [name for name in evidence.hashes if name not in named and not _PARTS.fullmatch(name)]
    return sorted(found, key=lambda name: (not is_strange(name), name))


def verdicts_before(evidence: Evidence) -> Mapping[str, str]:
    """Return the digests, by name and as their stamps have them, of the verdicts that a confirmation rests on."""
    numbers = {each.submission for each in evidence.earlier}
    before = [stamp for stamp in evidence.stamps if stamp.submission in numbers]
    return {name: digest for stamp in before for name, digest in stamp.files.items() if name.endswith("/verdict.json")}


def is_strange(name: str) -> bool:
    """Whether a file lies among a submission's records, and is none."""
    return name.startswith("submissions/") and not _RECORDS.fullmatch(name)


def _sealed(arm: str, sealed: Sealed | None) -> Iterator[str]:
    for file in sealed.seal.files if sealed else ():
        yield from (f"{arm}/{file.path}", f"{arm}/by-sha256/{file.sha256}")
