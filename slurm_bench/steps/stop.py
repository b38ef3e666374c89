"""`command=stop`: end a session, or all of a campaign, and settle what they hold. `run` goes on with them.

First what could queue anything more is ended, relays before links, then the desk, and last the trials. All of it is
asked for again until nothing is open: a relay may fire, and a desk hand in, in the very moment of its end.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from slurm_bench.effects import campaigns, folders, locking, processes, store
from slurm_bench.effects.campaigns import Members
from slurm_bench.effects.processes import ProcessIdentity
from slurm_bench.steps import books, calibration
from slurm_bench.steps.books import Book
from slurm_bench.steps.session import LOST_NODE_S
from slurm_bench.words.accounting import LedgerEntry, RestsOn
from slurm_bench.words.campaigns import Unreadable
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
    found = campaigns.members(campaign)
    sessions = books.open_all(found.sessions)

    def calibrations() -> Sequence[Book]:
        return books.open_all(campaigns.members(campaign).calibrations)

    chosen = _chosen(config.session, config.command.all, found, campaign)
    others = {book.name: folders.owner(book.paths.root) for book in sessions if not folders.is_ours(book.paths.root)}
    going_on = {
        name: others[name]
        for name in sorted(chosen & {*others})
        if not _is_finished(SessionPaths(campaign.root / name))
    }
    if not config.command.all:
        _refuse(going_on)
    try:
        with _narrated() as say:
            Stop(sessions, chosen - {*others}, calibrations, say, found.unreadable).perform()
    except SchedulerError as error:
        raise SchedulerError(f"{error}; the same command goes on") from None
    for book in sessions:
        if book.name in chosen - {*going_on}:
            print(_last_word(book))
    if config.command.all:
        _refuse(going_on | {each.name: each.owner for each in found.unreadable})


def _chosen(session: str, every: bool, found: Members, campaign: CampaignPaths) -> set[str]:
    """Names of the sessions, and with all of them of the calibrations too."""
    if every:
        campaigns.refuse_empty(found, campaign)
        return {paths.root.name for paths in found.readable}
    if session in [paths.root.name for paths in found.sessions]:
        return {session}
    is_hidden = session in [each.name for each in found.unreadable]
    also = "; or all=true" if found.sessions and not is_hidden else ""
    raise UsageError(f"{campaigns.none_of(session, found, campaign)}{also}")


def _refuse(others: Mapping[str, str]) -> None:
    """
    Raises:
        UsageError: there are any, by name with their owners: Slurm lets nobody else end their jobs.
    """
    if others:
        whose = ", ".join(f"{name} is {owner}'s" for name, owner in others.items())
        who = " and ".join(sorted(set(others.values())))
        raise UsageError(f"session: {whose}, and left alone: ask {who}, or an administrator of Slurm, to stop it")


def _is_finished(paths: SessionPaths) -> bool:
    left = store.read_if_there(paths.session, Session)
    return left is not None and left.state is SessionState.FINISHED


def _last_word(book: Book) -> str:
    balance = book.ledger.balances().own
    what = f"{balance.spent:.4f} of {balance.limit:g} H100-hours are spent, {balance.reserved:.4f} reserved"
    if _is_finished(SessionPaths(book.paths.root)):
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
        sessions: all of the campaign.
        names: of the sessions among them, and of the calibrations, that are to end.
        calibrations: opens those that there are; asked once no desk is left that could begin another.
        say: told what is waited for.
        unreadable: what may need a calibration too, as far as anybody here knows.
    """

    def __init__(
        self,
        sessions: Sequence[Book],
        names: Collection[str],
        calibrations: Callable[[], Sequence[Book]],
        say: Callable[[str], None],
        unreadable: Sequence[Unreadable] = (),
    ) -> None:
        found = [(book, SessionPaths(book.paths.root)) for book in sessions]
        self._chosen = [(book, paths) for book, paths in found if book.name in names and paths.session.exists()]
        self._others = [(book, paths) for book, paths in found if book.name not in names]
        self._names, self._calibrations, self._say = names, calibrations, say
        self._unreadable = unreadable
        self._cancelled: set[tuple[str, str | None]] = set()
        """Jobs by name, with the number that they had: one that was not queued yet is cancelled again."""

    def perform(self) -> None:
        for book, paths in self._chosen:
            _refuse_of_another_host(book, paths)
        ending = [book for book, _ in self._chosen]
        with ExitStack() as locks:
            for _, paths in self._chosen:
                locks.enter_context(locking.lock(paths.launch_lock))
            self._end(ending, _CHAIN)
            for book, paths in self._chosen:
                self._serve_nobody(book, paths, locks)
            self._end(ending, ("relay", *KINDS))
            for _, paths in self._chosen:
                _write_down(paths)
            self._end_calibrations(locks)

    def _end(self, ending: Sequence[Book], kinds: Collection[Kind]) -> None:
        """Cancel all jobs of these kinds, and return once they are settled.

        Raises:
            SchedulerError: no answer, or they do not end.
        """
        until = time.monotonic() + 60 * max((book.config.cluster.silence_minutes for book in ending), default=0)
        while waiting := self._still_open(ending, kinds):
            for book, entry in waiting:
                self._cancel(book, entry)
            names = ", ".join(entry.job_name for _, entry in waiting)
            if time.monotonic() > until:
                raise SchedulerError(f"cancelled, but not over by squeue and sacct: {names}")
            self._say(f"waiting for the end of {names}")
            time.sleep(min(book.config.cluster.poll_seconds for book, _ in waiting))

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
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            with suppress(UsageError):
                locks.enter_context(locking.lock(lock, busy="held", patience_s=_TRY_S))
                return True
            meanwhile()
        return False

    def _end_calibrations(self, locks: ExitStack) -> None:
        """Those that only the chosen sessions wait for, or all."""
        for book in self._calibrations():
            if book.is_open and self._is_to_end(book):
                sharing = [other.name for other, paths in self._others if _needs(other, paths, book.name)]
                sharing += map(str, self._unreadable)
                if sharing:
                    log.info("%s is left alone: %s needs it too", book.name, ", ".join(sharing))
                else:
                    self._end_calibration(book, CalibrationPaths(book.paths.root), locks)

    def _is_to_end(self, book: Book) -> bool:
        wanted = book.name in self._names or any(book.name in _resting(paths) for _, paths in self._chosen)
        return wanted and folders.is_ours(book.paths.root)

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
    is_elsewhere = book.config.cluster.kind == "local" and desk is not None and not desk.is_of_this_host
    if desk and is_elsewhere and (book.is_open or _is_served(paths)):
        raise UsageError(f"session {book.name} runs on {desk.host}: stop it there")


def _where(desk: ProcessIdentity | None) -> str:
    return f" (process {desk.pid} on {desk.host})" if desk else ""


def _resting(paths: SessionPaths) -> tuple[str, ...]:
    resting = store.read_if_there(paths.rests_on, RestsOn)
    return resting.calibrations if resting else ()


def _needs(other: Book, paths: SessionPaths, name: str) -> bool:
    """Whether a session that goes on rests on this calibration, or may be waiting for it."""
    waits = other.config.retime.design == "classic" and not paths.calibration.exists()
    return (waits or name in _resting(paths)) and (other.is_open or _is_served(paths))


def _is_served(paths: SessionPaths) -> bool:
    """Whether a desk serves it; nobody else's lock can be tried, so that a colleague's counts until it is finished."""
    if not folders.is_ours(paths.root):
        return not _is_finished(paths)
    try:
        with locking.lock(paths.lock, busy="served"):
            return False
    except UsageError:
        return True


def _write_down(paths: SessionPaths) -> None:
    left = store.read(paths.session, Session)
    if left.state is not SessionState.FINISHED:
        changes = {"problem": BY_HAND, "problem_exit_code": InfrastructureError.exit_code}
        store.write(paths.session, left.model_copy(update={"state": SessionState.INTERRUPTED, **changes}))
