"""A campaign's status for a terminal, as plain lines, as JSON and as a picture."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from slurm_bench.pure import score
from slurm_bench.pure.score import ScoreState
from slurm_bench.pure.status_facts import (
    ArrayView,
    BudgetView,
    CampaignView,
    ExperimentsView,
    RunView,
    SessionView,
    SubmissionView,
)
from slurm_bench.words.campaigns import describe
from slurm_bench.words.trials import TrialOutcome

_BAR = 24
_LAST_RUNS = 2
_TRACE_LINES = 3
_PICTURE_WIDTH = 110
_COLOURS = {
    "running": "green",
    "finished": "bold green",
    "queued": "yellow",
    "paused": "yellow",
    "interrupted": "red",
    "lost": "bold red",
}


@dataclass(frozen=True)
class _Share:
    """Of a whole what is used, and what beyond that is held."""

    used: float
    held: float = 0.0


@dataclass(frozen=True)
class _Fact:
    """A line of a session's status: what it is about, how much of it, and in words."""

    about: str
    words: str
    share: _Share | None = None
    is_trouble: bool = False


def as_json(view: CampaignView) -> str:
    return TypeAdapter(CampaignView).dump_json(view, indent=1).decode()


def plain(view: CampaignView) -> str:
    """A line for each fact, under its session's name."""
    return "\n".join(_plain_lines(view))


def _plain_lines(view: CampaignView) -> Iterator[str]:
    yield _title(view)
    if view.silence:
        yield _silence(view)
    if view.unreadable:
        yield describe(view.unreadable)
    for session in view.sessions:
        yield f"{session.name}: {_heading(session)}"
        for fact in _facts(session, view.seen_at):
            yield f"{session.name}: {fact.about}: {fact.words}"
        for line in session.trace[-_TRACE_LINES:]:
            yield f"{session.name}: says: {line}"
    for calibration in view.calibrations:
        yield f"{calibration.name}: calibration: {_array(calibration.array)}"


def picture(view: CampaignView) -> str:
    """The live view as an SVG: without the fonts that it would fetch."""
    console = Console(record=True, width=_PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(_panels(view))
    made = console.export_svg(title="python -m slurm_bench command=status")
    return re.sub(r"@font-face \{.*?\}\s*", "", made, flags=re.DOTALL)


def drawn(view: CampaignView, console: Console) -> RenderableType:
    """A panel for each session; where they do not fit the terminal, a row for each, what goes on above."""
    panels = _panels(view)
    fits = len(console.render_lines(panels, pad=False)) < console.height
    return panels if fits else _table(view)


def _panels(view: CampaignView) -> Group:
    return Group(*_above(view), *(_panel(session, view.seen_at) for session in view.sessions), *_below(view))


def _above(view: CampaignView) -> Iterator[RenderableType]:
    yield Text(_title(view), style="bold")
    if view.silence:
        yield Text(_silence(view), style="red")
    if view.unreadable:
        yield Text(describe(view.unreadable), style="red")


def _below(view: CampaignView) -> Iterator[RenderableType]:
    for calibration in view.calibrations:
        words = f" {calibration.name}: {_array(calibration.array)}"
        yield Text.assemble("calibration ", _bar(_Share(calibration.array.share)), words)


def _panel(session: SessionView, now: datetime) -> Panel:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for fact in _facts(session, now):
        words = Text(fact.words, style="red" if fact.is_trouble else "")
        grid.add_row(fact.about, Text.assemble(_bar(fact.share), " ", words) if fact.share else words)
    for number, line in enumerate(session.trace[-_TRACE_LINES:]):
        grid.add_row("" if number else "says", Text(line, style="dim italic", no_wrap=True, overflow="ellipsis"))
    title = Text.assemble((session.name, "bold"), " ", (_heading(session), _COLOURS.get(session.state, "")))
    return Panel(grid, title=title, title_align="left")


def _table(view: CampaignView) -> Group:
    table = Table(caption="session=NAME shows one in full", expand=True)
    for heading in ("session", "is", "left", "submission", "array", "verdicts", "seconds saved", "H100-hours"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for session in sorted(view.sessions, key=lambda session: session.is_over):
        state = Text(session.state, style=_COLOURS.get(session.state, ""))
        at = session.submission
        array = at.array if at else None
        table.add_row(
            Text(session.name),
            state,
            _hours(session.left_h),
            Text(f"{at.confirms or at.number} {'afresh, ' if at.confirms else ''}{at.at}" if at else ""),
            f"{array.blocks_over}/{array.blocks}" if array else "",
            _verdicts(session, brief=True),
            _saved(session),
            f"{session.budget.spent:.2f} of {session.budget.limit:g}" if session.budget.limit else "",
        )
    return Group(*_above(view), table, *_below(view))


def _bar(share: _Share | None) -> Text:
    """Blocks of three shades, which are told apart without colour too."""
    if share is None:
        return Text()
    used = round(_BAR * min(1.0, max(0.0, share.used)))
    both = max(used, round(_BAR * min(1.0, max(0.0, share.used + share.held))))
    return Text.assemble(("█" * used, "green"), ("▒" * (both - used), "yellow"), ("░" * (_BAR - both), "dim"))


def _title(view: CampaignView) -> str:
    sessions = f"{len(view.sessions)} session{'s' if len(view.sessions) != 1 else ''}"
    hidden = f" and {len(view.unreadable)} not readable" if view.unreadable else ""
    return f"campaign {view.name}, {sessions}{hidden}, {_budget(view.budget)} ({view.seen_at:%Y-%m-%d %H:%M:%S} UTC)"


def _silence(view: CampaignView) -> str:
    return f"no answer, so this is what the records say: {view.silence}"


def _heading(session: SessionView) -> str:
    return f"{session.state}{', being confirmed' if session.is_being_confirmed else ''}, {session.agent}"


def _facts(session: SessionView, now: datetime) -> Iterator[_Fact]:
    if session.problem and session.state != "running":
        yield _Fact("problem", session.problem, is_trouble=True)
    if session.state == "lost":
        yield _Fact("problem", "its desk is gone without a word; the same run command goes on", is_trouble=True)
    yield _Fact("time", _time(session, now), _Share(session.worked_h / (session.worked_h + session.left_h)))
    yield _Fact("budget", _budget(session.budget), _budget_share(session.budget))
    if session.jobs:
        yield _Fact("jobs", _jobs(session), is_trouble=any(job.stuck for job in session.jobs))
    if session.experiments:
        yield _Fact("experiments", _experiments(session.experiments), is_trouble=bool(session.experiments.stuck))
    if session.submission:
        yield from _submission_facts(session.submission)
    yield _Fact("verdicts", _verdicts(session))
    if session.score.state is not ScoreState.RUNNING:
        yield _Fact("score", score.describe(session.score).removeprefix("score: "))


def _time(session: SessionView, now: datetime) -> str:
    did = f", last did something {_ago(now, session.progressed_at)}" if session.progressed_at else ""
    return f"{_hours(session.worked_h)} worked, {_hours(session.left_h)} left{did}"


def _ago(now: datetime, then: datetime) -> str:
    return f"{_hours(max(timedelta(0), now - then) / timedelta(hours=1))} ago"


def _hours(hours: float) -> str:
    minutes, seconds = divmod(round(3600 * hours), 60)
    if minutes < 10:
        return f"{minutes} min {seconds:02} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _budget(budget: BudgetView) -> str:
    limit = f" of {budget.limit:g}" if budget.limit is not None else ""
    return f"{budget.spent:.4f} spent and {budget.reserved:.4f} reserved{limit} H100-hours"


def _budget_share(budget: BudgetView) -> _Share | None:
    return _Share(budget.spent / budget.limit, budget.reserved / budget.limit) if budget.limit else None


def _jobs(session: SessionView) -> str:
    """Those that are not over, or else the last link."""
    still_open = [job for job in session.jobs if job.state != "over"]
    links = [job for job in session.jobs if job.kind == "session"]
    shown = still_open or links[-1:]
    return ", ".join(f"{job.name} {job.state}{f' (stuck: {job.stuck})' if job.stuck else ''}" for job in shown)


def _experiments(found: ExperimentsView) -> str:
    counts = ((found.waiting, "waiting"), (found.running, "running"), (found.over, "over"))
    stuck = [f"stuck: {found.stuck}"] if found.stuck else []
    return ", ".join([*(f"{count} {what}" for count, what in counts if count), *stuck])


def _submission_facts(submission: SubmissionView) -> Iterator[_Fact]:
    array = submission.array
    words = f"{submission.name}: {submission.at}"
    if array is None:
        yield _Fact(submission.number, words)
        return
    yield _Fact(submission.number, f"{words}; {_array(array)}", _Share(array.share), is_trouble=bool(array.stuck))
    if array.last:
        yield _Fact("runs", "; ".join(map(_run, array.last[-_LAST_RUNS:])))


def _array(array: ArrayView) -> str:
    tasks = [f"{count} {what}" for count, what in ((array.running, "running"), (array.pending, "pending")) if count]
    stuck = [f"stuck: {array.stuck}"] if array.stuck else []
    stopped = [f"stopped: {array.stopped}"] if array.stopped else []
    return ", ".join([f"{array.blocks_over} of {array.blocks} blocks", *tasks, *stuck, *stopped])


def _run(run: RunView) -> str:
    if run.loss is None or run.time_s is None:
        return f"{run.index} {run.outcome}"
    beside = f" beside {run.incumbent_time_s:.2f} s" if run.incumbent_time_s is not None else ""
    odd = "" if run.outcome == TrialOutcome.CLEAN else f" ({run.outcome})"
    return f"{run.index} loss {run.loss:.4f} in {run.time_s:.2f} s{beside}{odd}"


def _saved(session: SessionView) -> str:
    """Say the score, or else the best that is accepted."""
    if session.score.saved:
        return f"score {session.score.saved.saved_s:.2f}"
    return f"{session.best.saved_s:.2f} accepted" if session.best else ""


def _verdicts(session: SessionView, brief: bool = False) -> str:
    counts = [f"{count} {outcome}" for outcome, count in session.verdicts.items()]
    best = session.best
    saved = ""
    if best and not brief:
        saved = f"; best {best.candidate}: {best.saved_s:.2f} [{best.saved_low_s:.2f}, {best.saved_high_s:.2f}] s saved"
    return f"{', '.join(counts) or 'none yet'}{saved}"
