"""A verdict computed again from its records: what agrees, what differs, and what rests on the records alone."""

from collections.abc import Iterator, Mapping

from slurm_bench.pure import confirmation, decoys, doubts, rejudging, retracing, stamps, verdict
from slurm_bench.pure.differences import differences
from slurm_bench.pure.evidence import Check, Evidence, Exhibit, Sealed, compared
from slurm_bench.pure.members import is_strange, not_stamped, verdicts_before
from slurm_bench.pure.sealing import describe
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.trials import Retiming
from slurm_bench.words.verdicts import Decision, Outcome, Verdict


def checks(evidence: Evidence, digest: str | None) -> Iterator[Check]:
    """All that can be found out about a verdict without asking anybody.

    Args:
        digest: of its stamp or a later one of its session, as its reader knows it from elsewhere.
    """
    yield _chain(evidence)
    yield _known(evidence, digest)
    yield _stamped(evidence)
    yield from _seals(evidence)
    yield from _unstamped(evidence)
    yield from _confirmation(evidence)
    yield from rejudging.checks(evidence, _notes(evidence))
    yield from retracing.checks(evidence)
    yield _verdict(evidence)
    yield _charge(evidence)


def _chain(evidence: Evidence) -> Check:
    """Every stamp after the one before it, the first after the session's origin."""
    wrong = []
    session = evidence.session
    place = session.campaign, session.name
    follows = stamps.origin(session.id, place, evidence.config_sha256, evidence.incumbent.seal)
    for number, stamp in enumerate(evidence.stamps, start=1):
        if stamp.submission != f"{number:04}":
            wrong.append(f"the stamp of submission {number:04} is missing")
            break
        if stamp.previous != follows:
            before = "the stamp before it" if number > 1 else "session, configuration and starting record"
            wrong.append(f"the stamp of submission {stamp.submission} does not follow from {before}")
        follows = stamps.digest(stamp)
    wrong += _wrong_manifest(evidence)
    return compared("chain", wrong, f"from the session's origin on; stamps: {len(evidence.stamps)}")


def _wrong_manifest(evidence: Evidence) -> list[str]:
    told, session, exhibit = evidence.manifest, evidence.session, evidence.exhibit
    same = (told.campaign, told.session, told.stamp) == (session.campaign, session.name, stamps.digest(exhibit.stamp))
    numbers = {told.submission, exhibit.verdict.submission, exhibit.stamp.submission}
    return [] if same and len(numbers) == 1 else ["manifest.json speaks of another verdict"]


def _known(evidence: Evidence, digest: str | None) -> Check:
    """The digest of this stamp or of a later one, which commits to it."""
    ours = evidence.exhibit.stamp
    found = {stamps.digest(each): each.submission for each in evidence.stamps if each.submission >= ours.submission}
    if digest is None:
        return Check("digest", f"{stamps.digest(ours)}: give digest= if you know it from elsewhere", None)
    known = found.get(digest.lower())
    wrong = [] if known else [f"{stamps.digest(ours)} is not the one that you know, nor is a later one"]
    return compared("digest", wrong, f"{digest.lower()}, of submission {known}")


def _stamped(evidence: Evidence) -> Check:
    """The records of this verdict, and of the one that it repeats, as they were when it was given."""
    wrong, count = [], 0
    for exhibit in filter(None, (evidence.exhibit, evidence.repeated)):
        if exhibit.stamp not in evidence.stamps:
            wrong.append(f"the stamp of submission {exhibit.stamp.submission} is not in the chain")
        count += len(exhibit.stamp.files)
        wrong += [f"{name} was changed" for name in _changed(exhibit.stamp.files, evidence.hashes)]
    before = verdicts_before(evidence)
    wrong += [f"{name} was changed" for name in _changed(before, evidence.hashes)]
    count += len(before)
    return compared("stamped records", wrong, f"{count} files as they were")


def _changed(files: Mapping[str, str], hashes: Mapping[str, str]) -> list[str]:
    return [name for name, digest in files.items() if hashes.get(name) != digest]


def _seals(evidence: Evidence) -> Iterator[Check]:
    yield compared("starting record", _wrong_seal(evidence.incumbent), evidence.incumbent.seal.sha256)
    given = evidence.exhibit.verdict
    if evidence.candidate is None:
        wrong = [] if given.seal is None and given.outcome in _UNSEALED else ["nothing was sealed"]
        yield compared("candidate", wrong, "nothing was sealed")
        return
    wrong = _wrong_seal(evidence.candidate)
    if given.seal != evidence.candidate.seal.sha256:
        wrong.append(f"the verdict is on the seal {given.seal}")
    yield compared("candidate", wrong, evidence.candidate.seal.sha256)


_UNSEALED = (Outcome.INVALID, Outcome.UNDECIDED)


def _wrong_seal(sealed: Sealed) -> list[str]:
    return [f"seal {sealed.seal.sha256[:12]}: {each}" for each in differences(sealed.seal, describe(sealed.contents))]


def _unstamped(evidence: Evidence) -> Iterator[Check]:
    """What is not there, or is, though no stamp names it."""
    if evidence.images is None:
        yield Check("metadata", "there is no metadata.json: which images the session ran in is not known", None)
    found = not_stamped(evidence)
    if found:
        first = ", ".join(found[:_NAMED]) + (" …" if len(found) > _NAMED else "")
        yield Check("not stamped", f"files: {len(found)}: {first}", False if is_strange(found[0]) else None)


_NAMED = 3
"""Files of many that are named."""


def _confirmation(evidence: Evidence) -> Iterator[Check]:
    """Check whose turn it was to be timed afresh, and at which level; nothing for what an agent handed in."""
    exhibit, given = evidence.exhibit, evidence.exhibit.verdict
    place = exhibit.stamp.confirmation
    if given.confirms is None and place is None and given.confirmation is None:
        return
    taken = [stamp.confirmation for stamp in evidence.stamps if stamp.submission <= given.submission]
    queued = [each for each in taken if each is not None]
    chosen = confirmation.candidate(evidence.earlier)
    wrong = []
    if chosen is None or (chosen.submission, chosen.seal) != (given.confirms, given.seal):
        wrong.append(f"the candidate to confirm is {chosen.submission if chosen else 'none'}, not {given.confirms}")
    if given.confirmation != place or queued != list(range(1, len(queued) + 1)):
        wrong.append(f"it is confirmation {given.confirmation}, but the stamps count {queued}")
    if place is None and (exhibit.collected or exhibit.stopped or given.outcome is Outcome.ACCEPTED):
        wrong.append("it spent no share of the level")
    yield compared(
        "confirmation", wrong, f"the {place}. of its session, of submission {given.confirms}, the best that was left"
    )


def _verdict(evidence: Evidence) -> Check:
    given = evidence.exhibit.verdict
    wrong = list(_wrong_names(evidence))
    computed = _decision(evidence)
    if computed is None:
        problem = _wrong_without_runs(evidence.timed)
        wrong += [problem] if problem else []
        return compared("verdict", wrong, "") if wrong else Check("verdict", f"{given.outcome}: {given.reason}", None)
    place = evidence.exhibit.stamp.confirmation
    if computed.confirmation is None and place is not None:
        computed = computed.model_copy(update={"confirmation": place, "level": confirmation.level(place)})
    wrong += differences(verdict.decision_of(given), computed)
    return compared("verdict", wrong, f"{given.outcome}: {given.reason}")


def _wrong_names(evidence: Evidence) -> Iterator[str]:
    given, submission, earlier = evidence.exhibit.verdict, evidence.exhibit.submission, evidence.repeated
    if (given.submission, given.request, given.candidate) != (submission.number, submission.request, submission.path):
        yield "it answers another submission"
    if given.confirms != submission.confirms:
        yield f"it confirms {given.confirms}, where {submission.confirms} was asked for"
    if given.exit_code != given.outcome.exit_code:
        yield f"exit code {given.exit_code} is not that of {given.outcome}"
    if (given.repeats is None) != (earlier is None):
        yield f"{given.repeats} is no submission before it, which it could repeat"
    if earlier and not _can_repeat(given, earlier.verdict):
        yield f"it cannot repeat submission {given.repeats}"


def _can_repeat(given: Verdict, earlier: Verdict) -> bool:
    """Whether it is the decision on the same bytes, and neither itself a repetition nor a confirmation."""
    same = given.repeats == earlier.submission and given.seal == earlier.seal
    return (
        same
        and given.confirms is None
        and earlier.repeats is None
        and earlier.confirms is None
        and earlier.outcome in _STANDING
    )


_STANDING = (Outcome.ACCEPTED, Outcome.REJECTED)


def _decision(evidence: Evidence) -> Decision | None:
    """The decision by the opinions and the runs; None where there is neither."""
    exhibit = evidence.timed
    if exhibit.seal is None or exhibit.opinion is None:
        return None
    try:
        verdict.refuse_undecided(exhibit.opinion)
        if exhibit.opinion.rejects:
            return verdict.on_opinion(exhibit.opinion)
        forged = decoys.rejection(exhibit.decoy.canary) if exhibit.decoy else None
        decision = forged or _after_doubts(evidence)
        return verdict.with_suspicions(decision, exhibit.opinion) if decision else None
    except InfrastructureError as error:
        return Decision(outcome=Outcome.UNDECIDED, reason=str(error))


def _after_doubts(evidence: Evidence) -> Decision | None:
    """What the runs say, and a second opinion on the doubts that they raise; None where one of the two is missing."""
    decision = _on_runs(evidence)
    raised = doubts.of(decision, evidence.terms) if decision else []
    if decision is None or not raised:
        return decision
    second = evidence.timed.second_opinion
    return doubts.on_second_opinion(decision, raised, second) if second else None


def _notes(evidence: Evidence) -> list[str]:
    """What the runs raise that a second opinion is asked about."""
    try:
        decision = _on_runs(evidence)
    except InfrastructureError:
        return []
    return [doubt.text for doubt in doubts.of(decision, evidence.terms)] if decision else []


def _on_runs(evidence: Evidence) -> Decision | None:
    """What the runs alone say; None where none were collected.

    Raises:
        InfrastructureError: the site failed them.
    """
    exhibit = evidence.timed
    stopped_only = Retiming(blocks=(), stopped=exhibit.stopped) if exhibit.stopped else None
    retiming = exhibit.collected or stopped_only
    if retiming is None:
        return None
    decision = verdict.on_retiming(retiming, evidence.beside, evidence.terms)
    return decoys.with_decoy(decision, exhibit.decoy, retiming.trials)


def _wrong_without_runs(exhibit: Exhibit) -> str:
    """Why a verdict cannot have been given without opinions and runs that decide; empty if it can."""
    given = exhibit.verdict
    if given.outcome is Outcome.INVALID:
        return "" if exhibit.seal is None else "invalid, though it was sealed"
    if given.outcome is Outcome.OVER_BUDGET:
        short = given.shortfall
        return "" if short and short.needed > short.left else "over budget, though what it needs is left"
    return "" if given.outcome is Outcome.UNDECIDED else f"{given.outcome} without runs that decide"


def _charge(evidence: Evidence) -> Check:
    """GPU-seconds, which the accounting may have learnt more of since; nothing was decided by them."""
    given = evidence.exhibit.verdict.gpu_seconds
    entries = [array.entry for array in (*evidence.exhibit.decoy_arrays, *evidence.exhibit.arrays) if array.entry]
    charged = sum(entry.charged_gpu_seconds for entry in entries)
    if given == charged:
        return Check(
            "GPU-seconds", f"{charged}; rows of the scheduler: {sum(len(entry.attempts) for entry in entries)}", True
        )
    return Check("GPU-seconds", f"{given}; the ledger has {charged} by now (it is not stamped, and is corrected)", None)
