"""A view of a campaign: read from real records, drawn without a terminal, and asked for as often as by one desk."""

import io
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from slurm_bench.effects import processes, store
from slurm_bench.effects.accounting import Sacct
from slurm_bench.effects.cluster import Cluster, Job
from slurm_bench.effects.polling import SharedPoll
from slurm_bench.effects.processes import ProcessIdentity
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.pure import sacct
from slurm_bench.pure.status import campaign_view
from slurm_bench.pure.status_facts import CampaignRecords, CampaignView, SubmissionRecords
from slurm_bench.steps import site, status, status_formats
from slurm_bench.steps.books import Book
from slurm_bench.steps.ledger import Ledger
from slurm_bench.steps.status import Records
from slurm_bench.words.accounting import JobState
from slurm_bench.words.config import Config, StatusCommand
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import CampaignPaths, SessionPaths, TimingPaths
from slurm_bench.words.records import Session, SessionState, Working
from slurm_bench.words.verdicts import Outcome
from tests.conftest import make_config, make_quick_record
from tests.fake_cluster import FakeCluster
from tests.pure import test_status as facts
from tests.steps import test_desk
from tests.steps.test_desk import FAST
from tests.steps.test_stop import Calibrating

START = datetime(2026, 11, 25, 12, tzinfo=UTC)


def begin(config: Config, name: str, state: SessionState = SessionState.RUNNING) -> SessionPaths:
    named = replace(config, session=name)
    paths = SessionPaths(named.session_dir)
    site.save_config(paths, named)
    begun = Session(id=f"id-{name}", name=name, campaign="test", revision="", state=state, started=START)
    store.write(paths.session, begun)
    return paths


def records(config: Config, cluster: Cluster, session: str = "") -> Records:
    def open_all(folders: Sequence[TimingPaths]) -> list[Book]:
        configs = [(paths, site.load_config(paths)) for paths in folders]
        return [Book(paths, kept, cluster, site.ledger_of(kept, paths, cluster)) for paths, kept in configs]

    return Records(CampaignPaths(config.session_dir.parent), session, open_all)


def text(view: CampaignView, width: int = 110, height: int = 60) -> str:
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(status_formats.drawn(view, console))
    return console.export_text()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> test_desk.Scene:
    """A session that has an accepted candidate, and one in the middle of its array; tests only look at it."""
    folder = tmp_path_factory.mktemp("scene")
    config = make_config(folder, make_quick_record(folder), ["cluster/local"], "container/none")
    cluster = FakeCluster(one_by_one=True)
    made = test_desk.Scene(config, cluster)
    begin(config, "one")
    made.submit(made.candidate("fast", FAST))
    made.request(made.candidate("other", ("SECONDS = 0.08", "SECONDS = 0.06")), "a2")
    retimer = made.desk._retimer
    made.desk._retimer = replace(retimer, watch=lambda: interrupt_after(made.paths, 4))
    with pytest.raises(KeyboardInterrupt):
        made.desk.serve()
    cluster.by_hand = True  # its looks run no further task
    return made


def interrupt_after(paths: SessionPaths, blocks: int) -> None:
    if len(list(paths.submission("0002").retiming.incumbents.glob("*.json"))) >= blocks:
        raise KeyboardInterrupt


def test_a_session_in_the_middle_of_a_submission(scene: test_desk.Scene) -> None:
    (session,) = records(scene.config, scene.cluster).view().sessions
    assert (session.name, session.agent, session.verdicts) == ("one", "scripted", {"accepted": 1})
    assert session.best and session.best.candidate == "fast" and 0.02 < session.best.saved_s < 0.06
    current = session.submission
    assert current and (current.number, current.candidate, current.at) == ("0002", "other", "running")
    assert current.array and (current.array.blocks_over, current.array.runs_over, current.array.pending) == (4, 8, 6)
    last = current.array.last[-1]
    assert last.loss and 3.1 < last.loss < 3.28 and last.time_s and last.incumbent_time_s
    entry = scene.ledger()["0002"]
    assert session.budget.spent == pytest.approx(14 / 3600)
    assert session.budget.reserved == pytest.approx((entry.reserved_gpu_seconds - 4) / 3600)


def test_it_is_drawn_as_a_panel_with_bars_and_what_the_agent_says(scene: test_desk.Scene) -> None:
    scene.paths.transcript.root.mkdir(exist_ok=True)
    scene.paths.transcript.trace.write_text("\x1b[2J[bold]now[/bold]\n" + "long " * 100 + "\n")
    store.write(scene.paths.working, Working(deadline=START, seen_at=START))
    view = records(scene.config, scene.cluster).view()
    shown = text(view)
    assert "─ one running, scripted ─" in shown
    assert "█" * 10 + "░" * 14 + " other: running; 4 of 10 blocks, 6 pending" in shown, "8 of 20 runs"
    assert "█" * 24 + " 1 h 00 min worked, 0 min 00 s left" in shown
    assert "verdicts 1 accepted; best fast: 0.0" in shown
    assert "\N{REPLACEMENT CHARACTER}[2J[bold]now[/bold]" in shown, "neither a terminal's nor rich's own commands"
    assert max(map(len, shown.splitlines())) == 110
    assert "\x1b" not in shown


def test_plain_lines_say_the_same(scene: test_desk.Scene) -> None:
    lines = status_formats.plain(records(scene.config, scene.cluster).view()).splitlines()
    assert lines[0].startswith("campaign test, 1 session, 0.0039 spent and ")
    assert lines[1] == "one: running, scripted"
    assert "one: 0002: other: running; 4 of 10 blocks, 6 pending" in lines
    assert any(line.startswith("one: runs: 2 loss 3.") and " s beside 0.0" in line for line in lines)


def test_a_confirmation_and_the_score_are_said() -> None:
    accepted = facts.decided("0001", Outcome.ACCEPTED, 3.0)
    afresh = replace(
        facts.confirming("0002", "0001"), is_judged=True, array=facts.array(8, 17, "0002", blocks_planned=20)
    )
    over = facts.confirmed("0002", "0001", Outcome.ACCEPTED, 2.5)
    said = plain_lines(SessionState.RUNNING, accepted, afresh)
    assert "one: running, being confirmed, scripted" in said
    assert "one: 0002: confirmation of 0001, fast: running; 8 of 20 blocks, 20 pending" in said
    assert not any(line.startswith("one: score") for line in said)
    said = plain_lines(SessionState.FINISHED, accepted, over)
    assert "one: finished, scripted" in said
    assert "one: verdicts: 1 accepted; best c0001: 3.00 [2.00, 4.00] s saved" in said
    assert "one: score: 2.50 s [1.50, 3.50] saved, confirmed by 20 fresh blocks" in said
    said = plain_lines(SessionState.FINISHED, accepted)
    assert any(line.startswith("one: score: no score yet: not confirmed; submission 0001") for line in said)


def plain_lines(state: SessionState, *submissions: SubmissionRecords) -> list[str]:
    array = facts.entry("0002", "confirmation", tasks=20, settled=state is SessionState.FINISHED)
    session = replace(facts.records(array, state=state), submissions=submissions)
    return status_formats.plain(campaign_view(CampaignRecords("test", (session,), ()), {}, facts.NOW)).splitlines()


def test_experiments_are_a_line_of_their_own() -> None:
    asked = [facts.entry(f"experiment{number}", "experiment", settled=number < 3) for number in (1, 2, 3)]
    stuck = {asked[-1].job_name: facts.observation({0: JobState.PENDING}, "QOSMaxJobsPerUserLimit")}
    view = campaign_view(CampaignRecords("test", (facts.records(*asked),), ()), stuck, facts.NOW)
    said = "1 waiting, 2 over, stuck: QOSMaxJobsPerUserLimit"
    assert f"one: experiments: {said}" in status_formats.plain(view).splitlines()
    assert said in text(view)
    (session,) = json.loads(status_formats.as_json(view))["sessions"]
    assert session["experiments"] == {"waiting": 1, "running": 0, "over": 2, "stuck": "QOSMaxJobsPerUserLimit"}


def test_a_row_says_whether_its_seconds_are_a_score() -> None:
    accepted = facts.decided("0001", Outcome.ACCEPTED, 3.0)
    over = facts.confirmed("0002", "0001", Outcome.ACCEPTED, 2.5)
    made = replace(facts.records(state=SessionState.FINISHED), submissions=(accepted,))
    sessions = (made, replace(made, submissions=(accepted, over)))
    shown = text(campaign_view(CampaignRecords("test", sessions, ()), {}, facts.NOW), width=160, height=12)
    assert "3.00 accepted" in shown and "score 2.50" in shown and "0001 afresh, accepted" in shown


def test_json_has_every_figure(scene: test_desk.Scene) -> None:
    found = json.loads(status_formats.as_json(records(scene.config, scene.cluster).view()))
    (session,) = found["sessions"]
    assert session["submission"]["array"]["blocks_over"] == 4
    assert [run["index"] for run in session["submission"]["array"]["last"]] == [0, 1, 2, 3]
    assert (found["silence"], found["budget"]["limit"], session["budget"]["limit"]) == ("", None, 512)


def test_a_picture_needs_nothing_from_anywhere(scene: test_desk.Scene) -> None:
    view = records(scene.config, scene.cluster).view()
    drawn = status_formats.picture(view)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "other" in drawn and "@font-face" not in drawn and "url(http" not in drawn
    assert drawn == status_formats.picture(view), "the same to the byte"


def test_a_silent_scheduler_is_said_and_the_records_are_shown(scene: test_desk.Scene) -> None:
    scene.cluster.silent = True
    view = records(scene.config, scene.cluster).view()
    scene.cluster.silent = False
    assert view.silence == "sacct: connection refused"
    assert "no answer, so this is what the records say: sacct: connection refused" in text(view)
    (session,) = view.sessions
    assert session.submission and session.submission.array and session.submission.array.blocks_over == 4


def test_looking_changes_no_record(scene: test_desk.Scene) -> None:
    """Although a desk would settle here: its array is gone from the queue."""
    cluster = FakeCluster()

    def all_files() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in scene.paths.campaign.root.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = all_files()
    watching = records(scene.config, cluster)
    for _ in range(3):
        watching.view()
        time.sleep(0.05)
    assert all_files() == before


def test_one_session_by_its_name_and_else_all(config: Config) -> None:
    for name in ("one", "two"):
        begin(config, name)
    for session, names in (("two", ["two"]), ("", ["one", "two"])):
        view = records(config, FakeCluster(), session).view()
        assert [each.name for each in view.sessions] == names
    with pytest.raises(UsageError, match=r"none of that name in campaign .*: session=NAME of one, two"):
        records(config, FakeCluster(), "three")


def test_many_sessions_are_a_row_each(config: Config) -> None:
    for number in range(9):
        begin(config, f"s{number}", SessionState.FINISHED)
    begin(config, "s9")
    view = records(config, FakeCluster()).view()
    shown = text(view, height=30)
    assert shown.index(" s9 ") < shown.index(" s0 "), "what goes on comes first"
    assert "session=NAME shows one in full" in shown and len(shown.splitlines()) < 30
    assert all(f" s{number} " in shown for number in range(9))
    assert "session=NAME" not in text(view, height=100)
    assert not view.is_over


def test_a_session_that_begins_while_one_looks_is_shown(config: Config) -> None:
    begin(config, "one")
    watching = records(config, FakeCluster())
    assert len(watching.view().sessions) == 1
    begin(config, "two")
    assert len(watching.view().sessions) == 2


def test_one_looks_until_all_is_over_also_past_a_record_that_cannot_be_read(config: Config) -> None:
    paths = begin(config, "one")
    views = status._views(records(config, FakeCluster()))
    assert next(views).sessions[0].state == "running"
    whole = paths.session.read_text()
    paths.session.write_text("{")
    broken = next(views)
    assert broken.sessions[0].state == "running" and "is no Session record" in broken.silence
    paths.session.write_text(whole.replace('"running"', '"finished"'))
    assert [view.sessions[0].state for view in views] == ["finished"]


def test_a_calibration_that_is_timed_is_shown(classic: Config) -> None:
    scene = Calibrating(classic)
    view = records(classic, scene.cluster).view()
    (calibration,) = view.calibrations
    assert (calibration.array.blocks, calibration.array.pending) == (10, 10)
    assert f"calibration {'░' * 24} {calibration.name}: 0 of 10 blocks, 10 pending" in text(view)
    assert not view.is_over


def test_a_desk_that_is_gone_is_said(config: Config) -> None:
    paths = begin(config, "one")
    store.write(paths.desk_process, processes.identify(os.getpid()))
    assert records(config, FakeCluster()).view().sessions[0].state == "running"
    store.write(paths.desk_process, processes.identify(os.getpid()).model_copy(update={"created": 0.0}))
    view = records(config, FakeCluster()).view()
    assert view.sessions[0].state == "lost" and view.is_over
    assert "its desk is gone without a word; the same run command goes on" in text(view)


def test_this_host_is_not_asked_about_what_runs_on_another(config: Config) -> None:
    """It would take those processes for lost, and write that down."""
    paths = begin(config, "one")
    cluster = FakeCluster(by_hand=True)
    ledger = site.ledger_of(config, paths, cluster)
    ledger.run_to_queue("retiming", Job("array", paths.jobs, ["true"], 1, 1, 1, False, 1))
    (book,) = records(config, cluster)._open_all([paths])
    assert [job.name for job in status._to_be_asked_for(book)] == ["array"]
    elsewhere = ProcessIdentity(host="elsewhere", pid=1, created=0.0)
    store.write(paths.desk_process, elsewhere)
    assert status._to_be_asked_for(book) == []


def test_without_a_terminal_there_is_nothing_to_draw_on(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    begin(config, "one", SessionState.FINISHED)
    config.command = StatusCommand(format="live")
    with pytest.raises(UsageError, match="needs a terminal"):
        status.perform(config)
    config.command = StatusCommand()
    status.perform(config)
    assert capsys.readouterr().out.splitlines()[1] == "one: finished, scripted"


def test_only_the_end_of_a_trace_is_read(tmp_path: Path) -> None:
    """All of it would take longer than a test may."""
    trace = tmp_path / "agent_trace.txt"
    assert status.tail(trace) == ()
    with trace.open("wb") as stream:
        stream.truncate(2**42)
        stream.seek(0, os.SEEK_END)
        stream.write(b"first\n\nsecond \x1b[31m\xff\n" + "ä".encode() * 400)
    second, third = status.tail(trace)  # of the first line only a part was read
    assert second == "second \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
    assert third == "ä" * 300


class CountedSlurm(SlurmCluster):
    """Slurm's commands as a table of running jobs, and what they were asked."""

    def __init__(self, config: Config, questions: list[str]) -> None:
        self._config, self._questions = config.cluster, questions
        self._accounting = Sacct(self._ask)
        folder = Path(config.cluster.shared_poll)
        self._poll = SharedPoll(folder, config.cluster.poll_seconds, self._ask_for_all)

    def _ask(self, *argv: str) -> str:
        self._questions.append(argv[0])
        if argv[0] == "sacct":
            return "|".join(sacct.FIELDS) + "\n"
        (names,) = [arg.removeprefix("--name=") for arg in argv if arg.startswith("--name=")]
        return "".join(f"{name}|7_0|RUNNING|0:10|None\n" for name in names.split(","))


def test_many_views_and_desks_ask_the_scheduler_as_often_as_one_desk(config: Config, tmp_path: Path) -> None:
    config.cluster.poll_seconds, config.cluster.shared_poll = 0.2, str(tmp_path / "poll")
    desks = []
    for number in range(6):
        paths = begin(config, f"s{number}")
        ledger = site.ledger_of(config, paths, FakeCluster(by_hand=True))
        ledger.run_to_queue("session", Job(f"s{number}-session1", paths.jobs, ["true"], 1, 1, 1, False, 60))
        questions: list[str] = []
        desks.append((site.ledger_of(config, paths, CountedSlurm(config, questions)), questions))
    asked_by_views: list[str] = []
    views = [records(config, CountedSlurm(config, asked_by_views)) for _ in range(5)]
    everybody_looks(desks, views)
    for questions in (asked_by_views, *(each for _, each in desks)):
        questions.clear()
    began = time.monotonic()
    while time.monotonic() - began < 1:
        everybody_looks(desks, views)
    asked = [question for questions in (asked_by_views, *(each for _, each in desks)) for question in questions]
    most = 1 + (time.monotonic() - began) / (0.8 * 0.2)
    assert 1 <= asked.count("squeue") <= most
    assert asked.count("sacct") == asked.count("squeue")
    assert views[0].view().sessions[3].jobs[0].state == "running"


def everybody_looks(desks: Iterable[tuple[Ledger, list[str]]], views: Iterable[Records]) -> None:
    for ledger, _ in desks:
        ledger.settle_finished()
    for view in views:
        view.view()
