"""Experiments of an agent without GPUs: real runs of small programs, on a cluster in memory and on this machine."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.effects.containers import NoContainer
from slurm_bench.effects.local import LocalCluster
from slurm_bench.steps import budget, budget_formats, site, workspace
from slurm_bench.steps.experiments import Experiments, Site, waiting_of
from slurm_bench.words.accounting import JobState
from slurm_bench.words.config import Config
from slurm_bench.words.experiments import ExperimentNote
from slurm_bench.words.paths import SessionPaths
from tests import waiting
from tests.fake_cluster import FakeCluster

WRITES = """\
mkdir -p logs made/deeper
echo some > logs/one.txt; echo deep > made/deeper/two.txt
ln -s /etc/passwd link; mkfifo pipe; echo hidden > .hidden
cat text.txt; echo "on $(ls data | wc -l) folder of data"
"""


class Scene:
    """A session whose agent asks for each thing that it tries."""

    def __init__(self, config: Config, cluster: Cluster) -> None:
        config.agent.gpus = "experiments"
        config.cluster.poll_seconds = 0.01
        config.cluster.absent_grace_seconds = 0.1
        self.config, self.cluster = config, cluster
        self.paths = SessionPaths(config.session_dir)
        for folder in (self.paths.workspace, self.paths.experiments_outbox, self.paths.inbox):
            folder.mkdir(parents=True)
        (Path(config.task.data) / "fineweb10B").mkdir(parents=True, exist_ok=True)
        self.ledger = site.ledger_of(config, self.paths, cluster)
        self.desk = self.another_desk()

    def another_desk(self) -> Experiments:
        where = Site("id", self.cluster, NoContainer(), self.ledger)
        return Experiments(self.config, self.paths, where, workspace.mount(self.paths), clock=Hasty())

    def folder(self, name: str, launcher: str, **files: str) -> Path:
        folder = self.paths.workspace / "experiments" / name
        folder.mkdir(parents=True)
        (folder / "run.sh").write_text(launcher)
        for file, text in files.items():
            (folder / f"{file}.txt").write_text(text)
        return folder

    def ask(self, request: str, **asked: object) -> None:
        text = json.dumps({"version": 1, "id": request, **asked})
        (self.paths.experiments_outbox / f"{request}.json").write_text(text)

    def note(self, request: str) -> ExperimentNote:
        return store.read(self.paths.experiment_note(request), ExperimentNote)

    def after(self, request: str, ticks: int = 3) -> ExperimentNote:
        """How it stands once the desk has looked so often; the ledger is brought up to date as the meter does it."""
        for _ in range(ticks):
            self.desk.tick()
            self.ledger.settle_finished()
        return self.note(request)

    def until_over(self, request: str) -> ExperimentNote:
        waiting.until(lambda: self.after(request, 1).state == "over")
        return self.note(request)

    def output(self, note: ExperimentNote) -> str:
        file = self.paths.experiment_output(note.number)
        return file.read_text() if file.exists() else ""

    def left(self, note: ExperimentNote) -> dict[str, str]:
        root = self.paths.experiment_left(note.number)
        return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}


class Hasty:
    """A second passes between any two looks at it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 30, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(seconds=2)
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def scene(config: Config) -> Scene:
    return Scene(config, FakeCluster())


@pytest.fixture
def by_hand(config: Config) -> Scene:
    """Nothing runs before the test says so."""
    return Scene(config, FakeCluster(by_hand=True))


def test_it_runs_a_copy_and_gives_back_what_came_of_it(scene: Scene) -> None:
    folder = scene.folder("first", WRITES, text="hello\n")
    scene.ask("a1", path=str(folder), minutes=0.5)
    note = scene.after("a1")
    assert (note.state, note.number, note.exit_code, note.gpus) == ("over", "0001", 0, 1)
    assert scene.output(note) == "hello\non 1 folder of data\n"
    assert scene.left(note) == {"logs/one.txt": "some\n", "made/deeper/two.txt": "deep\n"}
    assert note.note == "3 files or folders of what it wrote were not kept"
    assert not (folder / "logs").exists(), "the agent's own folder is as it was"
    assert note.h100_hours == pytest.approx(1 / 3600, abs=1e-4)
    assert note.left_h100_hours == pytest.approx(512, abs=0.01)
    (entry,) = scene.ledger.entries()
    assert (entry.kind, entry.limit_s, entry.settled_at is not None) == ("experiment", 240, True)


def test_on_this_machine_its_output_is_there_before_its_end(config: Config) -> None:
    scene = Scene(config, LocalCluster(config.cluster, Path(config.runs) / "usage"))
    go = scene.paths.root / "go"
    folder = scene.folder("first", f"echo begun; until [ -e {go} ]; do sleep 0.05; done; echo done; exit 7")
    scene.ask("a1", path=str(folder))
    waiting.until(lambda: scene.after("a1").state == "running" and "begun" in scene.output(scene.note("a1")))
    go.touch()
    note = scene.until_over("a1")
    assert (note.exit_code, scene.output(note)) == (7, "begun\ndone\n")


@pytest.mark.parametrize(
    ("launcher", "minutes", "exit_code", "words"),
    [
        ("exit 9", 1, 9, ""),
        ("sleep 60", 0.005, 124, "ended after 0 s"),
        ("head -c 200000000 /dev/zero > big; sleep 60", 1, 1, "wrote more than 0.1 GiB"),
        ("kill -9 $$", 1, 137, ""),
    ],
)
def test_how_it_can_end(scene: Scene, launcher: str, minutes: float, exit_code: int, words: str) -> None:
    scene.ask("a1", path=str(scene.folder("first", launcher)), minutes=minutes)
    note = scene.after("a1")
    assert (note.state, note.exit_code) == ("over", exit_code), note
    assert words in note.note


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"path": "/etc"}, "is not a folder in"),
        ({"path": "{workspace}"}, "is not a folder in"),
        ({"path": "{workspace}/../seals"}, "is not a folder in"),
        ({"path": "{workspace}/experiments/none"}, "none is not a folder here"),
        ({"path": "{workspace}/experiments/first", "gpus": 2}, "--gpus 2: 1 to 1"),
        ({"path": "{workspace}/experiments/first", "gpus": 0}, "--gpus 0: 1 to 1"),
        ({"path": "{workspace}/experiments/first", "minutes": 61}, "60 at most"),
        ({"path": "{workspace}/experiments/first", "minutes": -1}, "more than 0"),
        ({"path": "{workspace}/experiments/linked"}, "links and special files are not allowed"),
        ({"path": "{workspace}/experiments/empty"}, "run.sh missing"),
    ],
)
def test_what_is_refused_queues_nothing(scene: Scene, asked: dict[str, object], words: str) -> None:
    scene.folder("first", "true")
    (scene.folder("linked", "true") / "passwd.txt").symlink_to("/etc/passwd")
    (scene.folder("empty", "", notes="x") / "run.sh").unlink()
    scene.ask("a1", **{**asked, "path": str(asked["path"]).format(workspace=scene.paths.workspace)})
    note = scene.after("a1")
    assert (note.state, note.exit_code) == ("over", 2) and words in note.note, note
    assert not scene.ledger.entries()


def test_the_budget_has_a_line_for_experiments_and_says_nothing_of_their_idle_time(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(config, LocalCluster(config.cluster, Path(config.runs) / "usage"))
    site.save_config(scene.paths, config)
    scene.ask("a1", path=str(scene.folder("first", "sleep 1.1")))
    scene.until_over("a1")
    found = budget.of_campaign(scene.paths.campaign)
    (account,) = found.accounts
    (line,) = account.lines
    assert (line.kind, line.attempts, line.idle_gpu_seconds) == ("experiment", 1, None)
    assert line.gpu_seconds > 0 and account.spent == line.h100_hours and account.idle_share is None
    budget_formats.print_csv(found)
    assert ",spent,experiment," in capsys.readouterr().out


def test_what_does_not_fit_the_budget_is_said_with_both_figures(scene: Scene) -> None:
    scene.config.budget.h100_hours = 0.01
    scene.ledger = site.ledger_of(scene.config, scene.paths, scene.cluster)
    scene.desk = scene.another_desk()
    scene.ask("a1", path=str(scene.folder("first", "true")))
    note = scene.after("a1")
    assert (note.state, note.exit_code, note.h100_hours) == ("over", 4, None)
    assert "may cost 0.092 H100-hours, and 0.010 are left" in note.note
    assert not scene.ledger.entries()


def test_more_than_may_run_at_once_wait_for_their_turn(by_hand: Scene) -> None:
    folder = by_hand.folder("first", "true")
    for number in range(6):
        by_hand.ask(f"a{number}", path=str(folder))
    by_hand.desk.tick()
    cluster = by_hand.cluster
    assert isinstance(cluster, FakeCluster) and len(cluster.queued) == 4
    assert len(waiting_of(by_hand.paths)) == 6
    cluster.end(cluster.queued[0].name, JobState.FAILED)
    by_hand.ledger.settle_finished()
    by_hand.desk.tick()
    by_hand.desk.tick()
    assert len(cluster.queued) == 5


def test_a_site_that_ends_its_job_is_named(by_hand: Scene) -> None:
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    assert by_hand.after("a1", 1).state == "waiting"
    cluster = by_hand.cluster
    assert isinstance(cluster, FakeCluster)
    cluster.end(cluster.queued[0].name, JobState.NODE_FAIL)
    note = by_hand.after("a1")
    assert (note.state, note.exit_code) == ("over", 3) and "NODE_FAIL" in note.note
    assert note.h100_hours == pytest.approx(1 / 3600, abs=1e-4), "what a dead node used is charged all the same"


def test_one_that_is_cancelled_is_over_and_another_sessions_is_not_touched(by_hand: Scene) -> None:
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.ask("c0", cancels="0002")
    by_hand.ask("c1", cancels="../one/0001")
    assert by_hand.after("a1").state == "waiting"
    assert sorted(path.name for path in by_hand.paths.experiments_outbox.iterdir()) == ["a1.json"], "both were taken"
    by_hand.ask("c2", cancels="0001")
    waiting.until(lambda: by_hand.after("a1").state == "over")
    assert (by_hand.note("a1").exit_code, by_hand.note("a1").note) == (130, "it was cancelled")


def test_a_desk_that_died_anywhere_goes_on_where_it_was(by_hand: Scene) -> None:
    cluster = by_hand.cluster
    assert isinstance(cluster, FakeCluster)
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    cluster.dying_after_queueing = True
    with pytest.raises(KeyboardInterrupt):
        by_hand.desk.tick()
    cluster.dying_after_queueing = False
    by_hand.desk = by_hand.another_desk()
    assert by_hand.after("a1").state == "waiting"
    assert len(cluster.queued) == 1, "it is found by its name, and not queued twice"
    cluster.end(cluster.queued[0].name, JobState.COMPLETED)
    by_hand.desk = by_hand.another_desk()
    assert by_hand.after("a1").state == "over"


def test_a_scheduler_that_is_silent_loses_nothing(by_hand: Scene) -> None:
    cluster = by_hand.cluster
    assert isinstance(cluster, FakeCluster)
    cluster.silent = True
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    assert by_hand.note("a1").state == "waiting" and not cluster.queued
    cluster.silent = False
    by_hand.after("a1", 4)
    assert len(cluster.queued) == 1


def test_the_end_of_a_session_ends_what_is_open(by_hand: Scene) -> None:
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    by_hand.desk.end()
    assert by_hand.note("a1").state == "over"
    assert all(entry.settled_at for entry in by_hand.ledger.entries())


def test_what_one_compiles_the_next_begins_with(scene: Scene) -> None:
    scene.config.task.caches = {"SOME_CACHE": "some"}
    compiles = 'mkdir -p "$SOME_CACHE"; ls "$SOME_CACHE"; date +%N > "$SOME_CACHE/kernel"'
    for request in ("a1", "a2"):
        scene.ask(request, path=str(scene.folder(request, compiles)))
        scene.after(request)
    assert [scene.output(scene.note(request)) for request in ("a1", "a2")] == ["", "kernel\n"]


def test_it_waits_while_all_that_it_queued_does(by_hand: Scene) -> None:
    assert not by_hand.desk.all_wait_for_gpus()
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    assert by_hand.desk.all_wait_for_gpus()
