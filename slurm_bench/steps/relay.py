"""The relay's own job: once a session's job is over, find out how it ended and see to it that the session goes on.

A relay does not wait for a better time itself: that does another one, queued to begin then, which holds nothing.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from slurm_bench.effects import store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.effects.cluster import Cluster
from slurm_bench.pure import relay
from slurm_bench.pure.relay import Decision, Move
from slurm_bench.steps import chain, link, session, site
from slurm_bench.steps.chain import Chain
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BenchError, BudgetExceeded, InfrastructureError, JobRefused, SchedulerError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState, Submission, Working

T = TypeVar("T")

log = logging.getLogger("slurm_bench.steps.relay")  # as a job's main module its __name__ is another

_ASK_AGAIN_POLLS = 20
"""Until a budget that is only reserved is asked again."""


def run(folder: Path, followed: str) -> None:
    """Go on with the session in this folder after its job of this name.

    Raises:
        BenchError: its desk, where that is all that it needs, met a problem.
    """
    paths = SessionPaths(folder)
    config = site.load_config(paths)
    with session.log_file(paths.log):
        desk_is_left = Relay(config, paths, site.cluster_of(config)).take_over(followed)
    if desk_is_left:
        session.run(folder, session.LOST_NODE_S)


class Relay:
    def __init__(self, config: Config, paths: SessionPaths, cluster: Cluster, *, clock: Clock | None = None) -> None:
        self._config, self._paths = config, paths
        self._chain = Chain(config, paths, cluster)
        self._clock = clock or SystemClock()

    def take_over(self, followed: str) -> bool:
        """Queue what comes next or write down why nothing does; return whether the desk alone is left to run, here."""
        try:
            self._chain.wait(followed, lambda: None)
            is_left = self._perform(self._decide(followed))
            if is_left:
                name = self._chain.new_name()
                self._follow_this(name)
        except InfrastructureError as error:
            self._stop(f"the session's next job could not be queued: {error}", error.exit_code)
            return False
        return is_left

    def _follow_this(self, name: str) -> None:
        """Where no further job is taken, this relay can still serve as the desk."""
        try:
            self._patiently(lambda: self._chain.relay_after_this(name))
        except JobRefused as error:
            log.warning("no relay takes over from this one: %s", error)

    def _decide(self, followed: str) -> Decision:
        entries = self._chain.ledger.entries()
        if link.still_open(entries):
            return Decision(Move.LEAVE, "the session's next job is there already")
        (before,) = [entry for entry in entries if entry.job_name == followed]
        fruitless = relay.fruitless(link.of_session(entries), self._progressed_at())
        self._amend({"fruitless_links": fruitless})
        begun = store.read(self._paths.session, Session).model_copy(update={"fruitless_links": fruitless})
        return relay.decide(begun, before, link.is_needed(self._config, self._paths, begun))

    def _progressed_at(self) -> datetime | None:
        """When the agent last did something: as its desk saw it, or by handing in."""
        working = store.read_if_there(self._paths.working, Working)
        handed_in = [store.read(each.submission, Submission).received_at for each in self._paths.timed()]
        seen = [working.progressed_at] if working and working.progressed_at else []
        # A link that its model's service sent away until then could do nothing.
        sent_away = store.read(self._paths.session, Session).resume_at
        return max([*seen, *handed_in, *([sent_away] if sent_away else [])], default=None)

    def _perform(self, decision: Decision) -> bool:
        """Return whether only the desk is left to run."""
        log.info("%s", decision.why)
        if decision.move is Move.NEXT:
            return self._next()
        if decision.move is Move.STOP:
            self._stop(decision.why, InfrastructureError.exit_code)
        return decision.move is Move.CLOSE

    def _next(self) -> bool:
        """Queue the next link, or a relay that does so later; return whether the session needs neither."""
        paused, now = store.read(self._paths.session, Session), self._clock.now()
        if paused.state is SessionState.PAUSED and paused.resume_at and paused.resume_at > now:
            self._later(paused.resume_at, "its model's service asks for that")
            return False
        try:
            name = self._patiently(self._chain.next_link)
        except BudgetExceeded as error:
            if error.for_good:
                self._stop(str(error), error.exit_code)
            else:
                self._later(now + timedelta(seconds=_ASK_AGAIN_POLLS * self._config.cluster.poll_seconds), str(error))
            return False
        if name is not None:
            log.info("queued as %s", name)
        return name is None

    def _later(self, begin: datetime, why: str) -> None:
        log.info("not before %s: %s", f"{begin:%Y-%m-%d %H:%M} UTC", why)
        name = self._chain.new_name()
        self._patiently(lambda: self._chain.relay_at(begin, name))

    def _patiently(self, queue: Callable[[], T]) -> T:
        """What a scheduler that is silent, or has no room for another job, is asked for again.

        Raises:
            SchedulerError: also after all this time.
        """
        until = self._clock.now() + timedelta(minutes=self._config.cluster.silence_minutes)
        while True:
            try:
                return queue()
            except SchedulerError as error:
                if self._clock.now() > until:
                    raise
                log.debug("asking again: %s", error)
            self._clock.sleep(self._config.cluster.poll_seconds)

    def _stop(self, why: str, exit_code: int) -> None:
        self._amend({"state": SessionState.INTERRUPTED, "problem": why, "problem_exit_code": exit_code})

    def _amend(self, changes: Mapping[str, object]) -> None:
        kept = session.LOST_NODE_S
        chain.amend(self._paths, lambda left: {} if left.state is SessionState.FINISHED else changes, kept)


def main(folder: str, followed: str, _task: str) -> None:
    """The body of the relay's job; what goes wrong is its log's last line and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        run(Path(folder), followed)
    except BenchError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
