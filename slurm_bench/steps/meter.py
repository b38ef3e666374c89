"""What a session uses of its budget and its time while it runs: said to its agent, and watched for its desk."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from slurm_bench.effects import node, store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.pure.budget import Balances, h100_hours
from slurm_bench.pure.usage import split
from slurm_bench.steps import link, retime
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words.accounting import Activity, BudgetNote
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BenchError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Working

log = logging.getLogger(__name__)

_LEAST_INTERVAL_S = 1.0
_LONGEST_SAMPLE = 4
"""Intervals that one look stands for; the rest of a longer pause was not seen."""


class Meter:
    """
    Args:
        waits: whether the agent's hours stand still, because all that it has queued waits.
    """

    def __init__(
        self,
        config: Config,
        paths: SessionPaths,
        ledger: Ledger,
        *,
        waits: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self._config, self._paths, self._ledger, self._waits = config, paths, ledger, waits
        self._clock = clock or SystemClock()
        self.deadline = self._clock.now() + self._time_left()
        """When the session's agent is ended at the latest: what it had left when it was last seen, from now on."""
        self._interval = timedelta(seconds=max(_LEAST_INTERVAL_S, config.cluster.poll_seconds))
        in_a_job = link.still_open(ledger.entries()) is not None
        self._gpus = config.cluster.session_gpus if in_a_job and config.container.gpu_devices else 0
        self._read_at: datetime | None = None
        self._notice = self._earlier_notice()

    def _earlier_notice(self) -> str:
        note = store.read_if_there(self._paths.budget_in_inbox, BudgetNote)
        return note.notice if note else ""

    def _time_left(self) -> timedelta:
        seen = store.read_if_there(self._paths.working, Working)
        return seen.deadline - seen.seen_at if seen else timedelta(hours=self._config.agent.hours)

    def read(self, acted_at: datetime | None = None) -> bool:
        """Bring the agent's note up to date, if that is due; return whether the budget is spent.

        Args:
            acted_at: when the agent last did something, since this meter is there.
        """
        now = self._clock.now()
        if self._read_at is not None and now - self._read_at < self._interval:
            return False
        self._keep_working(now, acted_at)
        self._keep_activity(now)
        self._read_at = now
        try:
            self._ledger.settle_finished()
            balances = self._ledger.balances()
        except BenchError as error:
            log.debug("the budget is not known: %s", error)
            return False
        self._tell(balances, now)
        return balances.share >= 1

    def _tell(self, balances: Balances, now: datetime) -> None:
        time_used = 1 - (self.deadline - now) / timedelta(hours=self._config.agent.hours)
        share = min(1.0, max(balances.share, time_used))
        left = balances.tightest.left
        if share >= self._config.budget.notice_at and not self._notice:
            self._notice = (
                f"{100 * share:.0f} % of this session's budget or time is used: hand in what you have "
                f"({self._paths.budget_in_inbox.name} in the inbox says what is left)"
            )
            log.info("the agent is told: %s", self._notice)
        note = BudgetNote(
            limit=balances.own.limit,
            spent=balances.own.spent,
            reserved=balances.own.reserved,
            left=left,
            a_submission_reserves=round(retime.worst_case_h100_hours(self._config, self._ledger.overrun_s), 4),
            a_submission_took=self._mean_of_a_submission(),
            ends_at=self.deadline,
            notice=self._notice,
        )
        if note != store.read_if_there(self._paths.budget_in_inbox, BudgetNote):
            store.write(self._paths.budget_in_inbox, note)

    def _mean_of_a_submission(self) -> float | None:
        """H100-hours that submissions which were timed took, their decoy runs and reruns included."""
        entries = self._ledger.entries()
        arrays = [each for each in entries if each.kind == "retiming" and not each.job_name.endswith(retime.RERUN)]
        jobs = [[each for each in entries if each.job_name.startswith(array.job_name)] for array in arrays]
        over = [ours for ours in jobs if all(each.settled_at for each in ours)]
        if not over:
            return None
        used = sum(h100_hours(each.charged_gpu_seconds, each.weight) for ours in over for each in ours)
        return round(used / len(over), 4)

    def _keep_working(self, now: datetime, acted_at: datetime | None) -> None:
        earlier = store.read_if_there(self._paths.working, Working)
        progressed_at = acted_at or (earlier.progressed_at if earlier else None)
        waited = timedelta(seconds=earlier.waited_s if earlier else 0.0)
        still = self._standing_still(now, waited)
        self.deadline += still
        working = Working(
            deadline=self.deadline,
            seen_at=now,
            progressed_at=progressed_at,
            waited_s=(waited + still).total_seconds(),
        )
        store.write(self._paths.working, working)

    def _standing_still(self, now: datetime, waited: timedelta) -> timedelta:
        """Return how much of the time since the last look does not count, after so much that did not."""
        if self._read_at is None or not self._waits():
            return timedelta()
        longest = timedelta(hours=self._config.agent.waiting_hours) - waited
        return max(timedelta(), min(now - self._read_at, _LONGEST_SAMPLE * self._interval, longest))

    def _keep_activity(self, now: datetime) -> None:
        """Add up the GPUs that compute at each reading: what is not seen to compute is idle."""
        if not self._gpus or self._read_at is None:
            return
        seen_s = min((now - self._read_at).total_seconds(), _LONGEST_SAMPLE * self._interval.total_seconds())
        computing = min(self._gpus, node.computing_gpus())
        known = store.read_if_there(self._paths.activity, Activity) or Activity(busy_gpu_seconds={})
        busy = dict(known.busy_gpu_seconds)
        for day, seconds in split(now - timedelta(seconds=seen_s), seen_s).items():
            busy[day] = busy.get(day, 0) + computing * seconds
        store.write(self._paths.activity, Activity(busy_gpu_seconds=busy))
