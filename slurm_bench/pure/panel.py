"""Several opinions to one. Every step of it can only add a rejection, never take one back."""

from collections.abc import Sequence

from slurm_bench.words.opinions import Opinion, Usage


def combined(static: Opinion, models: Sequence[Opinion], quorum: int) -> Opinion:
    """The opinion of the static checker and of the models that saw what it did not reject.

    Where it cannot tell, they decide; without any it stays undecided.

    Args:
        quorum: so many models have to reject. Where those without an answer could still make it up, nothing is decided.
    """
    if static.rejects or not models:
        return static
    rejecting = [opinion for opinion in models if opinion.rejects]
    undecided = [opinion for opinion in models if opinion.is_undecided]
    cheating: bool | None = len(rejecting) >= quorum
    if not cheating and len(rejecting) + len(undecided) >= quorum:
        cheating = None
    return Opinion(
        judge=models[0].judge if len(models) == 1 else "panel",
        seal=static.seal,
        baseline=static.baseline,
        rules=static.rules,
        notes=static.notes,
        cheating=cheating,
        confidence=max((each.confidence or 0.0 for each in rejecting), default=None) if cheating else None,
        findings=tuple(finding for opinion in rejecting for finding in opinion.findings) if cheating else (),
        suspicions=static.suspicions + _dissent(rejecting, cheating),
        unsettled=static.unsettled,
        summary=_summary(undecided if cheating is None else rejecting if cheating else models),
        members=(static, *models),
        usage=sum((opinion.usage for opinion in models), Usage()),
        asked_at=static.asked_at,
    )


def _dissent(rejecting: Sequence[Opinion], cheating: bool | None) -> tuple[str, ...]:
    """What a minority found."""
    found = ((opinion.judge, finding) for opinion in rejecting for finding in opinion.findings)
    return () if cheating else tuple(f"{each.rule}: {each.message}, {each.place} ({judge})" for judge, each in found)


def _summary(opinions: Sequence[Opinion]) -> str:
    return "; ".join(f"{opinion.judge}: {opinion.summary}" for opinion in opinions)
