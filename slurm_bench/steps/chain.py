"""A session's chain of jobs: a link at a time, and beside it a relay, a small job without GPUs.

The relay starts when its link is over, whatever ended that, and decides how the session goes on. So the next link
comes by itself, also after a sudden death, and no second one is ever reserved for in advance.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from slurm_bench.effects import locking, store
from slurm_bench.effects.cluster import Cluster, Job, python_command
from slurm_bench.steps import link, site
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BudgetExceeded, JobRefused, UsageError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session

log = logging.getLogger(__name__)

_RELAY = "slurm_bench.steps.relay"
_DYING_S = 30.0
"""That a cancelled job may need until it is gone."""


@dataclass(frozen=True)
class _Following:
    """What a relay takes over from, and what it waits for."""

    name: str
    after: str | None = None
    begin: datetime | None = None


class Chain:
    def __init__(self, config: Config, paths: SessionPaths, cluster: Cluster) -> None:
        self._config, self._paths, self._cluster = config, paths, cluster
        self.ledger = site.ledger_of(config, paths, cluster)

    def go_on(self) -> str | None:
        """Name of the job by which the session goes on: what is queued or runs of it, or else its next link, queued.

        None if it needs no link any more: what its agent handed in is answered by its desk alone.

        Raises:
            BudgetExceeded: it cannot be paid now, because of what is reserved for others; or never could.
        """
        with locking.lock(self._paths.launch_lock):
            self.ledger.settle_finished()
            relay = self._open_relay()
            if relay and not link.still_open(self.ledger.entries()):
                return relay.job_name
            entry = self._link()
            try:
                self._relay_after_link(entry)
            except JobRefused as error:
                log.warning("no relay, so that the same command has to be given again for the next job: %s", error)
        return entry.job_name if entry else None

    def next_link(self) -> str | None:
        """The same for a relay, which is over as soon as this is done.

        Raises:
            JobRefused: also where only the relay after it was.
        """
        with locking.lock(self._paths.launch_lock):
            self.ledger.settle_finished()
            entry = self._link()
            self._relay_after_link(entry)
        return entry.job_name if entry else None

    def open_job(self) -> str | None:
        """Name of the link, or else of the relay, that is queued or runs, as far as the ledger knows."""
        found = link.still_open(self.ledger.entries()) or self._open_relay()
        return found.job_name if found else None

    def wait(self, job_name: str, watch: Callable[[], None]) -> None:
        """Return once this job of the session is over and settled.

        Args:
            watch: called at each poll.
        """
        self.ledger.wait_until_over(job_name, self._config.cluster.poll_seconds, lambda states: watch())

    def new_name(self) -> str:
        """Of one more relay after the last link; whoever may have queued it asks for it again by this."""
        first, names = self._first_name(), [entry.job_name for entry in self._relays()]
        return f"{first}-{1 + sum(name == first or name.startswith(f'{first}-') for name in names)}"

    def relay_at(self, begin: datetime, name: str) -> None:
        """Let the session's last link be followed by another relay, which begins then."""
        self._queue_relay(name, _Following(self._links()[-1].job_name, begin=begin))

    def relay_after_this(self, name: str) -> None:
        """Let the relay that runs be followed by another, which takes over if Slurm ends this one."""
        self.ledger.settle_finished()
        running = [entry for entry in self._relays() if _is_open(entry) and entry.job_name != name]
        if running:
            self._queue_relay(name, _Following(running[-1].job_name, after=running[-1].job_id))

    def _link(self) -> LedgerEntry | None:
        """The link that is not over, or else the next one, queued; None if none is needed."""
        entries, begun = self.ledger.entries(), store.read(self._paths.session, Session)
        known = link.still_open(entries)
        if known is None and not link.is_needed(self._config, self._paths, begun):
            return None
        # A link that is not over keeps its name: it is found again, queued or not.
        job = link.next_job(self._config, self._paths, begun, entries)
        job = replace(job, name=known.job_name) if known else job
        least = link.shrinkable(self._config, self._paths, self._cluster)
        try:
            entry = self.ledger.run_to_queue("session", job, least)
        except BudgetExceeded as error:
            if not error.for_good or not link.has_run(entries):
                raise
            log.info("the budget is spent: %s", error)
            over = {"agent_exit_code": 0, "agent_ended_by": "the budget is spent"}
            store.write(self._paths.session, begun.model_copy(update=over))
            return None
        if entry.limit_s < job.limit_s:
            log.info("its time limit is cut to what the budget leaves: %d minutes", entry.limit_s // 60)
        return entry

    def _relay_after_link(self, entry: LedgerEntry | None) -> None:
        """By its name it is found again if we died between the two."""
        if entry and self._config.cluster.chain:
            self._queue_relay(self._first_name(), _Following(entry.job_name, after=entry.job_id))

    def _queue_relay(self, name: str, following: _Following) -> None:
        cluster = self._config.cluster
        job = Job(
            name=name,
            folder=self._paths.jobs,
            command=python_command(_RELAY, str(self._paths.root), following.name),
            tasks=1,
            gpus=0,
            node_gpus=cluster.node_gpus,
            exclusive=False,
            limit_minutes=cluster.session_minutes,
            cpu_only=True,
            after=following.after,
            begin=following.begin,
        )
        self.ledger.run_to_queue("relay", job)

    def _links(self) -> list[LedgerEntry]:
        return link.of_session(self.ledger.entries())

    def _relays(self) -> list[LedgerEntry]:
        relays = (entry for entry in self.ledger.entries() if entry.kind == "relay")
        return sorted(relays, key=lambda entry: entry.reserved_at)

    def _open_relay(self) -> LedgerEntry | None:
        return next(filter(_is_open, reversed(self._relays())), None)

    def _first_name(self) -> str:
        """Of the relay after the last link."""
        identity = store.read(self._paths.session, Session).id
        return f"slurm_bench-{identity}-relay{len(self._links())}"


def _is_open(entry: LedgerEntry) -> bool:
    return entry.settled_at is None


def amend(paths: SessionPaths, change: Callable[[Session], Mapping[str, object]], patience_s: float = _DYING_S) -> None:
    """Change the record of a session, unless a desk serves it: that keeps it itself."""
    with suppress(UsageError), locking.lock(paths.lock, busy="it is served", patience_s=patience_s):
        left = store.read(paths.session, Session)
        if changes := change(left):
            store.write(paths.session, left.model_copy(update=dict(changes)))
