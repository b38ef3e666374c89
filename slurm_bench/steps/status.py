"""`command=status`: what the sessions of a campaign are at, from their records and one question that all desks share.

Nothing is written but that this campaign's jobs are asked for (`polling`): a view costs the scheduler no more than one
more desk, however often it is drawn.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live

from slurm_bench.effects import campaigns, processes, store
from slurm_bench.effects.cluster import Queued
from slurm_bench.effects.processes import ProcessIdentity
from slurm_bench.pure import blocks
from slurm_bench.pure.plain import one_line
from slurm_bench.pure.status import campaign_view
from slurm_bench.pure.status_facts import (
    ArrayRecords,
    CalibrationRecords,
    CampaignRecords,
    CampaignView,
    Desk,
    SessionRecords,
    SubmissionRecords,
)
from slurm_bench.steps import books, retime, site, status_formats
from slurm_bench.steps.books import Book
from slurm_bench.words.accounting import Observation
from slurm_bench.words.config import Config, StatusCommand
from slurm_bench.words.errors import BenchError, SchedulerError, UsageError
from slurm_bench.words.paths import (
    CalibrationPaths,
    CampaignPaths,
    RetimingPaths,
    SessionPaths,
    SubmissionPaths,
    TimingPaths,
)
from slurm_bench.words.records import Session, Submission, Working
from slurm_bench.words.trials import EarlyStop, TrialPlan
from slurm_bench.words.verdicts import Verdict

_REFRESH_S = 1.0
_TAIL_BYTES = 16 * 2**10
"""Of a trace that may have gigabytes."""
_TAIL_LINES = 12


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: the campaign has no sessions, or there is no terminal to draw on.
    """
    assert isinstance(config.command, StatusCommand)
    console = Console()
    form = config.command.format or ("live" if console.is_terminal else "plain")
    if form == "live" and not console.is_terminal:
        raise UsageError("command.format=live needs a terminal; plain and json do not")
    records = Records(CampaignPaths(Path(config.runs) / config.campaign), config.session)
    if form == "live":
        _watch(console, records)
    else:
        print({"plain": status_formats.plain, "json": status_formats.as_json}[form](records.view()))


def _watch(console: Console, records: "Records") -> None:
    """Draw it again and again, until Ctrl-C or until nothing goes on."""
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for view in _views(records):
            live.update(status_formats.drawn(view, console), refresh=True)


def _views(records: "Records") -> Iterator[CampaignView]:
    """What the records say, up to the view in which all is over."""
    view, took_s = records.view(), 0.0
    while not view.is_over:
        yield view
        # Where reading takes long it must not be all that the file system does.
        time.sleep(max(_REFRESH_S, took_s))
        began = time.monotonic()
        view = _next(view, records)
        took_s = time.monotonic() - began
    yield view


def _next(view: CampaignView, records: "Records") -> CampaignView:
    """What the records say now; or, where one cannot be read in this moment, what they said before."""
    try:
        return records.view()
    except BenchError as error:
        return replace(view, silence=str(error))


class Records:
    """Reads a campaign again and again; what cannot change any more it reads once.

    Args:
        session: name of the only one to read; empty: all.
        open_all: opens ledgers, with the clusters that their configurations name.

    Raises:
        UsageError: there are no sessions, and no calibrations, that this user may read; or none of this name.
    """

    def __init__(
        self,
        campaign: CampaignPaths,
        session: str,
        open_all: Callable[[Sequence[TimingPaths]], list[Book]] = books.open_all,
    ) -> None:
        self._campaign, self._session, self._open_all = campaign, session, open_all
        self._opened: list[Book] = []
        self._decided: dict[Path, SubmissionRecords] = {}
        found = campaigns.members(campaign)
        campaigns.refuse_empty(found, campaign)
        if session and session not in [paths.root.name for paths in found.sessions]:
            raise campaigns.none_of(session, found, campaign)

    def view(self) -> CampaignView:
        there = campaigns.members(self._campaign)
        if list(there.readable) != [book.paths for book in self._opened]:
            self._opened = self._open_all(there.readable)
        sessions = self._sessions()
        calibrations = [(book, book.paths) for book in self._opened if isinstance(book.paths, CalibrationPaths)]
        seen, silence = look([book for book, _ in (*sessions, *calibrations)])
        found = CampaignRecords(
            self._campaign.root.name,
            tuple(self._session_records(book, paths) for book, paths in sessions),
            tuple(_calibration_records(book, paths) for book, paths in calibrations),
            there.unreadable,
        )
        return campaign_view(found, seen, datetime.now(UTC), silence)

    def _sessions(self) -> list[tuple[Book, SessionPaths]]:
        found = [(book, book.paths) for book in self._opened if isinstance(book.paths, SessionPaths)]
        begun = [(book, paths) for book, paths in found if paths.session.exists()]
        return [(book, paths) for book, paths in begun if self._session in ("", book.name)]

    def _session_records(self, book: Book, paths: SessionPaths) -> SessionRecords:
        return SessionRecords(
            session=store.read(paths.session, Session),
            agent=book.config.agent.title,
            hours=book.config.agent.hours,
            terms=site.terms(book.config),
            grace=_grace(book),
            entries=tuple(book.ledger.entries()),
            resting=tuple(book.ledger.calibrations()),
            working=store.read_if_there(paths.working, Working),
            submissions=tuple(self._submission_records(each) for each in paths.timed()),
            desk=_desk(paths),
            trace=tail(paths.transcript.trace),
        )

    def _submission_records(self, where: SubmissionPaths) -> SubmissionRecords:
        known = self._decided.get(where.root) or _submission_records(where)
        if known.verdict is not None:
            self._decided[where.root] = known
        return known


def _submission_records(where: SubmissionPaths) -> SubmissionRecords:
    return SubmissionRecords(
        submission=store.read(where.submission, Submission),
        is_sealed=where.seal.exists(),
        is_judged=where.opinion.exists(),
        array=_newest_array(where),
        is_timed=where.retiming.collected.exists(),
        verdict=store.read_if_there(where.verdict, Verdict),
    )


def look(opened: Collection[Book]) -> tuple[Mapping[str, Observation], str]:
    """What the scheduler says of all open jobs, and why not if it says nothing."""
    seen: dict[str, Observation] = {}
    silence = ""
    for cluster, ours in books.by_cluster(list(opened)).items():
        jobs = [queued for book in ours for queued in _to_be_asked_for(book)]
        try:
            seen |= cluster.look(jobs)
        except SchedulerError as error:
            silence = str(error)
    return seen, silence


def _to_be_asked_for(book: Book) -> list[Queued]:
    """Its open jobs, apart from those that only the host or the job knows in which they run."""
    if isinstance(book.paths, SessionPaths) and book.config.cluster.kind == "local" and _is_elsewhere(book.paths):
        return []
    entries = [entry for entry in book.ledger.entries() if entry.settled_at is None]
    nested = ("retiming", "decoy", "calibration") if book.config.retime.is_nested else ()
    return [Queued(each.job_name, each.reserved_at, each.tasks) for each in entries if each.kind not in nested]


def _is_elsewhere(paths: SessionPaths) -> bool:
    desk = store.read_if_there(paths.desk_process, ProcessIdentity)
    return desk is not None and not desk.is_of_this_host


def _desk(paths: SessionPaths) -> Desk:
    desk = store.read_if_there(paths.desk_process, ProcessIdentity)
    if desk is None or not desk.is_of_this_host:
        return Desk.UNKNOWN
    return Desk.LIVES if processes.is_alive(desk) else Desk.GONE


def _grace(book: Book) -> timedelta:
    return timedelta(seconds=book.config.cluster.absent_grace_seconds)


def _calibration_records(book: Book, paths: CalibrationPaths) -> CalibrationRecords:
    return CalibrationRecords(
        name=book.name,
        entries=tuple(book.ledger.entries()),
        grace=_grace(book),
        array=_newest_array(paths.timing),
        is_timed=any(each.collected.exists() for each in (paths.timing.retiming, paths.timing.decoy_run)),
    )


def _newest_array(where: SubmissionPaths) -> ArrayRecords | None:
    """Of the timed runs, or of the decoy run before them."""
    return _array_records(where.retiming) or _array_records(where.decoy_run)


def _array_records(where: RetimingPaths) -> ArrayRecords | None:
    """Of the array that was planned last: all blocks, or those that are run once more."""
    plan = store.read_if_there(where.plan, TrialPlan)
    if plan is None:
        return None
    again = _array_records(where.rerun)
    if again is not None:
        return again
    left = blocks.Left(retime.trial_of, str(where.jobs))
    finals = [blocks.final(left.record(arm, index)) for arm in plan.arms for index in plan.indices]
    stopped = store.read_if_there(where.stopped, EarlyStop)
    return ArrayRecords(
        job_name=plan.job_name,
        blocks=len(plan.indices),
        arms=len(plan.arms),
        is_decoy=plan.is_decoy,
        runs_over=sum(final is not None for final in finals),
        over=tuple(block for index in plan.indices if (block := blocks.recorded(plan, left, index))),
        stopped=stopped.reason if stopped else "",
    )


def tail(trace: Path) -> tuple[str, ...]:
    """The last lines of a text that an agent wrote, each fit for a terminal."""
    if trace.is_symlink() or not trace.is_file():
        return ()
    with trace.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL_BYTES))
        text = stream.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    whole = text.splitlines()[1:] if size > _TAIL_BYTES and "\n" in text.rstrip("\n") else text.splitlines()
    lines = [one_line(line) for line in whole]
    return tuple(line for line in lines if line)[-_TAIL_LINES:]
