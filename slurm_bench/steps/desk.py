"""The desk: the trusted process that takes requests out of the agent's container and gives verdicts back.

`Desk.decide` is the way of one submission. Each step's record is looked for before the step is done, so a desk that
died goes on where it was: it judges nothing twice and queues nothing twice.
"""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from slurm_bench.effects import seals, store
from slurm_bench.effects.containers import Mount
from slurm_bench.pure import verdict
from slurm_bench.steps import judge
from slurm_bench.steps.outbox import Outbox
from slurm_bench.steps.retime import Retimer
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BudgetExceeded, InfrastructureError, InvalidCandidate
from slurm_bench.words.paths import SessionPaths, SubmissionPaths
from slurm_bench.words.records import (
    Decision,
    Opinion,
    Outcome,
    Request,
    Seal,
    Submission,
    Trial,
    TrialOutcome,
    Verdict,
)

log = logging.getLogger(__name__)


class Desk:
    def __init__(self, config: Config, paths: SessionPaths, retimer: Retimer, workspace: Mount) -> None:
        self._config = config
        self._paths = paths
        self._retimer = retimer
        self._outbox = Outbox(paths)
        self._workspace = retimer.container.inside(workspace)
        self._incumbent: Seal | None = None
        self._incumbent_trials: list[Trial] = []

    def time_incumbent(self, record: Path) -> None:
        """Seal and time the starting record, which every candidate is measured against.

        Raises:
            InfrastructureError: no ten clean runs. They are set aside: the next start of the session times anew.
        """
        where = self._paths.incumbent
        root, folder = record.parent, PurePosixPath(record.name)
        self._incumbent = store.once(where.seal, Seal, lambda: seals.seal(root, folder, self._paths.seals))
        name = f"incumbent{len(where.failed_retimings()) + 1}"
        self._incumbent_trials = self._retimer.retime("calibration", name, self._incumbent, where.retiming)
        unclean = [trial for trial in self._incumbent_trials if trial.outcome is not TrialOutcome.CLEAN]
        if unclean:
            aside = where.next_failed_retiming()
            where.retiming.root.rename(aside)
            problem = f"{unclean[0].outcome}: {unclean[0].note}"
            raise InfrastructureError(f"the incumbent's trial {unclean[0].index} {problem} (see {aside})")

    def serve(self) -> None:
        """Answer what waits in the outbox, one request after the other, as often as the agent may ask."""
        for request in self._outbox.waiting():
            if self._asked_within_the_hour() >= self._config.agent.submissions_per_hour:
                return
            self._answer(request)

    def _asked_within_the_hour(self) -> int:
        """Submissions of the last hour; what comes too often waits in the outbox."""
        since = datetime.now(UTC) - timedelta(hours=1)
        return sum(submission.received_at > since for submission in self._submissions())

    def _answer(self, request: Request) -> None:
        submission = self._open(request)
        where = self._paths.submission(submission.number)
        log.info("submission %s: %r", submission.number, request.path)
        given = store.once(where.verdict, Verdict, lambda: self._verdict(submission, where))
        log.info("submission %s: %s: %s", submission.number, given.outcome, given.reason)
        store.write(self._paths.verdict_in_inbox(request.id), given)

    def _open(self, request: Request) -> Submission:
        known = self._submissions()
        for submission in known:
            if submission.request == request.id:
                return submission
        number = f"{len(known) + 1:04}"
        submission = Submission(number=number, request=request.id, path=request.path, received_at=datetime.now(UTC))
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
            decision, repeats = _failed(Outcome.OVER_BUDGET, error), None
        except InfrastructureError as error:
            decision, repeats = _failed(Outcome.UNDECIDED, error), None
        except Exception as error:
            log.exception("submission %s: a defect of the desk", submission.number)
            decision, repeats = _failed(Outcome.UNDECIDED, error), None
        sealed = store.read_if_there(where.seal, Seal)
        return Verdict(
            **dict(decision),
            submission=submission.number,
            request=submission.request,
            candidate=submission.path,
            exit_code=decision.outcome.exit_code,
            seal=sealed.sha256 if sealed else None,
            gpu_seconds=self._retimer.charged(submission.number),
            repeats=repeats,
            decided_at=datetime.now(UTC),
        )

    def decide(self, submission: Submission, where: SubmissionPaths) -> tuple[Decision, str | None]:
        """The way of one submission: its decision, and the earlier submission that it repeats if any.

        Raises:
            InvalidCandidate: there is nothing that could be sealed.
            BudgetExceeded: the retiming's worst case does not fit.
            InfrastructureError: the site failed; the same candidate can be submitted again.
        """
        assert self._incumbent is not None, "time_incumbent comes first"
        candidate = self._candidate(submission.path)
        sealed = store.once(where.seal, Seal, lambda: seals.seal(self._paths.workspace, candidate, self._paths.seals))
        earlier = self._decided_before(sealed)
        if earlier is not None:
            return _decision_of(earlier), earlier.submission
        incumbent = self._incumbent
        opinion = store.once(where.opinion, Opinion, lambda: judge.opinion(self._paths.seals, incumbent, sealed))
        if opinion.rejects:
            return verdict.on_opinion(opinion), None
        trials = self._retimer.retime("retiming", submission.number, sealed, where.retiming)
        growth = self._config.retime.off_clock_growth
        decision = verdict.on_trials(trials, self._incumbent_trials, self._config.task.target_loss, growth)
        return self._look_again(decision, sealed, where), None

    def _look_again(self, decision: Decision, sealed: Seal, where: SubmissionPaths) -> Decision:
        """Show an accepted candidate to the judge once more where its runs raise a suspicion."""
        off_clock, speed, incumbent = decision.off_clock, decision.speed, self._incumbent
        assert incumbent is not None
        if decision.outcome is not Outcome.ACCEPTED or not speed or not off_clock or not off_clock.flagged:
            return decision
        note = verdict.suspicion(off_clock, speed)
        second = store.once(
            where.second_opinion, Opinion, lambda: judge.opinion(self._paths.seals, incumbent, sealed, [note])
        )
        if second.rejects:
            return verdict.on_opinion(second).model_copy(update={"off_clock": off_clock})
        return decision.model_copy(update={"reason": f"{decision.reason}. Flagged: {note}"})

    def _candidate(self, path: str) -> PurePosixPath:
        """The submitted folder relative to the workspace: `submissions/NAME`, judged by its text alone."""
        folder = PurePosixPath(self._workspace) / self._paths.candidates.name
        candidate = PurePosixPath(path)
        if candidate.parent != folder or candidate.name in ("", "."):
            raise InvalidCandidate(f"{path!r} is not a folder directly in {folder}")
        return PurePosixPath(self._paths.candidates.name) / candidate.name

    def _decided_before(self, sealed: Seal) -> Verdict | None:
        """An earlier verdict on the same bytes that stands: they are not timed until luck comes."""
        for path in sorted(self._paths.submissions.glob("*/verdict.json")):
            earlier = store.read(path, Verdict)
            stands = earlier.outcome in (Outcome.ACCEPTED, Outcome.REJECTED)
            if stands and earlier.seal == sealed.sha256:
                return earlier
        return None


def _failed(outcome: Outcome, error: Exception) -> Decision:
    return Decision(outcome=outcome, reason=str(error) or repr(error))


def _decision_of(earlier: Verdict) -> Decision:
    return Decision.model_validate({name: getattr(earlier, name) for name in Decision.model_fields})
