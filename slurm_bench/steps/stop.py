"""`command=stop`: end a session, or all of a campaign, and settle what they hold. `run` goes on with them.

First what could queue anything more is ended, relays before links, then the desk, and last the trials. All of it is
asked for again until nothing is open: a relay may fire, and a desk hand in, in the very moment of its end.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from slurm_bench.effects import processes, store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.effects.processes import ProcessIdentity
from slurm_bench.steps import books, calibration
from slurm_bench.steps.books import Book
from slurm_bench.steps.session import LOST_NODE_S
from slurm_bench.words.accounting import LedgerEntry, RestsOn
from slurm_bench.words.config import Config, StopCommand
from slurm_bench.words.errors import InfrastructureError, SchedulerError, UsageError
from slurm_bench.words.kinds import KINDS, Kind
from slurm_bench.words.paths import CalibrationPaths, CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState

log = logging.getLogger(__name__)

BY_HAND = "it was stopped by hand (command=stop); the same run command goes on with it"
_CHAIN: tuple[Kind, ...] = ("relay", "session")
_TRY_S = 0.5
"""Between two tries at a lock that somebody else holds."""
_TIDYING_S = 120.0
"""That a process which was asked to end may need for it."""


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: the campaign has no such session, or its desk is a process of another host.
        SchedulerError: no answer; the same command goes on with what it has begun.
    """
    assert isinstance(config.command, StopCommand)
    campaign = CampaignPaths(Path(config.runs).absolute() / config.campaign)
    names = _chosen(config.session, config.command.all, campaign)
    opened = books.open_all([*campaign.sessions(), *campaign.calibrations()])
    try:
        with _narrated() as say:
            Stop(opened, names, say).perform()
    except SchedulerError as error:
        raise SchedulerError(f"{error}; the same command goes on") from None
    for book in opened:
        if book.name in names and isinstance(book.paths, SessionPaths):
            print(_last_word(book, book.paths))


def _chosen(session: str, every: bool, campaign: CampaignPaths) -> set[str]:
    """Names of the sessions, and with all of them of the calibrations too."""
    sessions = [paths.root.name for paths in campaign.sessions()]
    calibrations = [paths.root.name for paths in campaign.calibrations()]
    if every and (sessions or calibrations):
        return {*sessions, *calibrations}
    if session in sessions:
        return {session}
    there = f"session=NAME of {', '.join(sessions)}; or all=true" if sessions else "it has no sessions"
    raise UsageError(f"session: which one of campaign {campaign.root.name}? {there}")


def _last_word(book: Book, paths: SessionPaths) -> str:
    balance = book.ledger.balances().own
    what = f"{balance.spent:.4f} of {balance.limit:g} H100-hours are spent, {balance.reserved:.4f} reserved"
    ended = store.read_if_there(paths.session, Session)
    if ended and ended.state is SessionState.FINISHED:
        return f"{book.name} is finished: {what}"
    return f"{book.name} is stopped: {what}; the same run command with session={book.name} goes on with it"


@contextmanager
def _narrated() -> Iterator[Callable[[str], None]]:
    """What is waited for: a line that changes on a terminal, a line for each change elsewhere."""
    console, said = Console(stderr=True), ""
    with console.status("") as status:

        def say(text: str) -> None:
            nonlocal said
            status.update(escape(text))
            if text != said and not console.is_terminal:
                log.info("%s", text)
            said = text

        yield say


class Stop:
    """
    Args:
        opened: all of the campaign.
        names: of the sessions and calibrations among them that are to end.
        say: told what is waited for.
    """

    def __init__(
        self, opened: Sequence[Book], names: Collection[str], say: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        self._opened, self._names, self._say = opened, names, say
        self._clock = clock or SystemClock()
        self._cancelled: set[tuple[str, str | None]] = set()
        """Jobs by name, with the number that they had: one that was not queued yet is cancelled again."""

    def perform(self) -> None:
        sessions = [(book, book.paths) for book in self._opened if isinstance(book.paths, SessionPaths)]
        chosen = [(book, paths) for book, paths in sessions if book.name in self._names and paths.session.exists()]
        for book, paths in chosen:
            _refuse_of_another_host(book, paths)
        with ExitStack() as locks:
            for _, paths in chosen:
                locks.enter_context(store.lock(paths.launch_lock))
            self._end([book for book, _ in chosen], _CHAIN)
            for book, paths in chosen:
                self._serve_nobody(book, paths, locks)
            self._end([book for book, _ in chosen], ("relay", *KINDS))
            self._end_calibrations([book for book, _ in sessions if book.name not in self._names], locks)
            for _, paths in chosen:
                _write_down(paths)

    def _end(self, ending: Sequence[Book], kinds: Collection[Kind]) -> None:
        """Cancel all jobs of these kinds, and return once they are settled.

        Raises:
            SchedulerError: no answer, or they do not end.
        """
        until = self._deadline(60 * max((book.config.cluster.silence_minutes for book in ending), default=0))
        while waiting := self._still_open(ending, kinds):
            for book, entry in waiting:
                self._cancel(book, entry)
            names = ", ".join(entry.job_name for _, entry in waiting)
            if self._clock.now() > until:
                raise SchedulerError(f"cancelled, but not over by squeue and sacct: {names}")
            self._say(f"waiting for the end of {names}")
            self._clock.sleep(min(book.config.cluster.poll_seconds for book, _ in waiting))

    def _deadline(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)

    def _still_open(self, ending: Sequence[Book], kinds: Collection[Kind]) -> list[tuple[Book, LedgerEntry]]:
        """Relays first: one that fires meanwhile finds nothing to follow."""
        books.settle(ending)
        found = [(book, entry) for book in ending for entry in book.ledger.entries()]
        still_open = [(book, entry) for book, entry in found if entry.settled_at is None and entry.kind in kinds]
        return sorted(still_open, key=lambda each: each[1].kind != "relay")

    def _cancel(self, book: Book, entry: LedgerEntry) -> None:
        """Once: a second signal would disturb a desk that is tidying up."""
        if (entry.job_name, entry.job_id) not in self._cancelled:
            book.cluster.cancel(entry.job_name)
            self._cancelled.add((entry.job_name, entry.job_id))

    def _serve_nobody(self, book: Book, paths: SessionPaths, locks: ExitStack) -> None:
        """Hold the lock of the session's desk, so that there is none; a process that serves as it here is ended."""
        asked: set[ProcessIdentity] = set()

        def end_desk() -> None:
            desk = store.read_if_there(paths.desk_process, ProcessIdentity)
            if desk and desk not in asked:
                processes.terminate(desk)
                asked.add(desk)
            self._say(f"waiting for the desk of {book.name}{_where(desk)}")

        # Of a desk whose job is over the file system alone may still hold the lock.
        patience_s = _TIDYING_S if book.config.cluster.kind == "local" else LOST_NODE_S
        if not self._hold(paths.lock, locks, end_desk, patience_s):
            desk = store.read_if_there(paths.desk_process, ProcessIdentity)
            raise InfrastructureError(f"the desk of {book.name} does not end{_where(desk)}; end it, and stop again")

    def _hold(self, lock: Path, locks: ExitStack, meanwhile: Callable[[], None], patience_s: float) -> bool:
        """Take a lock that others give up as soon as what they wait for is ended; return whether they did."""
        until = self._deadline(patience_s)
        while self._clock.now() < until:
            with suppress(UsageError):
                locks.enter_context(store.lock(lock, busy="held", patience_s=_TRY_S))
                return True
            meanwhile()
        return False

    def _end_calibrations(self, others: Sequence[Book], locks: ExitStack) -> None:
        """Those that only the chosen sessions wait for, or all."""
        for book in self._opened:
            if isinstance(book.paths, CalibrationPaths) and book.is_open and self._is_ours(book):
                sharing = [other.name for other in others if _needs(other, book.name)]
                if sharing:
                    log.info("%s is left alone: %s needs it too", book.name, ", ".join(sharing))
                else:
                    self._end_calibration(book, book.paths, locks)

    def _is_ours(self, book: Book) -> bool:
        return book.name in self._names or any(
            book.name in _resting(other) for other in self._opened if other.name in self._names
        )

    def _end_calibration(self, book: Book, paths: CalibrationPaths, locks: ExitStack) -> None:
        """Whoever times it finds its runs void, and may run some of them again."""

        def end() -> None:
            self._end([book], KINDS)

        was_open = book.is_open
        end()
        if not self._hold(paths.lock, locks, end, _TIDYING_S):
            raise InfrastructureError(f"somebody still times {book.name}; end that command, and stop again")
        end()
        if was_open:
            calibration.set_aside_if_unfinished(paths.timing)


def _refuse_of_another_host(book: Book, paths: SessionPaths) -> None:
    """On cluster=local everything of a session is processes of one host, and no other can tell whether they live."""
    desk = store.read_if_there(paths.desk_process, ProcessIdentity)
    if book.config.cluster.kind == "local" and desk and not desk.is_of_this_host:
        raise UsageError(f"session {book.name} runs on {desk.host}: stop it there")


def _where(desk: ProcessIdentity | None) -> str:
    return f" (process {desk.pid} on {desk.host})" if desk else ""


def _resting(book: Book) -> tuple[str, ...]:
    resting = store.read_if_there(book.paths.rests_on, RestsOn)
    return resting.calibrations if resting else ()


def _needs(other: Book, name: str) -> bool:
    """Whether a session that goes on rests on this calibration, or may be waiting for it."""
    assert isinstance(other.paths, SessionPaths)
    waits = other.config.retime.design == "classic" and not other.paths.calibration.exists()
    return (waits or name in _resting(other)) and (other.is_open or _is_served(other.paths))


def _is_served(paths: SessionPaths) -> bool:
    try:
        with store.lock(paths.lock, busy="served"):
            return False
    except UsageError:
        return True


def _write_down(paths: SessionPaths) -> None:
    left = store.read(paths.session, Session)
    if left.state is not SessionState.FINISHED:
        changes = {"problem": BY_HAND, "problem_exit_code": InfrastructureError.exit_code}
        store.write(paths.session, left.model_copy(update={"state": SessionState.INTERRUPTED, **changes}))
