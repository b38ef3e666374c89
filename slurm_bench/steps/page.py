"""The report as one HTML file that needs nothing besides it: figures, tables, and a page for each submission."""

import base64
import difflib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from slurm_bench.pure import rules, score, tables, yardstick
from slurm_bench.pure.dots import dots
from slurm_bench.pure.plain import printable
from slurm_bench.pure.summary import SessionSummary
from slurm_bench.pure.tables import Row, Table
from slurm_bench.words.opinions import Finding
from slurm_bench.words.trials import SpeedTest
from slurm_bench.words.verdicts import Outcome

_TEMPLATES = Path(__file__).with_name("templates")
_BAR = 144.0
"""Width of the drawing of an interval, with room for its point at both ends."""
_BAR_ROOM = 6.0
_DESIGN = {
    "paired": "the incumbent ran beside each of a candidate's runs, on the same node",
    "classic": "the incumbent ran at another time, once for the campaign",
}
_WHERE = {
    "fresh": "trials had allocations of their own",
    "allocation": "trials ran in the session's own job, its agent stopped meanwhile",
}

_CONFIRM = {
    True: "the best candidate is timed afresh for the score",
    False: "nothing is timed afresh, and so has a score",
}

_MODES = (
    'Agents that are marked "by experiments" have no GPUs of their own, and ask for a job for each thing that they '
    "try. The others hold their GPUs all the time. Compare the two by H100-hours as charged, not by hours. The idle "
    "share is only said of sessions whose agent holds GPUs."
)


@dataclass(frozen=True)
class PlacedFigure:
    title: str
    svg: str
    """An element that can stand in a page."""
    caption: str


@dataclass(frozen=True)
class Section:
    """Sessions that can be compared."""

    heading: str
    leaderboard: Table
    yardstick: Table
    """What 100 % of human progress is; without rows where there is no such measure."""
    human_steps: Table
    """The human records that the figures show."""
    contamination: Sequence[str]
    """What is known of what the models may remember, and what is not."""
    figures: Sequence[PlacedFigure]
    losses_within_nodes: str
    """Whether runs that share a node have losses that are alike, and what that does to the scores."""


def render(title: str, sections: Sequence[Section], sessions: Sequence[SessionSummary], unreadable: str) -> str:
    script = (_TEMPLATES / "report.js").read_text()
    submissions = tables.submissions(sessions)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            rules=rules,
            style=Markup((_TEMPLATES / "report.css").read_text()),
            script=Markup(script),
            script_hash=_hash(f"\n{script}\n"),
            unreadable=unreadable,
            sections=sections,
            sessions=sessions,
            sessions_table=tables.sessions(sessions),
            budget_table=tables.budget(sessions),
            submissions_table=submissions,
            terms_in_words=[*dict.fromkeys(map(_terms, sessions)), *_modes(sessions)],
            agents=list(dict.fromkeys(session.contestant for session in sessions)),
            outcomes=list(Outcome),
            bar_place=_bar_scale(submissions.rows),
        )
    )


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
    )
    environment.filters["evidence"] = _evidence
    environment.filters["interval"] = interval
    environment.filters["describe"] = yardstick.describe
    environment.filters["describe_score"] = score.describe
    environment.filters["dots"] = dots
    environment.filters["outcome_text"] = tables.outcome_text
    return environment


def _harmless(value: object) -> object:
    """Text of a candidate or a model must not turn the page's direction of writing, or hide in it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _hash(script: str) -> str:
    """By which the page's policy lets this script run, and none that a candidate's text might smuggle in."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def interval(speed: SpeedTest) -> str:
    """Seconds saved with their interval."""
    return f"{speed.saved_s:.2f} [{speed.saved_low_s:.2f}, {speed.saved_high_s:.2f}]"


def _evidence(finding: Finding) -> list[str]:
    """The lines of a finding's two snippets that differ, with one line around them."""
    pair = finding.baseline.splitlines(), finding.candidate.splitlines()
    return [line for line in difflib.unified_diff(*pair, n=1, lineterm="") if not line.startswith(("---", "+++", "@@"))]


def _terms(session: SessionSummary) -> str:
    return (
        f"Retiming {session.design}: {_DESIGN[session.design]}; {_WHERE[session.where]}; {_CONFIRM[session.confirms]}."
    )


def _modes(sessions: Iterable[SessionSummary]) -> list[str]:
    """How sessions are compared whose agents come by GPUs in different ways, where there are both."""
    return [_MODES] if len({session.by_experiments for session in sessions}) > 1 else []


def _bar_scale(rows: Iterable[Row]) -> Callable[[float], float]:
    """From seconds saved to a place in the drawing of an interval; 0 is always in it."""
    ends = [float(row[name] or 0) for row in rows for name in ("saved_s_low", "saved_s_high")]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = high - low or 1.0
    return lambda seconds: round(_BAR_ROOM + (_BAR - 2 * _BAR_ROOM) * (seconds - low) / span, 1)
