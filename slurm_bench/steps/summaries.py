"""What the records of a campaign's sessions say, read for its report."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import campaigns, seals, store
from slurm_bench.pure import progress, score, stamps, yardstick
from slurm_bench.pure.changes import Difference, difference
from slurm_bench.pure.plain import one_line
from slurm_bench.pure.summary import Contest, Runs, SessionSummary, SubmissionSummary
from slurm_bench.pure.usage import Account
from slurm_bench.pure.verdict import losses, training_times
from slurm_bench.pure.yardstick import Yardstick
from slurm_bench.steps import budget, site, yardsticks
from slurm_bench.steps.yardsticks import Humans
from slurm_bench.words.accounting import LedgerEntry, RestsOn
from slurm_bench.words.bundles import Stamp
from slurm_bench.words.errors import SchedulerError, UsageError
from slurm_bench.words.model_use import ModelUse
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.paths import CampaignPaths, SessionPaths, SubmissionPaths
from slurm_bench.words.records import Seal, Session, Working
from slurm_bench.words.trials import Retiming, Trial
from slurm_bench.words.verdicts import Verdict

log = logging.getLogger(__name__)

_EVER = datetime.max.replace(tzinfo=UTC)


def of_campaign(campaign: CampaignPaths, humans: Humans | None = None) -> list[SessionSummary]:
    """Session by session; those that have no record yet, and those that cannot be read, are left out.

    Args:
        humans: what they are compared with; None is what the shipped tables say, and what the campaign timed itself.
    """
    accounts = _accounts(campaign)
    humans = humans or yardsticks.known([campaign])
    begun = campaigns.members(campaign).begun
    return [_Reader(paths, humans).session(accounts.get(name)) for name, paths in begun.items()]


def _accounts(campaign: CampaignPaths) -> Mapping[str, Account]:
    """By session, with one question for all of them; none where nobody answers."""
    try:
        return {account.name: account for account in budget.of_campaign(campaign).accounts}
    except (SchedulerError, UsageError) as error:
        log.warning("no accounting: %s", error)
        return {}


class _Reader:
    """Of one session."""

    def __init__(self, paths: SessionPaths, humans: Humans) -> None:
        self._paths = paths
        self._config = site.load_config(paths)
        self._session = store.read(paths.session, Session)
        self._entries = _entries(paths)
        self._incumbent = store.read_if_there(paths.incumbent, Seal)
        self._baseline = self._files(self._incumbent) if self._incumbent else {}
        self._start = humans.start(self._config, self._incumbent)
        self._yardsticks = humans.yardsticks(self._config, self._incumbent)

    def session(self, account: Account | None) -> SessionSummary:
        config, use = self._config, store.read_if_there(self._paths.model_use, ModelUse)
        decided = [self._submission(record) for record in sorted(self._paths.submissions.glob("*/verdict.json"))]
        found = score.of(self._session.state, [each.verdict for each in decided])
        return SessionSummary(
            session=self._session,
            contest=self._contest(),
            agent=config.agent.title,
            model=config.agent.model or "",
            by_experiments=config.agent.experiments,
            cluster=config.cluster.kind,
            container=config.container.kind,
            design=config.retime.design,
            where=config.retime.where,
            confirms=config.retime.confirm,
            incumbent_runs=_runs(self._paths.calibration)[0],
            submissions=tuple(each for each in decided if not each.verdict.confirms),
            confirmations=tuple(each for each in decided if each.verdict.confirms),
            score=found,
            human_progress=yardstick.progress(self._yardsticks, found.saved) if found.saved else (),
            start=self._start,
            yardsticks=self._yardsticks,
            h100_hours=self._spent(_EVER),
            hours=self._hours(self._until(decided)),
            tokens=use.tokens if use else None,
            usd=use.usd if use else None,
            budget=account,
        )

    def _contest(self) -> Contest:
        config = self._config
        return Contest(
            record=Path(config.task.record).name,
            incumbent=self._incumbent.sha256 if self._incumbent else "",
            target_loss=config.task.target_loss,
            gpu_type=config.cluster.gpu_type,
            gpus=config.cluster.trial_gpus,
            until=_last_of(self._yardsticks),
        )

    def _until(self, submissions: Sequence[SubmissionSummary]) -> datetime:
        """When it ended, or was last seen."""
        if self._session.ended:
            return self._session.ended
        working = store.read_if_there(self._paths.working, Working)
        seen = [each.verdict.decided_at for each in submissions]
        return max([self._session.started, *seen, *([working.seen_at] if working else [])])

    def _hours(self, moment: datetime) -> float:
        return (moment - self._session.started).total_seconds() / 3600

    def _spent(self, moment: datetime) -> float:
        return progress.spent_until(self._entries, moment, self._config.budget.counts)  # type: ignore[arg-type]

    def _submission(self, record: Path) -> SubmissionSummary:
        verdict = store.read(record, Verdict)
        where = self._paths.submission(verdict.submission)
        timed = self._paths.submission(verdict.repeats) if verdict.repeats else where
        runs, incumbent = _runs(timed.retiming.collected)
        return SubmissionSummary(
            verdict=verdict,
            name=one_line(Path(verdict.candidate).name),
            h100_hours=self._spent(verdict.decided_at),
            hours=self._hours(verdict.decided_at),
            runs=runs,
            incumbent_runs=incumbent,
            stamp=_stamp(where),
            opinion=_opinion(timed),
            difference=None if verdict.confirms else self._difference(where),
        )

    def _difference(self, where: SubmissionPaths) -> Difference | None:
        sealed = store.read_if_there(where.seal, Seal)
        return difference(self._baseline, self._files(sealed)) if sealed else None

    def _files(self, sealed: Seal) -> Mapping[str, str]:
        """None where the sealed bytes are gone: the report says all the rest."""
        try:
            return seals.load(self._paths.seals, sealed)
        except OSError as error:
            log.warning("seal %s cannot be read: %s", sealed.sha256[:12], error)
            return {}


def _last_of(yardsticks: Sequence[Yardstick]) -> str:
    return yardsticks[0].steps[-1].name if yardsticks else ""


def _entries(paths: SessionPaths) -> list[LedgerEntry]:
    """Of the session's jobs, and of the calibrations that its verdicts rest on."""
    resting = store.read_if_there(paths.rests_on, RestsOn)
    calibrations = [paths.campaign.calibration(name).ledger for name in resting.calibrations] if resting else []
    return [entry for folder in (paths.ledger, *calibrations) for entry in store.read_all(folder, LedgerEntry)]


def _stamp(where: SubmissionPaths) -> str:
    given = store.read_if_there(where.stamp, Stamp)
    return stamps.digest(given) if given else ""


def _opinion(where: SubmissionPaths) -> Opinion | None:
    return store.read_if_there(where.second_opinion, Opinion) or store.read_if_there(where.opinion, Opinion)


def _runs(record: Path) -> tuple[Runs, Runs]:
    """A retiming's runs, and the incumbent's beside them."""
    retiming = store.read_if_there(record, Retiming)
    arms = (retiming.trials, retiming.incumbents) if retiming else ((), ())
    return _of_arm(arms[0]), _of_arm(arms[1])


def _of_arm(trials: Sequence[Trial]) -> Runs:
    ran = [trial for trial in trials if trial.result]
    return Runs(
        losses=tuple(losses(ran)),
        times_s=tuple(training_times(ran)),
        nodes=tuple(trial.node for trial in ran),
        jobs=tuple(trial.job for trial in ran),
    )
