"""The opinions behind a verdict: the static checker's again, and the panel's from what its models answered."""

from collections.abc import Iterator, Sequence

from slurm_bench.pure import judge_text, panel
from slurm_bench.pure.differences import differences
from slurm_bench.pure.evidence import Check, Evidence, Sealed, compared
from slurm_bench.pure.judge_text import Case, Unusable
from slurm_bench.pure.review import Review, of_opinion
from slurm_bench.words.opinions import PERSON, Opinion


def checks(evidence: Evidence, notes: Sequence[str]) -> Iterator[Check]:
    """What was said of the candidate; nothing where it was not judged.

    Args:
        notes: what the runs raise, and the second opinion is about.
    """
    exhibit = evidence.timed
    asked = [("judge", exhibit.opinion, ()), ("second opinion", exhibit.second_opinion, tuple(notes))]
    for what, opinion, told in asked:
        if opinion is None:
            continue
        if evidence.candidate is None:
            yield Check(what, "it is about a candidate that is not there", False)
            continue
        yield _static(f"{what}: static rules", _static_of(opinion), evidence)
        yield compared(what, list(_wrong(opinion, told, evidence)), _decided(opinion))
        if len(opinion.members) > 1:
            yield _models(f"{what}: models", opinion, evidence.candidate, evidence)


def _decided(opinion: Opinion) -> str:
    if opinion.waits_for_a_look:
        return f"{opinion.judge} cannot tell"
    said = {True: "rejects it", False: "lets it pass", None: "has no opinion"}[opinion.cheating]
    by = f", by {', '.join(member.judge for member in opinion.members)}" if opinion.members else ""
    return f"{opinion.judge} {said}{by}"


def _static_of(opinion: Opinion) -> Opinion:
    return opinion.members[0] if opinion.members else opinion


def _static(what: str, said: Opinion, evidence: Evidence) -> Check:
    if evidence.review is None:
        return Check(what, "there is no program that could have been judged", False)
    if said.rules != evidence.rules:
        return Check(what, _by_other_rules(said, evidence.rules, evidence.review), None)
    stored = of_opinion(said)
    wrong = differences(stored, evidence.review)
    if wrong:
        wrong.append(f"the session's code was revision {evidence.session.revision or 'unknown'}")
    found = f"again findings: {len(said.findings)}, suspicions: {len(said.suspicions)}"
    found += f", unsettled: {len(said.unsettled)}" if said.unsettled else ""
    return compared(what, wrong, found)


def _by_other_rules(said: Opinion, rules: str, review: Review) -> str:
    """What is found now of an opinion that claims to be by rules which are not ours: nobody can tell if it lies."""
    known = (*said.findings, *said.unsettled)
    new = [finding for finding in (*review.findings, *review.unsettled) if finding not in known]
    named = ", ".join(f"{finding.rule} at {finding.place}" for finding in new)
    return f"its rules ({said.rules}) are not today's ({rules}); " + (
        f"TODAY'S RULES FIND {len(new)} MORE: {named}" if new else "today's rules find nothing more"
    )


def _wrong(opinion: Opinion, told: tuple[str, ...], evidence: Evidence) -> Iterator[str]:
    static, models = _static_of(opinion), opinion.members[1:]
    assert evidence.candidate is not None
    seals = evidence.candidate.seal.sha256, evidence.incumbent.seal.sha256
    if any((each.seal, each.baseline) != seals for each in (opinion, *opinion.members)):
        yield "it is about other seals"
    if opinion.notes != told:
        yield "it was told something else"
    if static.judge != "static":
        yield f"{static.judge} came first, not the static checker"
    read = of_opinion(static)
    if (static.cheating, static.summary) != (read.cheating, read.summary):
        yield "the static checker's findings reject, what it cannot settle is undecided, and nothing else of it is"
    names = [f"{model.maker}/{model.model}" for model in evidence.config.judge.models.values()]
    if any(model.notes != (*static.notes, *static.suspicions) for model in models):
        yield "a model was told something else"
    asked = [model.judge for model in models if model.judge != PERSON]
    if not static.rejects and asked != names:
        yield f"{', '.join(asked) or 'no model'} was asked, not {', '.join(names) or 'none'}"
    yield from differences(opinion, panel.combined(static, models, evidence.config.judge.quorum))


def _models(what: str, opinion: Opinion, candidate: Sealed, evidence: Evidence) -> Check:
    """Each model's opinion by the last answer in its transcript, to the very question that is asked now."""
    if opinion.rules != evidence.rules:
        return Check(what, f"not read again: its rules ({opinion.rules}) are not today's ({evidence.rules})", None)
    baseline = evidence.incumbent
    case = Case(baseline.text, candidate.text, baseline.seal.sha256, candidate.seal.sha256, evidence.facts)
    models = [member for member in opinion.members[1:] if member.judge != PERSON]
    answered = [model for model in models if not model.is_undecided]
    wrong = [f"{model.judge}: {problem}" for model in answered for problem in _wrong_answer(model, case)]
    silent = len(models) - len(answered)
    found = f"{len(answered)} as their transcripts have it"
    return compared(what, wrong, found + (f", {silent} without an opinion" if silent else ""))


def _wrong_answer(model: Opinion, case: Case) -> Iterator[str]:
    if len(model.messages) < 2 or model.messages[0].text != judge_text.question(case, model.notes):
        yield "it was asked something else"
        return
    try:
        answer = judge_text.read_answer(model.messages[-1].text, case)
    except Unusable as problem:
        yield str(problem)
        return
    read = {
        "cheating": answer.cheating,
        "confidence": answer.confidence,
        "findings": judge_text.findings(answer, case) if answer.cheating else (),
        "summary": answer.summary,
    }
    yield from differences(model, model.model_copy(update=read))
