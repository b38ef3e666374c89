"""The report of a generated campaign: 3 agents, 3 seeds each, 20 submissions a session."""

import csv
import html
import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from slurm_bench.effects.campaigns import members
from slurm_bench.pure import summary, tables
from slurm_bench.pure.score import Saved, Score, ScoreState
from slurm_bench.pure.summary import SessionSummary
from slurm_bench.pure.yardstick import describe
from slurm_bench.steps import budget, report, summaries, yardsticks
from slurm_bench.steps.report import Choices
from slurm_bench.words.paths import CampaignPaths, ReportPaths
from slurm_bench.words.verdicts import Outcome
from tests import generated_campaign, human_tables
from tests.generated_campaign import all_verdicts

pytestmark = pytest.mark.whole

MOST_BYTES = 5_000_000
FA3 = "2025-09-03_FA3"
JANUARY = "2026-01-19_BigramHashEmbedding"


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
    assert len([verdict for verdict in all_verdicts(campaign) if not verdict.confirms]) == 3 * 3 * 20
    assert campaign.report.page.stat().st_size <= MOST_BYTES


def test_each_verdict_has_its_page(campaign: CampaignPaths, written: None) -> None:
    page = campaign.report.page.read_text()
    assert "\N{REPLACEMENT CHARACTER}" not in page, "nothing of ours is taken for harmful"
    for session in members(campaign).sessions:
        for verdict in sorted(session.submissions.glob("*/verdict.json")):
            place = f"generated/{session.root.name}/{verdict.parent.name}"
            assert page.count(f'id="{place}"') == 1 and page.count(f'href="#{place}"') >= 1


def test_figures_and_tables_lie_beside_it(campaign: CampaignPaths, written: None) -> None:
    figures = {
        f"{FA3}-{name}.{ending}" for name in ("progress", "trajectory", "budget") for ending in ("svg", "pdf", "png")
    }
    names = (*(f"{FA3}-{name}" for name in ("leaderboard", "yardstick", "human")), "sessions", "submissions", "budget")
    tables = {f"{name}.{ending}" for name in names for ending in ("csv", "json", "tex")}
    assert {file.name for file in campaign.report.files.iterdir()} == figures | tables
    beginnings = {".svg": b"<", ".pdf": b"%PDF", ".png": b"\x89PNG"}
    for file in campaign.report.files.iterdir():
        assert file.read_bytes().startswith(beginnings.get(file.suffix, b""))


def test_tables_agree_with_the_records(campaign: CampaignPaths, written: None) -> None:
    with campaign.report.file("submissions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    verdicts = list(all_verdicts(campaign))
    assert [row["confirms"] for row in rows] == [verdict.confirms or "" for verdict in verdicts]
    assert [row["outcome"] for row in rows] == [verdict.outcome.value for verdict in verdicts]
    saved = [float(row["saved_s"]) for row in rows if row["saved_s"]]
    assert saved == [verdict.speed.saved_s for verdict in verdicts if verdict.speed]
    assert json.loads(campaign.report.file("submissions.json").read_text())[0]["seal"] == verdicts[0].seal


def leaderboard(campaign: CampaignPaths) -> dict[str, dict[str, Any]]:
    rows = json.loads(campaign.report.file(f"{FA3}-leaderboard.json").read_text())
    return {row["agent"].split()[0]: row for row in rows}


def test_the_leaderboard_ranks_by_what_was_confirmed(campaign: CampaignPaths, written: None) -> None:
    verdicts = list(all_verdicts(campaign))
    confirmed = [each for each in verdicts if each.confirms and each.outcome is Outcome.ACCEPTED]
    best = max(verdict.speed.saved_s for verdict in confirmed if verdict.speed)
    rows = list(leaderboard(campaign).values())
    assert rows[0]["score_s"] == best and [row["place"] for row in rows] == [1, 2, 3]
    assert [row["score_s"] for row in rows] == sorted((row["score_s"] for row in rows), reverse=True)
    assert rows[0]["percent_all_records"] == pytest.approx(100 * best / 63.2192)
    handed_in = [each for each in verdicts if not each.confirms]
    assert sum(row["accepted"] for row in rows) == sum(each.outcome is Outcome.ACCEPTED for each in handed_in)


def test_a_seed_that_runs_or_is_not_confirmed_is_in_no_mean(
    campaign: CampaignPaths, written: None, sessions: list[SessionSummary]
) -> None:
    scores = {each.session.name: each.score.saved.saved_s for each in sessions if each.score.saved}
    assert {each.session.name for each in sessions} - set(scores) == set(generated_campaign.ENDINGS)
    assert scores["codex-1"] == 0, "nothing of it was confirmed"
    rows = leaderboard(campaign)
    for agent, row in rows.items():
        seeds = [saved_s for name, saved_s in scores.items() if name.startswith(agent)]
        assert row["seeds"] == 3 and row["seeds_scored"] == len(seeds)
        assert row["seed_mean_s"] == pytest.approx(fmean(seeds))
        assert (row["seed_low_s"], row["seed_high_s"], row["score_s"]) == (min(seeds), max(seeds), max(seeds))
    assert (rows["autoresearch"]["seeds_not_over"], rows["codex"]["seeds_not_confirmed"]) == (1, 1)


def test_what_waits_for_its_confirmation_stands_apart(
    campaign: CampaignPaths, written: None, sessions: list[SessionSummary]
) -> None:
    (waits,) = [each for each in sessions if each.session.name == "codex-2"]
    best = max(each.step.saved_s for each in waits.submissions if each.step)
    row = leaderboard(campaign)["codex"]
    assert (row["unconfirmed_s"], row["unconfirmed_session"]) == (best, "generated/codex-2")
    assert row["unconfirmed_s"] > row["score_s"], "and does not count"
    assert leaderboard(campaign)["claude"]["unconfirmed_s"] is None


def test_a_confirmation_is_none_of_the_agents_submissions(sessions: list[SessionSummary]) -> None:
    by_name = {each.session.name: each for each in sessions}
    assert [len(by_name[name].confirmations) for name in ("claude-0", "claude-1", "codex-1", "codex-2")] == [1, 2, 3, 0]
    for each in sessions:
        assert len(each.submissions) == 20 == sum(each.outcomes.values())
        assert all(run.planned_runs == 20 and run.verdict.confirms for run in each.confirmations)


def scored(session: SessionSummary, agent: str, worth: Score, unconfirmed: str = "") -> SessionSummary:
    return replace(session, agent=agent, score=replace(worth, submission=unconfirmed), human_progress=())


def test_agents_are_ranked_by_score_and_then_by_what_is_accepted(sessions: list[SessionSummary]) -> None:
    session = sessions[0]
    accepted = [each.verdict.submission for each in session.submissions if each.step]
    running = Score(ScoreState.RUNNING, None)
    found = summary.standings(
        [
            scored(session, "nothing", running),
            scored(session, "first", running, accepted[0]),
            scored(session, "low", Score(ScoreState.SCORED, Saved(0.4, 0.1, 0.7))),
            scored(session, "last", running, accepted[-1]),
            scored(session, "high", Score(ScoreState.SCORED, Saved(0.6, 0.3, 0.9))),
            scored(session, "far", Score(ScoreState.SCORED, Saved(3.0, 2.9, 3.1))),
        ]
    )
    assert [each.contestant.split()[0] for each in found] == ["far", "high", "low", "last", "first", "nothing"]
    assert [each.overlaps for each in found] == [(), (3,), (2,), (), (), ()]
    assert found[3].score is None and found[3].seed_mean_s is None and found[3].human_progress == ()


def test_pages_of_a_confirmation_and_of_what_it_confirms_lead_to_each_other(
    campaign: CampaignPaths, written: None, sessions: list[SessionSummary]
) -> None:
    (session,) = [each for each in sessions if each.session.name == "claude-1"]
    failed, confirmed = session.confirmations
    pages = campaign.report.page.read_text().split("<article ")
    of = {page.split('"')[1].removeprefix(f"{session.label}/"): page for page in pages if f'="{session.label}/' in page}
    assert f'href="#{session.label}/{failed.verdict.submission}"' in of[str(failed.verdict.confirms)]
    page = " ".join(of[confirmed.verdict.submission].split())
    link = f'<a href="#{session.label}/{confirmed.verdict.confirms}">submission {confirmed.verdict.confirms}</a>'
    assert f"Confirmation 2 of {link}, number {confirmed.verdict.submission} of {session.label}" in page
    assert "0.0025, on 20 runs in fresh blocks" in page and "It is the session's score: " in page
    assert "of 20 runs over" in of[failed.verdict.submission], "which was stopped"


def test_the_terminal_says_what_a_session_scored(
    campaign: CampaignPaths, sessions: list[SessionSummary], capsys: pytest.CaptureFixture[str]
) -> None:
    report.show(campaign, sessions)
    said = " ".join(capsys.readouterr().out.split())
    assert "s [6.55, 6.71] saved, confirmed by 20 fresh blocks; 10.5 % [10.4, 10.6] of human progress, all" in said
    assert "score: 0, none of its accepted candidates that were timed afresh was confirmed 3" in said, "without percent"
    assert "no score yet: not over; submission 00" in said and "no score yet: not confirmed; submission 00" in said
    assert said.count("confirmation of 0") == 10, "one line for each"


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
    found = {session["session"]["name"]: session["score"] for session in data["sessions"]}
    assert found["codex-1"]["saved"]["saved_s"] == 0 and found["codex-1"]["why"]
    assert (found["autoresearch-2"]["state"], found["autoresearch-2"]["saved"]) == ("not over", None)


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
    return replace(session, contest=replace(session.contest, target_loss=3.2))


def test_published_results_are_drawn_beside_and_marked(sessions: list[SessionSummary], tmp_path: Path) -> None:
    without, with_them = ReportPaths(tmp_path / "without"), ReportPaths(tmp_path / "with")
    report.write(sessions[::3], without)
    report.write(sessions[::3], with_them, Choices(published=True))
    name = f"{FA3}-progress.svg"
    assert "published" not in without.file(name).read_text()
    drawn = with_them.file(name).read_text()
    assert all(part in drawn for part in ("Autoresearch", "Codex", "Claude Code", "9.3", "8.6", "8.2", "published"))


def from_january(folder: Path, until: str | None = None) -> tuple[list[SessionSummary], ReportPaths]:
    """A campaign that started from record 62, beside the records to number 89."""
    campaign = generated_campaign.write(folder, seeds=1, submissions=8, record=JANUARY)
    humans = yardsticks.known([campaign], human_tables.write(folder / "tables"), until)
    return summaries.of_campaign(campaign, humans), ReportPaths(folder / "written")


def test_from_january_the_human_line_reaches_today(tmp_path: Path) -> None:
    """99.3 s to 73.8 s by the leaderboard, and said to be so in the page and in the figures."""
    sessions, where = from_january(tmp_path)
    report.write(sessions, where)
    *_, last = json.loads(where.file(f"{JANUARY}-human.json").read_text())
    assert (last["record"], last["date"]) == ("2026-07-17_FP8DownProjection", "2026-07-17")
    assert (last["saved_s"], last["source"]) == (pytest.approx(25.5), "leaderboard")
    best = json.loads(where.file(f"{JANUARY}-leaderboard.json").read_text())[0]
    assert best["score_s"] > 0
    assert best["percent_all_records"] == pytest.approx(100 * best["score_s"] / 25.5)
    assert best["percent_objective_of_the_start"] == pytest.approx(100 * best["score_s"] / 23.94)
    drawn = where.file(f"{JANUARY}-progress.svg").read_text()
    assert all(
        part in drawn for part in ("FP8DownProjection", "human record, by the leaderboard", "human progress (%)")
    )
    page = where.page.read_text()
    assert "% of human progress, all records (25.5 s, leaderboard)" in page
    said = "100 % is 25.5 s (leaderboard), from 2026-01-19_BigramHashEmbedding of 2026-01-19 to 2026-07-17_FP8DownProj"
    assert page.count(said) == 4, "in the captions of both figures, and in their descriptions"
    shares = [share for session in sessions for share in session.human_progress if session.score.saved]
    assert shares and describe(shares[0]) in page and "(25.5 s, leaderboard)" in describe(shares[0])


def test_what_models_may_remember_is_said_also_where_it_is_not_known(tmp_path: Path) -> None:
    first, *others = from_january(tmp_path)[0]
    where = ReportPaths(tmp_path / "written")
    report.write([replace(first, model="claude-opus-4-6"), *others], where)
    (lines,) = json.loads(where.data.read_text())["contamination"].values()
    assert "the start, 2026-01-19_BigramHashEmbedding, is public since 2026-01-19" in lines[0]
    assert any(
        line.startswith("claude-opus-4-6: 0 of 27 records of the yardstick were public before") for line in lines
    )
    assert "example-b: its training cut-off is not known, nor how many of the 27 records of the" in " ".join(lines)
    page = html.unescape(where.page.read_text())
    assert all(line in page for line in lines)


def test_a_start_that_is_no_human_record_is_said_to_be_none(tmp_path: Path) -> None:
    campaign = generated_campaign.write(tmp_path, seeds=1, submissions=3, record="/somewhere/2025-09-03_FA3")
    (section,) = report.write(report.of_campaign(campaign), ReportPaths(tmp_path / "written"))
    assert section.yardstick.rows == () and section.human_steps.rows == ()
    (line,) = section.contamination
    assert "the start is no human record" in line


def test_the_report_ends_the_yardstick_where_it_is_asked_to(tmp_path: Path) -> None:
    sessions, where = from_january(tmp_path, "2026-04-22_MuddFormer")
    (section,) = report.write(sessions, where)
    assert section.heading.endswith(", beside humans until 2026-04-22_MuddFormer")
    assert section.yardstick.rows[0]["seconds"] == pytest.approx(99.3 - 81.78)


def test_sessions_with_other_yardsticks_stand_apart(tmp_path: Path) -> None:
    (first, *_), where = from_january(tmp_path)
    (tmp_path / "other").mkdir()
    other = from_january(tmp_path / "other", "2026-04-22_MuddFormer")[0][1]
    sections = report.write([first, other], where)
    assert len({section.heading for section in sections}) == 2


def test_published_results_are_not_drawn_beside_another_yardstick(tmp_path: Path) -> None:
    sessions, where = from_january(tmp_path)
    report.write(sessions, where, Choices(published=True))
    assert "published elsewhere" not in where.file(f"{JANUARY}-progress.svg").read_text()


def test_agents_that_come_by_gpus_in_different_ways_stand_apart(sessions: list[SessionSummary], tmp_path: Path) -> None:
    """They are no seeds of each other, and no idle share is said of one that holds no GPUs."""
    other = replace(sessions[0], by_experiments=True)
    where = ReportPaths(tmp_path)
    (section,) = report.write([sessions[1], other], where)
    assert other.contestant == f"{sessions[1].contestant}, by experiments"
    names = [str(row["agent"]) for row in section.leaderboard.rows]
    assert sorted(names) == [sessions[1].contestant, other.contestant]
    attached, rows = tables.sessions([sessions[1], other]), json.loads(where.file("sessions.json").read_text())
    idle = [column.heading for column in attached.columns].index("idle")
    assert [row[idle][-1] for row in attached.texts()] == ["%", tables.NOTHING]
    assert [(row["by_experiments"], row["idle_share"] is None) for row in rows] == [(False, False), (True, True)]
    said = "Compare the two by H100-hours as charged"
    assert said in where.page.read_text()
    for alike in ([other], [sessions[1]]):
        report.write(alike, where)
        assert said not in where.page.read_text()


def test_a_sum_of_what_is_not_known_is_not_known(sessions: list[SessionSummary]) -> None:
    uncounted = [replace(sessions[0], tokens=None, usd=None), *sessions[1:]]
    (first,) = [each for each in summary.standings(uncounted) if each.contestant == sessions[0].contestant]
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
    report.write([replace(session, submissions=(changed,), confirmations=())], where)
    page = where.page.read_text()
    assert "hidden" in page and not set(page) & set("\u202e\u2066\x1b\x08")


def test_a_lost_seal_leaves_the_rest_of_the_report(tmp_path: Path) -> None:
    made = generated_campaign.write(tmp_path, seeds=1, submissions=3)
    shutil.rmtree(members(made).sessions[0].seals)
    sessions = report.of_campaign(made)
    assert len(sessions) == 3 and "0003" in made.report.page.read_text()


def test_names_that_an_agent_chose_stay_text(sessions: list[SessionSummary], tmp_path: Path) -> None:
    """A candidate called like a script, a formula or a command of LaTeX."""
    session = sessions[0]
    hostile = '=cmd("<script>alert(1)</script>")&\\input{x}$_^'
    renamed = replace(session, submissions=(replace(session.submissions[0], name=hostile),), confirmations=())
    where = ReportPaths(tmp_path)
    report.write([renamed], where)
    assert "<script>alert" not in where.page.read_text()
    with where.file("submissions.csv").open(newline="") as stream:
        assert next(csv.DictReader(stream))["candidate"] == f"'{hostile}"
    assert "\\input{x}" not in where.file("submissions.tex").read_text()


def test_losses_of_a_node_that_are_alike_are_said_with_the_scores_that_rest_on_it(
    sessions: list[SessionSummary], tmp_path: Path
) -> None:
    """Generated losses are independent; here all of a confirmation's runs share a node, and all losses its offset."""
    report.write(sessions, ReportPaths(tmp_path / "as-generated"))
    said = "Final losses of a program on the same node correlate by "
    assert said in (tmp_path / "as-generated/report.html").read_text()
    assert not summary.losing_by_nodes(sessions, 0.0)
    scored = [each for each in sessions if each.score.confirmation]
    on_one = [
        replace(each, confirmations=tuple(replace(it, runs=_on_one_node(it.runs)) for it in each.confirmations))
        for each in scored
    ]
    assert summary.losing_by_nodes(on_one, 0.9) == [each.label for each in scored]
    assert {node for _, node, _ in summary.losses_by_node(sessions)} == {f"gpu{number}" for number in range(1, 5)}


def _on_one_node(runs: summary.Runs) -> summary.Runs:
    return replace(runs, nodes=("gpu1",) * len(runs.nodes))
