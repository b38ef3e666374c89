"""`command=report`: sessions side by side, of one or several campaigns: a page, figures and tables."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from slurm_bench.effects import folders, human_records, store
from slurm_bench.effects.campaigns import members, none_of, refuse_empty
from slurm_bench.pure import contamination, node_correlation, rules, score, summary, tables, usage, yardstick
from slurm_bench.pure.progress import Board
from slurm_bench.pure.summary import Contest, SessionSummary
from slurm_bench.pure.tables import Table
from slurm_bench.pure.yardstick import Yardstick
from slurm_bench.steps import page, report_tables, summaries, yardsticks
from slurm_bench.steps.page import PlacedFigure, Section, interval
from slurm_bench.steps.yardsticks import Humans
from slurm_bench.words.campaigns import Unreadable, describe
from slurm_bench.words.config import Config, ReportCommand
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import CampaignPaths, ReportPaths
from slurm_bench.words.verdicts import Verdict

log = logging.getLogger(__name__)

_ON_A_TERMINAL = (
    "#",
    "agent",
    "seeds",
    "score, seconds saved",
    "accepted, not confirmed",
    "overlaps with",
    "H100-hours",
)

_PUBLISHED = ("2025-09-03_FA3", "2026-01-19_BigramHashEmbedding")
"""Start and end of the human progress that published percentages are of."""


@dataclass(frozen=True)
class Choices:
    """What of a report is a matter of taste."""

    rule_set: str = next(iter(yardstick.RULE_SETS))
    """Which human records the figures show, and take for 100 %."""
    published: bool = False
    """Whether results that others published are drawn beside."""


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: there are no such sessions, or nowhere to write to.
    """
    command = config.command
    assert isinstance(command, ReportCommand)
    campaigns = [CampaignPaths(Path(config.runs).absolute() / name) for name in command.campaigns or [config.campaign]]
    if len(campaigns) > 1 and command.out is None:
        raise UsageError("command.out: a report of several campaigns needs a folder of its own")
    humans = yardsticks.known(campaigns, until=command.until)
    sessions = [session for campaign in campaigns for session in _sessions_of(campaign, command.sessions, humans)]
    _refuse_copies(sessions)
    where = ReportPaths(Path(command.out).absolute()) if command.out else campaigns[0].report
    _refuse_closed(where)
    hidden = [each for campaign in campaigns for each in members(campaign).unreadable]
    found = write(sessions, where, Choices(command.rule_set, command.published), hidden)
    console = Console()
    for section in found:
        console.print(leaderboard_grid(section))
    _say_hidden(console, hidden)
    _say_where(console, where)


def _refuse_closed(where: ReportPaths) -> None:
    """
    Raises:
        UsageError: this user may not write there.
    """
    for folder in (where.root, where.files):
        if not folders.may_write(folder):
            raise UsageError(
                f"you may not write in {folder}; command.out=FOLDER writes the report into one of your own"
            )


def _sessions_of(campaign: CampaignPaths, names: Sequence[str], humans: Humans) -> list[SessionSummary]:
    there = members(campaign)
    refuse_empty(there, campaign)
    sessions = summaries.of_campaign(campaign, humans)
    if not sessions:
        raise UsageError(f"no sessions in {campaign.root}; name another with campaign=")
    unknown = sorted(set(names) - set(there.begun))
    if unknown:
        raise UsageError(f"command.sessions: {none_of(unknown[0], there, campaign)}")
    return [session for session in sessions if not names or session.session.name in names]


def _refuse_copies(sessions: Sequence[SessionSummary]) -> None:
    """A copied session would count as another seed."""
    known: dict[str, str] = {}
    for each in sessions:
        if each.session.id in known:
            raise UsageError(f"{each.label} is a copy of {known[each.session.id]}: leave one of them out")
        known[each.session.id] = each.label


def write(
    sessions: Sequence[SessionSummary],
    where: ReportPaths,
    choices: Choices = Choices(),
    unreadable: Sequence[Unreadable] = (),
) -> list[Section]:
    """Write the page, its figures and tables as files, and all of its data as JSON; return what can be compared.

    Args:
        unreadable: what else is in the campaigns.
    """
    sections = []
    for stem, compared in _stems(sessions).items():
        section = _section(compared, choices, where, stem)
        sections.append(section)
        for table in (section.leaderboard, section.yardstick, section.human_steps):
            _write_table(where, f"{stem}-{table.name}", table)
    for table in (tables.sessions(sessions), tables.submissions(sessions), tables.budget(sessions)):
        _write_table(where, table.name, table)
    title = ", ".join(dict.fromkeys(session.session.campaign for session in sessions))
    store.write_text(where.page, page.render(title, sections, sessions, describe(unreadable)))
    store.write_text(where.data, _data(sections, sessions, unreadable))
    return sections


def _section(compared: Sequence[SessionSummary], choices: Choices, where: ReportPaths, stem: str) -> Section:
    board, measures = _board(compared, choices), compared[0].yardsticks
    later, models = measures[0].steps if measures else (), [(each.agent, each.model) for each in compared]
    return Section(
        heading=_heading(compared[0].contest),
        leaderboard=tables.leaderboard(summary.standings(compared)),
        yardstick=tables.yardstick(measures),
        human_steps=tables.human_steps(board.yardstick),
        contamination=contamination.lines(compared[0].start, later, models, human_records.cutoffs()),
        figures=_figures(board, where, stem),
        losses_within_nodes=_losses_within_nodes(compared),
    )


def _stems(sessions: Iterable[SessionSummary]) -> dict[str, list[SessionSummary]]:
    """Sessions that can be compared, by what their files' names begin with."""
    by_contest: dict[Contest, list[SessionSummary]] = {}
    for session in sessions:
        by_contest.setdefault(session.contest, []).append(session)
    found: dict[str, list[SessionSummary]] = {}
    for contest, compared in by_contest.items():
        same = sum(known.record == contest.record for known in list(by_contest)[: len(found)])
        found[f"{contest.record}-{same + 1}" if same else contest.record] = compared
    return found


def _heading(contest: Contest) -> str:
    humans = f", beside humans until {contest.until}" if contest.until else ""
    gpus = f"{contest.gpus} {contest.gpu_type} a trial"
    return f"From {contest.record} to a loss of {contest.target_loss:g}, {gpus}{humans}"


def _losses_within_nodes(compared: Sequence[SessionSummary]) -> str:
    runs = list(summary.losses_by_node(compared))
    if not runs:
        return ""
    found = node_correlation.estimate(runs)
    losing = summary.losing_by_nodes(compared, found.correlation) if found else []
    widened = f" A test that allows for that would not confirm the score of {', '.join(losing)}." if losing else ""
    return node_correlation.describe(found, len({node for _, node, _ in runs})) + widened


def _board(compared: Sequence[SessionSummary], choices: Choices) -> Board:
    contest, measure = compared[0].contest, _measure(compared[0].yardsticks, choices.rule_set)
    lines = [line for each in compared if each.budget for line in each.budget.lines]
    return Board(
        name=contest.record,
        target_loss=contest.target_loss,
        gpu_type=contest.gpu_type,
        curves=tuple(each.curve() for each in compared),
        yardstick=measure,
        published=tuple(human_records.published()) if choices.published and _is_published(measure) else (),
        budget=usage.summed(lines),
    )


def _is_published(measure: Yardstick | None) -> bool:
    """Whether published percentages are of this human progress."""
    return measure is not None and (measure.start.name, measure.whole.name) == _PUBLISHED


def _measure(measures: Sequence[Yardstick], rule_set: str) -> Yardstick | None:
    return next((each for each in measures if each.rule_set == rule_set), None)


def _figures(board: Board, where: ReportPaths, stem: str) -> list[PlacedFigure]:
    # Its matplotlib takes a third of a second, which every `command=run` would spend.
    from slurm_bench.steps import figures  # noqa: PLC0415

    captions = {
        "progress": figures.description(board) + figures.about_humans(board),
        "trajectory": f"{'Human records by date, and ' if board.human else ''}agents by the hours of their sessions: "
        f"hollow what is accepted, not confirmed, filled the score.{figures.about_humans(board)}",
        "budget": "GPU time by kind of job and day (UTC); hatched: held with no training running.",
    }
    placed = []
    for name, caption in captions.items():
        figure = getattr(figures, name)(board)
        for ending, content in figures.files(figure).items():
            store.write_bytes(where.file(f"{stem}-{name}.{ending}"), content)
        title = name.capitalize()
        placed.append(PlacedFigure(title, figures.inline(figure, title, caption), caption))
    return placed


def _write_table(where: ReportPaths, name: str, table: Table) -> None:
    for ending, form in report_tables.FORMATS.items():
        store.write_text(where.file(f"{name}.{ending}"), form(table))


def _data(sections: Sequence[Section], sessions: Sequence[SessionSummary], unreadable: Sequence[Unreadable]) -> str:
    content: dict[str, Any] = {
        "leaderboards": {section.heading: [dict(row) for row in section.leaderboard.rows] for section in sections},
        "yardsticks": {section.heading: [dict(row) for row in section.yardstick.rows] for section in sections},
        "contamination": {section.heading: list(section.contamination) for section in sections},
        "losses_within_nodes": {section.heading: section.losses_within_nodes for section in sections},
        "sessions": list(sessions),
        "unreadable": list(unreadable),
    }
    by_heading = dict[str, list[dict[str, tables.Value]] | list[str] | str]
    found = TypeAdapter(dict[str, by_heading | list[SessionSummary] | list[Unreadable]])
    return found.dump_json(content, indent=1).decode() + "\n"


def of_campaign(campaign: CampaignPaths) -> list[SessionSummary]:
    """Write a campaign's report where this user may, and return what it says session by session."""
    sessions = summaries.of_campaign(campaign)
    try:
        _refuse_closed(campaign.report)
        write(sessions, campaign.report, unreadable=members(campaign).unreadable)
    except UsageError as error:
        log.warning("no report is written: %s", error)
    return sessions


def show(campaign: CampaignPaths, sessions: Iterable[SessionSummary]) -> None:
    """Print the verdicts and scores of sessions, and where the campaign's report lies."""
    console = Console()
    for each in sessions:
        console.print(verdict_grid(each))
        _say_reasons(console, each)
        _say_score(console, each)
        if each.budget:
            used = each.budget.limit - each.budget.left
            console.print(
                f"{used:.4f} of {each.budget.limit:g} H100-hours spent or reserved "
                f"({each.budget.gpu_seconds} GPU-seconds by {each.budget.accounting}; "
                f"{', '.join(each.budget.counts)} count)"
            )
    _say_hidden(console, members(campaign).unreadable)
    _say_where(console, campaign.report)


def _say_hidden(console: Console, unreadable: Sequence[Unreadable]) -> None:
    if unreadable:
        console.print(describe(unreadable), soft_wrap=True, markup=False, highlight=False)


def _say_where(console: Console, where: ReportPaths) -> None:
    console.print(f"Report: {where.page}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"Figures and tables: {where.files}", soft_wrap=True, markup=False, highlight=False)


def _say_reasons(console: Console, session: SessionSummary) -> None:
    for each in (*session.submissions, *session.confirmations):
        console.print(f"{each.name}: {_about(each.verdict)}{each.verdict.reason}", markup=False, highlight=False)


def _about(verdict: Verdict) -> str:
    repeats = f"as submission {verdict.repeats}, whose bytes it has: " if verdict.repeats else ""
    return f"confirmation of {verdict.confirms}: " if verdict.confirms else repeats


def _say_score(console: Console, session: SessionSummary) -> None:
    """Print the score in a line, with the percent of human progress that it is."""
    shares = () if session.score.why else map(yardstick.describe, session.human_progress)
    console.print("; ".join([score.describe(session.score), *shares]), markup=False, highlight=False)


def leaderboard_grid(section: Section) -> Grid:
    """The leaderboard for a terminal: what fits beside each other there."""
    grid = Grid(title=escape(section.heading), title_justify="left")
    shown = [column for column in section.leaderboard.columns if column.heading in _ON_A_TERMINAL]
    for column in shown:
        grid.add_column(column.heading, justify="right" if column.sort_by else "left")
    for row in section.leaderboard.rows:
        grid.add_row(*(escape(column.text(row)) for column in shown))
    return grid


def verdict_grid(session: SessionSummary) -> Grid:
    """A session's verdicts for a terminal."""
    grid = Grid(title=f"{session.session.name} ({session.session.state})", title_justify="left")
    for heading in ("candidate", "verdict", "mean loss", f"seconds saved, {100 * rules.CONFIDENCE:.0f} % interval"):
        grid.add_column(heading)
    for each in (*session.submissions, *session.confirmations):
        verdict = each.verdict
        loss = f"{verdict.loss.mean:.4f}" if verdict.loss else ""
        saved = interval(verdict.speed) if verdict.speed else ""
        grid.add_row(escape(each.name), tables.verdict_text(each), loss, saved)
    return grid
