"""The desk: the trusted process that takes requests out of the agent's container and gives verdicts back.

`Desk.decide` is the way of one submission. Each step's record is looked for before the step is done, so a desk that
died goes on where it was: it judges nothing twice and queues nothing twice.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from slurm_bench.effects import seals, store, trouble
from slurm_bench.effects.containers import Mount
from slurm_bench.pure import confirmation, decoys, doubts, stamps, storage, verdict
from slurm_bench.pure.judge_text import Case
from slurm_bench.pure.verdict import Terms
from slurm_bench.steps import calibration, decoy, judge, stamping
from slurm_bench.steps.calibration import Program
from slurm_bench.steps.decoy import DecoyStep
from slurm_bench.steps.judge import Judge
from slurm_bench.steps.outbox import Outbox
from slurm_bench.steps.retime import Retimer, TimedKind, Timing
from slurm_bench.words.bundles import Stamp
from slurm_bench.words.config import Config
from slurm_bench.words.errors import (
    BudgetExceeded,
    InfrastructureError,
    InvalidCandidate,
    StorageError,
    Unsettled,
    UsageError,
)
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.paths import SessionPaths, SubmissionPaths
from slurm_bench.words.records import Request, Seal, Submission, Turn
from slurm_bench.words.trials import Block, Decoy, Design, EarlyStop, Retiming, Trial
from slurm_bench.words.verdicts import Decision, Outcome, Shortfall, Verdict

log = logging.getLogger(__name__)


class Desk:
    def __init__(self, config: Config, paths: SessionPaths, retimer: Retimer, judge: Judge, workspace: Mount) -> None:
        self._config = config
        self._paths = paths
        self._retimer = retimer
        self._judge = judge
        self._outbox = Outbox(paths.outbox, Request, lambda name: paths.verdict_in_inbox(name).exists())
        self._workspace = retimer.container.inside(workspace)
        self._incumbent: Seal | None = None
        self._calibration: Sequence[Trial] = ()
        """The incumbent's trials, in the classic design."""
        self._left = [each for each in self._unstamped() if not each.confirms]

    def take_incumbent(self, record: Path) -> None:
        """Seal the starting record, which every candidate is measured against; in the classic design, time it.

        Raises:
            InfrastructureError: it was timed, and there are no ten clean runs; the next start times anew.
        """
        root, folder = record.parent, PurePosixPath(record.name)
        self._incumbent = store.once(self._paths.incumbent, Seal, lambda: seals.seal(root, folder, self._paths.seals))
        if self._design is Design.CLASSIC:
            self._calibration = store.once(self._paths.calibration, Retiming, self._calibrate).trials

    def _calibrate(self) -> Retiming:
        retimer, programs = self._retimer, [self._program]
        return calibration.calibrate(self._config, retimer.cluster, retimer.container, programs, payer=retimer.ledger)

    @property
    def _program(self) -> Program:
        """The starting record, as calibrations know it."""
        assert self._incumbent is not None, "take_incumbent comes first"
        return Program(Path(self._config.task.record).name, self._paths.seals / self._incumbent.sha256)

    @property
    def _design(self) -> Design:
        return Design(self._config.retime.design)

    def serve(self) -> None:
        """Answer what waits in the outbox, one request after the other, as often as the agent may ask.

        What an earlier desk left unanswered comes first, whatever has become of its request since.
        """
        while self._left:
            self._answer(self._left.pop(0))
        for request in self._outbox.waiting():
            if self._asked_within_the_hour() >= self._config.agent.submissions_per_hour:
                return
            self._answer(self._open(request))

    def close(self) -> None:
        """Answer all that an agent which is over has left, however often it asked, and end what nobody waits for."""
        self.serve()
        for request in self._outbox.waiting():
            self._answer(self._open(request))
        self._end_what_is_decided()

    def confirm(self) -> None:
        """Time the best accepted candidate afresh, and where it fails the next best, until one has a score.

        What stays undecided, or cannot be paid, is left to the next call; what waits for a person's word, as it is.
        """
        try:
            for begun in self._begun_confirmations():
                self._answer(begun)
            while chosen := confirmation.candidate(self._verdicts()):
                log.info("submission %s, the best that is accepted, is timed afresh", chosen.submission)
                given = self._answer(self._numbered(chosen.request, chosen.candidate, chosen.submission))
                if given.outcome not in (Outcome.ACCEPTED, Outcome.REJECTED):
                    return
        except Unsettled as doubt:
            log.warning("%s", doubt)

    @property
    def waits_for_confirmation(self) -> bool:
        """Whether `confirm` has anything to do."""
        return bool(self._begun_confirmations()) or confirmation.candidate(self._verdicts()) is not None

    def _begun_confirmations(self) -> list[Submission]:
        """Those that an earlier desk left without an end."""
        return [each for each in self._unstamped() if each.confirms]

    def _unstamped(self) -> list[Submission]:
        return [each for each in self._submissions() if not self._paths.submission(each.number).stamp.exists()]

    def _verdicts(self) -> list[Verdict]:
        return [store.read(path, Verdict) for path in sorted(self._paths.submissions.glob("*/verdict.json"))]

    def _asked_within_the_hour(self) -> int:
        """Submissions of the last hour; what comes too often waits in the outbox."""
        since = datetime.now(UTC) - timedelta(hours=1)
        return sum(submission.received_at > since for submission in self._submissions() if not submission.confirms)

    def _answer(self, submission: Submission) -> Verdict:
        where = self._paths.submission(submission.number)
        log.info("submission %s: %r", submission.number, submission.path)
        given = store.once(where.verdict, Verdict, lambda: self._verdict(submission, where))
        log.info("submission %s: %s: %s", submission.number, given.outcome, given.reason)
        stamp = store.once(where.stamp, Stamp, lambda: stamping.of(self._paths, self._retimer.identity, given))
        log.info("submission %s: stamp %s", submission.number, stamps.digest(stamp))
        if not submission.confirms:
            store.write(self._paths.verdict_in_inbox(submission.request), given)
        return given

    def _open(self, request: Request) -> Submission:
        for submission in self._submissions():
            if submission.request == request.id:
                return submission
        return self._numbered(request.id, request.path)

    def _numbered(self, request: str, path: str, confirms: str | None = None) -> Submission:
        number = f"{len(self._submissions()) + 1:04}"
        now = datetime.now(UTC)
        submission = Submission(number=number, request=request, path=path, received_at=now, confirms=confirms)
        store.write(self._paths.submission(number).submission, submission)
        return submission

    def _submissions(self) -> list[Submission]:
        records = sorted(self._paths.submissions.glob("*/submission.json"))
        return [store.read(record, Submission) for record in records]

    def _verdict(self, submission: Submission, where: SubmissionPaths) -> Verdict:
        try:
            decision, repeats = self.decide(submission, where)
        except InvalidCandidate as error:
            decision, repeats = _failed(Outcome.INVALID, error), None
        except BudgetExceeded as error:
            short = Shortfall(needed=error.worst_case, left=error.left, limit=error.limit)
            over = _failed(Outcome.OVER_BUDGET, error).model_copy(update={"shortfall": short})
            decision, repeats = over, None
        except StorageError:
            raise  # its records are there as far as it came: the next desk goes on with it
        except (InfrastructureError, UsageError) as error:
            if submission.confirms and isinstance(error, Unsettled):
                raise  # its runs are there and are kept: they need not be run again
            decision, repeats = _failed(Outcome.UNDECIDED, error), None
        except Exception as error:
            if storage.is_trouble(error):
                raise trouble.of(error, where.root) from error
            log.exception("submission %s: a defect of the desk", submission.number)
            decision, repeats = _failed(Outcome.UNDECIDED, error), None
        sealed, turn = store.read_if_there(where.seal, Seal), store.read_if_there(where.turn, Turn)
        if turn and decision.confirmation is None and self._retimer.was_queued(submission.number):
            spent = {"confirmation": turn.number, "level": confirmation.level(turn.number)}
            decision = decision.model_copy(update=spent)
        return Verdict(
            **dict(decision),
            submission=submission.number,
            request=submission.request,
            candidate=submission.path,
            exit_code=decision.outcome.exit_code,
            seal=sealed.sha256 if sealed else None,
            gpu_seconds=self._retimer.charged(submission.number),
            repeats=repeats,
            confirms=submission.confirms,
            left_out=self._left_out(submission),
            decided_at=datetime.now(UTC),
        )

    def decide(self, submission: Submission, where: SubmissionPaths) -> tuple[Decision, str | None]:
        """The way of one submission: its decision, and the earlier submission that it repeats if any.

        Raises:
            InvalidCandidate: there is nothing that could be sealed.
            BudgetExceeded: the retiming's worst case does not fit.
            StorageError: the folder of runs stays in trouble; the next call goes on.
            InfrastructureError: the site failed; the same candidate can be submitted again.
        """
        assert self._incumbent is not None, "take_incumbent comes first"
        sealed = store.once(where.seal, Seal, lambda: self._sealed(submission))
        earlier = None if submission.confirms else self._decided_before(sealed)
        if earlier is not None:
            return verdict.decision_of(earlier), earlier.submission
        case = judge.case_of(self._paths.seals, self._incumbent, sealed, self._config.task)
        opinion = store.once(where.opinion, Opinion, lambda: self._opinion(submission, case))
        verdict.refuse_undecided(opinion)
        if opinion.rejects:
            return verdict.on_opinion(opinion), None
        self._end_what_is_decided()
        left = self._decoys(submission, sealed, where)
        ours = left[0] if left else None
        forged = decoys.rejection(ours.canary) if ours else None
        if forged:
            return verdict.with_suspicions(forged, opinion), None
        terms = self._terms(submission)
        retiming = self._retime(submission, sealed, where, terms, left)
        decision = decoys.with_decoy(verdict.on_retiming(retiming, self._calibration, terms), ours, retiming.trials)
        return verdict.with_suspicions(self._look_again(decision, terms, case, where), opinion), None

    def _end_what_is_decided(self) -> None:
        """Cancel and settle what still runs of submissions that have their verdict, e.g. after a silent scheduler."""
        for submission in self._submissions():
            if self._paths.submission(submission.number).verdict.exists():
                self._retimer.end(submission.number)
        self._retimer.ledger.settle_finished()

    def _decoys(self, submission: Submission, sealed: Seal, where: SubmissionPaths) -> tuple[Decoy, ...]:
        """The decoy runs of a candidate and of the starting record, side by side; none where caches begin empty."""
        retimer = self._timer(submission)
        if self._config.retime.caches != "decoy":
            return ()
        ours = DecoyStep(retimer, submission.number, sealed, where, _kind(submission, "decoy"))
        theirs = calibration.decoy_step(retimer, self._program, None if submission.confirms else retimer.ledger)
        steps = (theirs, ours)
        if not submission.confirms:
            retimer.refuse_unaffordable(submission.number, sum(not step.is_there for step in steps))
        beside, left = decoy.made(steps)
        calibration.check_decoy(self._program.name, beside, theirs.where)
        return left, beside

    def _timer(self, submission: Submission) -> Retimer:
        """Once the agent is over, there is no allocation of its own to time in."""
        return self._retimer.afresh() if submission.confirms else self._retimer

    def _terms(self, submission: Submission) -> Terms:
        place = self._place(submission) if submission.confirms else None
        return Terms.of(self._config.retime, self._config.task, place)

    def _place(self, submission: Submission) -> int:
        """The how manieth confirmation this is, from 1: written down before it is queued, and never changed.

        Each array spends, whatever becomes of it: what was undecided is timed anew at another level. Only a turn that
        came to an end without an array goes to the next.
        """
        where = self._paths.submission(submission.number)
        taken = [
            store.read(turn, Turn).number
            for other in self._submissions()
            if (turn := self._paths.submission(other.number).turn).exists() and not self._gave_up(other)
        ]
        return store.once(where.turn, Turn, lambda: Turn(number=max(taken, default=0) + 1)).number

    def _gave_up(self, submission: Submission) -> bool:
        given = store.read_if_there(self._paths.submission(submission.number).verdict, Verdict)
        return given is not None and given.confirmation is None

    def _retime(
        self, submission: Submission, sealed: Seal, where: SubmissionPaths, terms: Terms, left: tuple[Decoy, ...]
    ) -> Retiming:
        def look(blocks: Sequence[Block]) -> EarlyStop | None:
            return verdict.look(blocks, self._calibration, terms)

        assert self._incumbent is not None
        arms = (sealed, self._incumbent) if terms.design is Design.PAIRED else (sealed,)
        try:
            timing = Timing(_kind(submission, "retiming"), submission.number, arms, look, runs=terms.runs)
            return self._timer(submission).retime(decoy.with_caches(timing, left), where.retiming)
        except InfrastructureError:
            stopped = store.read_if_there(where.retiming.stopped, EarlyStop)
            if stopped is None:
                raise
            return Retiming(blocks=(), stopped=stopped)  # it had decided already

    def _look_again(self, decision: Decision, terms: Terms, case: Case, where: SubmissionPaths) -> Decision:
        """Show an accepted candidate to the judge once more where its runs raise doubts."""
        raised = doubts.of(decision, terms)
        if not raised:
            return decision
        notes = [doubt.text for doubt in raised]
        second = store.once(where.second_opinion, Opinion, lambda: self._judge.opinion(case, notes))
        try:
            return doubts.on_second_opinion(decision, raised, second)
        except Unsettled:
            if terms.confirmation:
                where.second_opinion.unlink()  # the next desk asks again
            raise

    def _sealed(self, submission: Submission) -> Seal:
        if submission.confirms:
            return store.read(self._paths.submission(submission.confirms).seal, Seal)
        return seals.seal(self._paths.workspace, self._candidate(submission.path), self._paths.seals)

    def _left_out(self, submission: Submission) -> tuple[str, ...]:
        with suppress(InvalidCandidate):
            if not submission.confirms:
                return seals.left_out(self._paths.workspace, self._candidate(submission.path))
        return ()

    def _opinion(self, submission: Submission, case: Case) -> Opinion:
        if submission.confirms:
            return store.read(self._paths.submission(submission.confirms).opinion, Opinion)
        return self._judge.opinion(case)

    def _candidate(self, path: str) -> PurePosixPath:
        """The submitted folder relative to the workspace: `submissions/NAME`, judged by its text alone."""
        folder = PurePosixPath(self._workspace) / self._paths.candidates.name
        candidate = PurePosixPath(path)
        if candidate.parent != folder or candidate.name in ("", "."):
            raise InvalidCandidate(f"{path!r} is not a folder directly in {folder}")
        return PurePosixPath(self._paths.candidates.name) / candidate.name

    def _decided_before(self, sealed: Seal) -> Verdict | None:
        """An earlier verdict on the same bytes that stands: they are not timed until luck comes."""
        for earlier in self._verdicts():
            stands = earlier.outcome in (Outcome.ACCEPTED, Outcome.REJECTED) and not earlier.confirms
            if stands and earlier.seal == sealed.sha256:
                return earlier
        return None


def _kind(submission: Submission, otherwise: TimedKind) -> TimedKind:
    return "confirmation" if submission.confirms else otherwise


def _failed(outcome: Outcome, error: Exception) -> Decision:
    return Decision(outcome=outcome, reason=str(error) or repr(error))
