"""The report of a generated campaign: 3 agents, 3 seeds each, 20 submissions a session."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_bench.pure import summary
from slurm_bench.pure.summary import SessionSummary
from slurm_bench.steps import budget, report, summaries
from slurm_bench.steps.report import Choices
from slurm_bench.words.paths import CampaignPaths, ReportPaths
from slurm_bench.words.verdicts import Outcome
from tests import generated_campaign
from tests.generated_campaign import all_verdicts

pytestmark = pytest.mark.whole

MOST_BYTES = 5_000_000
FA3 = "2025-09-03_FA3"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> CampaignPaths:
    return generated_campaign.write(tmp_path_factory.mktemp("generated"))


@pytest.fixture(scope="module")
def written(campaign: CampaignPaths) -> None:
    report.of_campaign(campaign)


@pytest.fixture(scope="module")
def sessions(campaign: CampaignPaths) -> list[SessionSummary]:
    return summaries.of_campaign(campaign)


def test_it_is_small(campaign: CampaignPaths, written: None) -> None:
    print(f"{campaign.report.page.stat().st_size} bytes")
    assert len(list(all_verdicts(campaign))) == 3 * 3 * 20
    assert campaign.report.page.stat().st_size <= MOST_BYTES


def test_each_verdict_has_its_page(campaign: CampaignPaths, written: None) -> None:
    page = campaign.report.page.read_text()
    assert "\N{REPLACEMENT CHARACTER}" not in page, "nothing of ours is taken for harmful"
    for session in campaign.sessions():
        for verdict in sorted(session.submissions.glob("*/verdict.json")):
            place = f"generated/{session.root.name}/{verdict.parent.name}"
            assert page.count(f'id="{place}"') == page.count(f'href="#{place}"') == 1


def test_figures_and_tables_lie_beside_it(campaign: CampaignPaths, written: None) -> None:
    figures = {
        f"{FA3}-{name}.{ending}" for name in ("progress", "trajectory", "budget") for ending in ("svg", "pdf", "png")
    }
    names = (f"{FA3}-leaderboard", "sessions", "submissions", "budget")
    tables = {f"{name}.{ending}" for name in names for ending in ("csv", "json", "tex")}
    assert {file.name for file in campaign.report.files.iterdir()} == figures | tables
    beginnings = {".svg": b"<", ".pdf": b"%PDF", ".png": b"\x89PNG"}
    for file in campaign.report.files.iterdir():
        assert file.read_bytes().startswith(beginnings.get(file.suffix, b""))


def test_tables_agree_with_the_records(campaign: CampaignPaths, written: None) -> None:
    with campaign.report.file("submissions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    verdicts = list(all_verdicts(campaign))
    assert [row["outcome"] for row in rows] == [verdict.outcome.value for verdict in verdicts]
    saved = [float(row["saved_s"]) for row in rows if row["saved_s"]]
    assert saved == [verdict.speed.saved_s for verdict in verdicts if verdict.speed]
    assert json.loads(campaign.report.file("submissions.json").read_text())[0]["seal"] == verdicts[0].seal


def test_the_leaderboard_is_the_best_of_all_seeds(campaign: CampaignPaths, written: None) -> None:
    rows = json.loads(campaign.report.file(f"{FA3}-leaderboard.json").read_text())
    accepted = [verdict for verdict in all_verdicts(campaign) if verdict.outcome is Outcome.ACCEPTED and verdict.speed]
    best = max(verdict.speed.saved_s for verdict in accepted if verdict.speed)
    assert rows[0]["saved_s"] == best
    assert [row["saved_s"] for row in rows] == sorted((row["saved_s"] for row in rows), reverse=True)
    assert sum(row["accepted"] for row in rows) == len(accepted)
    assert [row["seeds"] for row in rows] == [3, 3, 3]
    assert rows[0]["percent_all_records"] == pytest.approx(100 * best / 63.2192)
    assert {row["overlaps"] for row in rows} == {"#2", "#1", ""}, "two are not told apart, one is clear of both"


def test_hours_are_those_of_the_budget(campaign: CampaignPaths, written: None) -> None:
    """What the leaderboard says is spent is what command=budget says, to the GPU-second."""
    rows = json.loads(campaign.report.file(f"{FA3}-leaderboard.json").read_text())
    asked = budget.of_campaign(campaign)
    assert sum(row["h100_hours"] for row in rows) == pytest.approx(asked.spent, abs=1e-9)
    lines = json.loads(campaign.report.file("budget.json").read_text())
    assert sum(line["gpu_seconds"] for line in lines) == sum(account.gpu_seconds for account in asked.accounts)


def test_curves_only_rise_and_end_at_what_was_used(sessions: list[SessionSummary]) -> None:
    for session in sessions:
        curve = session.curve()
        hours, saved = [step.h100_hours for step in curve.steps], [step.saved_s for step in curve.steps]
        assert curve.steps and saved == sorted(saved) and hours == sorted(hours)
        assert hours[-1] <= curve.h100_hours
        accepted = [each.verdict.speed for each in session.submissions if each.verdict.outcome is Outcome.ACCEPTED]
        assert saved[-1] == max(speed.saved_s for speed in accepted if speed)


def test_data_hold_what_the_page_shows(campaign: CampaignPaths, written: None) -> None:
    data = json.loads(campaign.report.data.read_text())
    assert len(data["sessions"]) == 9 and len(data["leaderboards"]) == 1
    assert all(len(session["submissions"]) == 20 for session in data["sessions"])


def test_latex_is_a_whole_table(campaign: CampaignPaths, written: None) -> None:
    text = campaign.report.file(f"{FA3}-leaderboard.tex").read_text()
    assert text.startswith("\\begin{tabular}") and text.count("\\\\") == 4
    assert "\\%" in text and "%" not in text.replace("\\%", ""), "a percent sign would begin a comment"


def test_several_campaigns_stand_side_by_side(tmp_path: Path) -> None:
    """The same agents in another campaign are more seeds; sessions that cannot be compared are kept apart."""
    for name in ("first", "second"):
        generated_campaign.write(tmp_path, seeds=1, submissions=8, campaign=name)
    runs = tmp_path / "runs"
    found = [session for name in ("first", "second") for session in summaries.of_campaign(CampaignPaths(runs / name))]
    where = ReportPaths(tmp_path / "both")
    (section,) = report.write(found, where)
    assert [row["seeds"] for row in section.leaderboard.rows] == [2, 2, 2]
    others = [other_target(session) for session in found[3:]]
    assert len(report.write([*found[:3], *others], where)) == 2
    assert where.file(f"{FA3}-leaderboard.csv").exists() and where.file(f"{FA3}-2-leaderboard.csv").exists()


def other_target(session: SessionSummary) -> SessionSummary:
    return replace(session, yardstick=replace(session.yardstick, target_loss=3.2))


def test_published_results_are_drawn_beside_and_marked(sessions: list[SessionSummary], tmp_path: Path) -> None:
    without, with_them = ReportPaths(tmp_path / "without"), ReportPaths(tmp_path / "with")
    report.write(sessions[::3], without)
    report.write(sessions[::3], with_them, Choices(published=True))
    name = f"{FA3}-progress.svg"
    assert "published" not in without.file(name).read_text()
    drawn = with_them.file(name).read_text()
    assert all(part in drawn for part in ("Autoresearch", "Codex", "Claude Code", "9.3", "8.6", "8.2", "published"))


def test_a_sum_of_what_is_not_known_is_not_known(sessions: list[SessionSummary]) -> None:
    uncounted = [replace(sessions[0], tokens=None, usd=None), *sessions[1:]]
    (first,) = [each for each in summary.standings(uncounted, []) if each.contestant == sessions[0].contestant]
    assert first.tokens is None and first.usd is None


def test_what_hides_text_or_turns_it_does_not_reach_the_page(sessions: list[SessionSummary], tmp_path: Path) -> None:
    """Trojan Source: a comment that turns the direction of writing, in the view that a reviewer trusts."""
    session = sessions[0]
    first = session.submissions[0]
    assert first.difference is not None
    lines = ("+x = 1  # \u202e hidden \u2066", "+\x1b[31m\x08")
    told = first.verdict.model_copy(update={"reason": "a \u202e b"})
    changed = replace(first, verdict=told, difference=replace(first.difference, lines=lines))
    where = ReportPaths(tmp_path)
    report.write([replace(session, submissions=(changed,))], where)
    page = where.page.read_text()
    assert "hidden" in page and not set(page) & set("\u202e\u2066\x1b\x08")


def test_a_lost_seal_leaves_the_rest_of_the_report(tmp_path: Path) -> None:
    made = generated_campaign.write(tmp_path, seeds=1, submissions=3)
    shutil.rmtree(made.sessions()[0].seals)
    sessions = report.of_campaign(made)
    assert len(sessions) == 3 and "0003" in made.report.page.read_text()


def test_names_that_an_agent_chose_stay_text(sessions: list[SessionSummary], tmp_path: Path) -> None:
    """A candidate called like a script, a formula or a command of LaTeX."""
    session = sessions[0]
    hostile = '=cmd("<script>alert(1)</script>")&\\input{x}$_^'
    renamed = replace(session, submissions=(replace(session.submissions[0], name=hostile),))
    where = ReportPaths(tmp_path)
    report.write([renamed], where)
    assert "<script>alert" not in where.page.read_text()
    with where.file("submissions.csv").open(newline="") as stream:
        assert next(csv.DictReader(stream))["candidate"] == f"'{hostile}"
    assert "\\input{x}" not in where.file("submissions.tex").read_text()
