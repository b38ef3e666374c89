"""One opinion on a seal."""

from collections.abc import Sequence
from pathlib import Path

from slurm_bench.effects import seals
from slurm_bench.pure import static_rules
from slurm_bench.words.records import Opinion, Seal


def opinion(store: Path, baseline: Seal, candidate: Seal, notes: Sequence[str] = ()) -> Opinion:
    """What the static rules say of a candidate's seal beside the baseline's.

    Args:
        notes: suspicions, for judges that can weigh them; the static rules only pass them on.
    """
    findings = static_rules.findings(seals.load(store, baseline), seals.load(store, candidate))
    return Opinion(judge="static", seal=candidate.sha256, notes=tuple(notes), findings=findings)
