import random
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slurm_bench.effects import human_records
from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.progress import Board, Curve, Published, Step, bands, best_so_far
from slurm_bench.pure.score import NOTHING_SAVED, Saved, Score, ScoreState
from slurm_bench.pure.usage import Line
from slurm_bench.pure.yardstick import HumanStep, Source, Yardstick, yardsticks
from slurm_bench.steps import figures
from slurm_bench.steps.figures.ink import COLOURS, INK, PAPER, SMALL, looks
from slurm_bench.words.kinds import KINDS, Kind

START = "2025-09-03_FA3"
HUMAN = yardsticks(human_records.load(), START, "2026-01-19_BigramHashEmbedding")[0]
PUBLISHED = (Published("Codex", 8.6, 512, "elsewhere"),)
EMPTY = Board(START, 3.28, "h100", ())


def measure(*steps: HumanStep) -> Yardstick:
    """Of which the last is 100 %."""
    return Yardstick("all records", HumanRecord(START, date(2025, 9, 3), 0.0, 163.9), steps, steps[-1])


def step(saved_s: float, at: float, half_s: float = 0.2) -> Step:
    return Step("001", "candidate", at, at / 8, saved_s, saved_s - half_s, saved_s + half_s)


UNCONFIRMED, RUNNING = (Score(state, None) for state in (ScoreState.NOT_CONFIRMED, ScoreState.RUNNING))


def score(saved_s: float, half_s: float = 0.1) -> Score:
    return Score(ScoreState.SCORED, Saved(saved_s, saved_s - half_s, saved_s + half_s))


def curve(agent: str, session: str, *steps: Step, used: float = 512, score: Score = UNCONFIRMED) -> Curve:
    return Curve(agent, session, best_so_far(steps), used, used / 8, score)


def generated(agents: int, seeds: int, submissions: int = 6, best_s: float = 4.0, seed: int = 1) -> Board:
    """As campaigns go: agents whose seeds come about as far as each other; the score is a bit below the best."""
    draw = random.Random(seed)
    curves = []
    for agent in range(agents):
        for number in range(seeds):
            times = sorted(draw.uniform(10, 505) for _ in range(submissions))
            reach = best_s * draw.uniform(0.7, 1.3)
            steps = [step(reach * (at / 512) ** 0.5, at, draw.uniform(0.1, 0.4)) for at in times]
            worth = score(0.95 * steps[-1].saved_s)
            curves.append(curve(f"agent {agent}", f"session-{agent}-{number}", *steps, score=worth))
    return replace(EMPTY, curves=tuple(curves), yardstick=HUMAN, budget=tuple(days(6)))


def days(count: int) -> list[Line]:
    first = date(2026, 9, 20)
    held: tuple[tuple[Kind, int | None], ...] = (("session", 1800), ("retiming", None))
    return [
        Line(kind, (first + timedelta(days=day)).isoformat(), 1, 7200, 2.0, idle)
        for day in range(count)
        for kind, idle in held
    ]


def lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if str(line.get_label()).startswith(label)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for drawn in figure.legends for text in drawn.get_texts()]


def points(line: Line2D) -> list[tuple[float, float]]:
    """Without the noise of arithmetic."""
    found: Any = line.get_xydata()
    return [(round(float(x), 6), round(float(y), 6)) for x, y in found]


def marks(axes: Axes, label: str) -> list[tuple[float, float]]:
    return [point for line in axes.lines if line.get_label() == label for point in points(line)]


def drawn(figure: Figure) -> None:
    """So that texts know their size."""
    FigureCanvasAgg(figure).draw()


# Progress.


def test_a_step_line_a_session_and_a_mean_with_its_range_an_agent() -> None:
    board = generated(agents=3, seeds=3)
    figure = figures.progress(replace(board, curves=(*board.curves, curve("alone", "one", step(2, 100)))))
    lower = figure.axes[-1] if len(figure.axes) == 1 else figure.axes[1]
    assert len(lines(lower, "best of")) == 10
    assert len(lines(lower, "mean of")) == 3
    assert len([area for area in lower.collections if str(area.get_label()).startswith("range of")]) == 3
    assert all(line.get_drawstyle() == "steps-post" for line in lines(lower, "best of"))


def test_a_line_is_in_percent_from_nothing_to_where_its_session_ends() -> None:
    board = replace(EMPTY, yardstick=measure(HumanStep("2025-09-10_Yarn", date(2025, 9, 10), 50.0)))
    board = replace(board, curves=(curve("a", "one", step(2, 100), step(3, 200), used=300),))
    (line,) = (line for axes in figures.progress(board).axes for line in lines(axes, "best of one"))
    assert points(line) == [(0, 0), (100, 4), (200, 6), (300, 6)]


def test_what_is_accepted_is_hollow_and_the_score_is_filled_with_its_interval() -> None:
    one = curve("a", "one", step(1, 50), step(3, 200), used=300, score=score(2.5))
    figure = figures.progress(replace(EMPTY, curves=(one,)))
    (axes,) = figure.axes
    assert marks(axes, "accepted") == [(50, 1), (200, 3)]
    assert marks(axes, "score") == [(306, 2.5)], "beside its line's end"
    (hollow,), (filled,), (interval,) = (
        lines(axes, "accepted"),
        lines(axes, "score"),
        lines(axes, "interval of a score"),
    )
    assert hollow.get_markerfacecolor() == PAPER
    assert filled.get_markerfacecolor() == filled.get_color() != PAPER
    assert points(interval) == [(306, 2.4), (306, 2.6)]
    assert legend(figure) == ["score, confirmed afresh (95 % interval)", "accepted, not confirmed"]


@pytest.mark.parametrize("worth", [UNCONFIRMED, RUNNING])
def test_a_session_without_a_score_has_no_filled_mark(worth: Score) -> None:
    figure = figures.progress(replace(EMPTY, curves=(curve("a", "one", step(1, 50), score=worth),)))
    assert marks(figure.axes[0], "score") == []
    assert legend(figure) == ["accepted, not confirmed"]


def test_a_score_of_nothing_is_drawn_at_zero() -> None:
    nothing = Score(ScoreState.SCORED, NOTHING_SAVED, why="nothing was accepted")
    figure = figures.progress(replace(EMPTY, curves=(curve("a", "one", score=nothing),)))
    ((_, at),) = marks(figure.axes[0], "score")
    assert at == 0


def test_a_session_that_runs_is_in_no_mean() -> None:
    over = [curve("a", name, step(saved_s, 100), score=score(saved_s)) for name, saved_s in (("one", 2), ("two", 4))]
    (band,) = bands([*over, curve("a", "three", step(1, 100), score=RUNNING)])
    assert (band.seeds, band.mean_s[-1], band.low_s[-1], band.high_s[-1]) == (2, 3, 2, 4)
    assert bands([over[0], curve("a", "three", score=RUNNING)]) == ()


@pytest.mark.parametrize("agents", [3, 9, 40])
def test_scores_of_several_agents_stand_beside_each_other(agents: int) -> None:
    """Also where all of their sessions used up the same budget."""
    board = generated(agents, 2)
    figure = figures.progress(board)
    (lower,) = (axes for axes in figure.axes if lines(axes, "score"))
    places = sorted({x for x, _ in marks(lower, "score")})
    assert len(places) == agents and places[0] > 512
    names = [text.get_position()[0] for text in lower.texts]
    assert places[-1] < min(names), "left of the names"


@pytest.mark.parametrize("board", [generated(3, 3), generated(2, 1)])
def test_the_legend_fits(board: Board) -> None:
    figure = figures.progress(replace(board, published=PUBLISHED))
    drawn(figure)
    (placed,) = figure.legends
    assert placed.get_window_extent().x1 <= figure.bbox.x1


def test_each_step_has_its_interval() -> None:
    (axes,) = figures.progress(replace(EMPTY, curves=(curve("a", "one", step(1, 50, 0.3), step(2, 80, 0.1)),))).axes
    bars: Any
    (bars,) = (each for each in axes.collections if str(each.get_label()).startswith("intervals of"))
    ends = [[tuple(map(float, end)) for end in segment] for segment in bars.get_segments()]
    assert ends == [[(50, 0.7), (50, 1.3)], [(80, 1.9), (80, 2.1)]]


@pytest.mark.parametrize(("best_s", "broken"), [(4.0, True), (20.0, True), (30.0, False), (60.0, False)])
def test_the_axis_is_broken_only_where_agents_are_far_below_the_humans(best_s: float, broken: bool) -> None:
    board = replace(EMPTY, yardstick=HUMAN, curves=(curve("a", "one", step(best_s, 100)),))
    figure = figures.progress(board)
    assert len(figure.axes) == (2 if broken else 1)
    assert bool(lines(figure.axes[0], "_break")) == broken
    assert figure.axes[0].get_ylim()[1] >= 100


def test_the_axis_shows_every_interval() -> None:
    board = replace(EMPTY, yardstick=HUMAN, curves=(curve("a", "one", step(0.1, 100, 0.5), step(4, 200, 0.9)),))
    bottom, top = figures.progress(board).axes[1].get_ylim()
    assert bottom < 100 * -0.4 / 63.2192
    assert 100 * 4.9 / 63.2192 < top < 1.5 * 100 * 4.9 / 63.2192


def test_sessions_without_an_accepted_submission_are_flat_above_the_edge() -> None:
    board = replace(EMPTY, yardstick=HUMAN, curves=(curve("a", "one"), curve("b", "two")))
    (axes,) = figures.progress(board).axes
    assert [points(line) for line in lines(axes, "best of")] == [[(0, 0), (512, 0)]] * 2
    assert axes.get_ylim()[0] < 0


def test_every_agent_is_named_and_the_best_human_record_too() -> None:
    board = generated(agents=3, seeds=3)
    shown = texts(figures.progress(board))
    assert {"agent 0", "agent 1", "agent 2", "BigramHashEmbedding"} <= set(shown)
    assert not [text for text in shown if text.startswith("20")]


@pytest.mark.parametrize("board", [generated(3, 3), generated(9, 1), generated(40, 1), generated(3, 3, best_s=62)])
def test_no_name_lies_on_another(board: Board) -> None:
    figure = figures.progress(replace(board, published=PUBLISHED))
    drawn(figure)
    for axes in figure.axes:
        heights = sorted(float(axes.transData.transform(text.get_position())[1]) for text in axes.texts)
        assert all(above - below > 1.25 * SMALL / 72 * figure.dpi for below, above in pairwise(heights))
        assert all(text.get_window_extent().x1 <= axes.bbox.x1 for text in axes.texts)


def test_what_has_no_room_is_counted() -> None:
    shown = texts(figures.progress(generated(40, 1)))
    named = [text for text in shown if text.startswith("agent ")]
    assert f"and {40 - len(named)} more" in shown


def test_the_best_human_record_is_named_among_agents_that_came_as_far() -> None:
    curves = tuple(curve(f"agent {number}", f"session-{number}", step(63, 100)) for number in range(5))
    shown = texts(figures.progress(replace(EMPTY, yardstick=HUMAN, curves=curves)))
    assert "BigramHashEmbedding" in shown


def test_human_records_without_room_are_drawn_all_the_same() -> None:
    board = replace(EMPTY, yardstick=HUMAN, curves=(curve("a", "one"),))
    (axes,) = figures.progress(board).axes
    drawn = lines(axes, "human ")
    named = {text.get_text() for text in axes.texts}
    assert len(drawn) == len(HUMAN.steps) == 33
    for line in drawn:
        thick = str(line.get_label()).removeprefix("human ") in named
        assert (line.get_linewidth() > 0.6) == thick


LEADERBOARD_S = HumanStep("2026-01-26-UntieValueEmbeddings", date(2026, 1, 26), 4.0, Source.LEADERBOARD)


def test_what_is_known_from_the_leaderboard_alone_is_dotted_and_open() -> None:
    others = [
        HumanStep(f"2026-02-0{day}_{source}", date(2026, 2, day), day, source)
        for day, source in ((3, Source.PUBLISHED), (5, Source.HERE))
    ]
    board = replace(EMPTY, yardstick=measure(LEADERBOARD_S, *others), curves=(curve("a", "one", step(3, 100)),))
    figure = figures.progress(board)
    assert [marks(axes, "human UntieValueEmbeddings") for axes in figure.axes] == [[(0, 80), (512, 80)]]
    assert legend(figure)[-2:] == ["human record", "human record, by the leaderboard"]
    dotted = b"stroke-dasharray: 0.9,1.8"
    assert dotted in figures.files(figure)["svg"]
    assert dotted not in figures.files(figures.progress(replace(board, yardstick=measure(*others))))["svg"]
    filled, hollow = lines(figures.trajectory(board).axes[0], "human records")
    assert [y for _, y in points(filled)] == [3, 5] and filled.get_markerfacecolor() == INK
    assert [y for _, y in points(hollow)] == [4] and hollow.get_markerfacecolor() == PAPER


def test_the_one_that_is_100_percent_is_named_also_where_others_stand_above_it() -> None:
    """Timed here, it saves less than the leaderboard says of the record before it."""
    last = HumanStep("2026-07-17_FP8DownProjection", date(2026, 7, 17), 3.9, Source.HERE)
    board = replace(EMPTY, yardstick=measure(LEADERBOARD_S, last), curves=(curve("a", "one", step(3.8, 100)),))
    assert board.human_s == 3.9
    assert "FP8DownProjection" in texts(figures.progress(board))


def test_the_caption_says_what_100_percent_is_and_from_where_it_is_known() -> None:
    last = HumanStep("2026-07-17_FP8DownProjection", date(2026, 7, 17), 5.0, Source.HERE)
    assert figures.about_humans(replace(EMPTY, yardstick=measure(LEADERBOARD_S, last))) == (
        " 100 % is 5.0 s (timed here), from 2025-09-03_FA3 of 2025-09-03 to 2026-07-17_FP8DownProjection of "
        "2026-07-17, all records. Where the seconds of the 2 human records are from: 1 timed here, 1 leaderboard. "
        "Dotted lines and open points are seconds by the leaderboard."
    )
    assert figures.about_humans(EMPTY) == ""
    assert "otted" not in figures.about_humans(replace(EMPTY, yardstick=measure(last)))


def test_published_results_are_diamonds_that_say_so() -> None:
    board = replace(generated(2, 1), published=PUBLISHED)
    figure = figures.progress(board)
    assert [marks(axes, "published") for axes in figure.axes] == [[], [(512, 8.6)]]
    assert "Codex, published 8.6 %" in texts(figure)
    assert "published elsewhere, no interval" in legend(figure)


def test_without_human_progress_the_axis_is_in_seconds_and_there_is_no_other() -> None:
    board = replace(generated(2, 2), yardstick=None, published=PUBLISHED)
    (axes,) = figures.progress(board).axes
    assert axes.get_ylabel() == "training time saved (s)"
    assert not axes.child_axes
    assert marks(axes, "published") == []


def test_the_right_axis_is_the_left_one_in_seconds() -> None:
    figure = figures.progress(generated(2, 2))
    drawn(figure)
    for axes in figure.axes:
        (seconds,) = axes.child_axes
        assert [100 * end / 63.2192 for end in seconds.get_ylim()] == pytest.approx(axes.get_ylim())


# The others.


def test_the_trajectory_shares_its_scale_between_humans_and_agents() -> None:
    left, right = figures.trajectory(generated(3, 2)).axes
    assert left.get_ylim() == right.get_ylim()
    (best,) = lines(left, "human best")
    assert len(lines(right, "best of")) == 6
    saved = [y for _, y in points(best)]
    assert saved == sorted(saved)
    assert max(saved) == 63.2192


def test_the_trajectory_has_scores_beside_the_ends_of_sessions() -> None:
    one = curve("a", "one", step(1, 50), used=400, score=score(2.5))
    (axes,) = figures.trajectory(replace(EMPTY, curves=(one,))).axes
    assert marks(axes, "accepted") == [(6.25, 1)]
    assert marks(axes, "score") == [(51, 2.5)], "of 50 hours"
    assert axes.get_ylim()[1] > 2.5


def test_the_trajectory_is_the_agents_alone_without_human_progress() -> None:
    (axes,) = figures.trajectory(replace(generated(2, 1), yardstick=None)).axes
    assert axes.get_xlabel() == "hours since the session's start"


def test_the_budget_stacks_what_kinds_of_jobs_held_and_left_idle() -> None:
    figure = figures.budget(replace(EMPTY, budget=(*days(3), *days(1))))
    (axes,) = figure.axes
    tops = [round(float(bar.get_y() + bar.get_height()), 6) for bars in axes.containers for bar in bars]
    assert max(tops) == 8, "the first day, twice two kinds of two hours"
    heights = {str(bars.get_label()): [float(bar.get_height()) for bar in bars] for bars in axes.containers}
    assert {label: found for label, found in heights.items() if found} == {
        "session": [3.0, 1.5, 1.5],
        "session, idle": [1.0, 0.5, 0.5],
        "retiming": [4.0, 2.0, 2.0],
    }
    hatched = [bar for bars in axes.containers for bar in bars if bar.get_hatch()]
    assert len(hatched) == 3
    assert {bar.get_facecolor()[3] for bar in hatched} == {0}, "which would hide the hatch on a page"
    assert legend(figure)[:2] == ["session: 8.0 H100-hours, 25 % idle", "retiming: 8.0 H100-hours, idle not seen"]


def test_every_kind_has_its_place_in_the_legend_and_one_without_gpus_none() -> None:
    held = [Line(kind, "2026-09-20", 1, 7200, 2.0, 1800) for kind in KINDS]
    without = Line("session", "2026-09-20", 1, 0, 0.0, None)
    figure = figures.budget(replace(EMPTY, budget=tuple(held)))
    drawn(figure)
    assert len(legend(figure)) == len(KINDS) + 1
    (axes,) = figure.axes
    box, frame = figure.legends[0].get_window_extent(), axes.get_window_extent()
    assert box.y0 > frame.y1 and box.x1 <= figure.bbox.x1
    shown = legend(figures.budget(replace(EMPTY, budget=(*held[1:], without))))
    assert [label.partition(":")[0] for label in shown[:-1]] == list(KINDS[1:])


def test_the_bar_of_a_single_day_is_no_wall() -> None:
    (axes,) = figures.budget(replace(EMPTY, budget=tuple(days(1)))).axes
    left, right = axes.get_xlim()
    assert right - left > 7


@pytest.mark.parametrize("count", [1, 60])
def test_dates_have_room(count: int) -> None:
    figure = figures.budget(replace(EMPTY, budget=tuple(days(count))))
    drawn(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(boxes) >= 3
    assert all(before.x1 < after.x0 for before, after in pairwise(boxes))


# Of what is not there.


@pytest.mark.parametrize("draw", [figures.progress, figures.trajectory, figures.budget])
@pytest.mark.parametrize("human", [HUMAN, measure(HUMAN.steps[0]), None])
def test_an_empty_board_says_that_it_is(draw: object, human: Yardstick | None) -> None:
    assert callable(draw)
    figure = draw(replace(EMPTY, yardstick=human))
    assert any(text.startswith("no ") for text in texts(figure))
    assert all(figures.files(figure).values())


# Files and pages.


def test_files_are_what_they_say_and_come_out_again() -> None:
    board = generated(3, 3)
    first, again = (figures.files(figures.progress(board)) for _ in range(2))
    assert first == again
    assert first["png"].startswith(b"\x89PNG")
    assert first["pdf"].startswith(b"%PDF")
    assert b"/FontFile2" in first["pdf"], "as TrueType"
    assert b"<text" in first["svg"]
    assert not re.search(rb"20\d\d-\d\d-\d\d", first["svg"])


def test_files_do_not_depend_on_the_process(tmp_path: Path) -> None:
    program = (
        "import hashlib; from tests.steps.test_figures import figures, generated;"
        "print([hashlib.sha256(b).hexdigest() for b in figures.files(figures.budget(generated(2, 1))).values()])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed, "MPLCONFIGDIR": str(tmp_path)},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    program = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy();"
        "from tests.steps.test_figures import figures, generated; figures.files(figures.progress(generated(1, 1)));"
        "sys.exit(matplotlib.rcParams.copy() != before or 'matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def inlined(draw: object, board: Board, title: str = "Progress") -> tuple[str, ElementTree.Element]:
    assert callable(draw)
    text = figures.inline(draw(board), title, "What it shows & <how>")
    return text, ElementTree.fromstring(text)


@pytest.mark.parametrize("draw", [figures.progress, figures.trajectory, figures.budget])
def test_an_inline_figure_is_an_image_with_a_name_and_a_description(draw: object) -> None:
    text, root = inlined(draw, generated(2, 2))
    assert text.startswith("<svg")
    assert root.get("role") == "img"
    assert root.get("width") == "100%" and root.get("viewBox") and not root.get("height")
    children = {child.tag.rpartition("}")[2]: child for child in root[:2]}
    assert (children["title"].text, children["desc"].text) == ("Progress", "What it shows & <how>")
    assert root.get("aria-labelledby") == f"{children['title'].get('id')} {children['desc'].get('id')}"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}text"))) > 5, "text is text"


@pytest.mark.parametrize("draw", [figures.progress, figures.trajectory, figures.budget])
def test_ink_is_the_pages(draw: object) -> None:
    board = generated(2, 2)
    text, _ = inlined(draw, board)
    assert "currentColor" in text
    assert INK not in text
    own = {look.colour for look in looks(board).values()} | set(COLOURS)
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= own
    assert "<style" not in text, "it would hold for the whole page"


def test_figures_of_one_page_share_no_name() -> None:
    board = generated(2, 2)
    seen: set[str] = set()
    for draw in (figures.progress, figures.trajectory, figures.budget):
        text, root = inlined(draw, board)
        own = {str(element.get("id")) for element in root.iter() if element.get("id")}
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert used and used <= own
        assert not own & seen
        seen |= own


def test_a_name_is_shown_as_it_is() -> None:
    name = "a $x^2$ <b> & co"
    _, root = inlined(figures.progress, replace(EMPTY, curves=(curve(name, "one", step(1, 50)),)))
    assert name in {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("draw", [figures.progress, figures.trajectory])
@pytest.mark.parametrize("board", [generated(2, 1, best_s=0.02), generated(3, 2), generated(9, 1)])
def test_nothing_leaves_the_page(draw: object, board: Board) -> None:
    assert callable(draw)
    figure = draw(board)
    drawn(figure)
    for axes in figure.axes:
        assert figure.bbox.x0 <= axes.get_tightbbox().x0
        assert axes.get_tightbbox().x1 <= figure.bbox.x1


def luminance(colour: str) -> float:
    """Relative, as WCAG 2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("page", ["#ffffff", "#16181d"])
@pytest.mark.parametrize("colour", COLOURS)
def test_colours_show_on_light_and_dark_pages(colour: str, page: str) -> None:
    darker, lighter = sorted([luminance(colour), luminance(page)])
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_agents_differ_by_more_than_colour() -> None:
    found = looks(generated(32, 1)).values()
    assert len({(look.colour, str(look.line)) for look in found}) == 32
    assert len({(look.marker, str(look.line)) for look in found}) == 32


# In words.


def test_the_description_says_how_far_each_came_and_what_overlaps() -> None:
    human = measure(HumanStep("2025-09-10_Yarn", date(2025, 9, 10), 50.0))
    curves = (
        curve("Ann", "one", step(2, 100), score=score(2)),
        curve("Ann", "two", step(3, 200), score=score(3, 0.2)),
        curve("Bob", "three", step(3.1, 300), score=score(3.1)),
        curve("Cid", "four", step(5, 400)),
        curve("Dan", "five", score=Score(ScoreState.SCORED, NOTHING_SAVED)),
        curve("Eve", "six", score=RUNNING),
    )
    said = figures.description(replace(EMPTY, yardstick=human, curves=curves))
    assert "Ann (best of 2 sessions) score 6.0 [5.6, 6.4]; Cid no score, accepted 10.0 [9.6, 10.4] after 400 " in said
    assert "Dan score 0" in said and "Eve nothing accepted in 512 H100-hours" in said
    assert "a score (filled) was confirmed" in said and "only accepted (hollow)" in said
    assert said.endswith("Not clear of each other: Ann and Bob.")


def test_the_description_counts_what_overlaps_where_that_is_much() -> None:
    curves = tuple(curve(f"agent {number}", f"session-{number}", score=score(2)) for number in range(5))
    assert figures.description(replace(EMPTY, curves=curves)).endswith("Not clear of each other: 10 of 10 pairs.")


def test_the_description_of_what_is_clear_and_of_nothing() -> None:
    curves = (curve("Ann", "one", score=score(2)), curve("Bob", "two", score=score(3)))
    said = figures.description(replace(EMPTY, curves=curves))
    assert "In seconds of training time saved" in said
    assert said.endswith("All of these scores are clear of each other.")
    assert figures.description(EMPTY) == "No session of an agent yet."
