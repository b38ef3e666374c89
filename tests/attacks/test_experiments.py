"""Attacks on experiments: by an agent's requests, and by the programs that run as one.

Each docstring names the attack and the defence. None needs Slurm or Apptainer: requests are the desk's matter, and what
a program does is looked at by the runner outside its container. What only these hold back is attacked in other files.
"""

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

import psutil
import pytest

from slurm_bench.effects import caches, leftovers, seals, store
from slurm_bench.effects.cluster import Job
from slurm_bench.effects.containers import NoContainer
from slurm_bench.effects.local import LocalCluster
from slurm_bench.pure.budget import h100_hours, held_gpu_seconds
from slurm_bench.steps import experiment, site, trial, workspace
from slurm_bench.steps.experiments import Experiments, Site, waiting_of
from slurm_bench.steps.mail import Mail
from slurm_bench.steps.meter import Meter
from slurm_bench.steps.outbox import Outbox
from slurm_bench.steps.retime import Retimer, Timing
from slurm_bench.words.accounting import JobState
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BudgetExceeded, SchedulerError
from slurm_bench.words.experiments import Experiment, ExperimentPlan, ExperimentRequest
from slurm_bench.words.paths import RetimingPaths
from tests import waiting
from tests.fake_cluster import FakeCluster
from tests.steps.test_experiments import Hasty, Scene
from tests.steps.test_meter import SetClock

MOST_AN_HOUR = 240


class Watched(FakeCluster):
    """It tells what was cancelled. By hand, nothing runs before the test says so."""

    def __init__(self, by_hand: bool = False) -> None:
        super().__init__(by_hand=by_hand)
        self.cancelled_names: list[str] = []

    def cancel(self, name: str) -> None:
        self.cancelled_names.append(name)
        super().cancel(name)


class Door(Scene):
    def __init__(self, config: Config, cluster: Watched) -> None:
        self.watched = cluster
        super().__init__(config, cluster)

    def desk_with(self, clock: SetClock | Hasty) -> Experiments:
        where = Site("id", self.cluster, NoContainer(), self.ledger)
        return Experiments(self.config, self.paths, where, workspace.mount(self.paths), clock=clock)

    def with_budget(self, h100_hours: float) -> None:
        self.config.budget.h100_hours = h100_hours
        self.ledger = site.ledger_of(self.config, self.paths, self.cluster)
        self.desk = self.another_desk()

    def plan(self, number: str) -> ExperimentPlan:
        return store.read(self.paths.experiment(number).plan, ExperimentPlan)

    def run_by_hand(self, number: str) -> None:
        experiment.main(str(self.paths.experiment(number).plan), "0")
        self.watched.end(f"slurm_bench-id-experiment{number}", JobState.COMPLETED)

    def kept_caches(self) -> set[str]:
        return {path.parent.name for path in self.paths.experiments.rglob("caches.tar.gz")}

    def answered(self) -> int:
        return len(list(self.paths.experiments_inbox.glob("*.json")))

    def waiting_names(self) -> list[str]:
        return sorted(path.name for path in self.paths.experiments_outbox.iterdir())

    def held(self) -> float:
        return sum(h100_hours(held_gpu_seconds(each), each.weight) for each in self.ledger.entries())

    def runs(self, launcher: str, request: str = "a1", **asked: object) -> None:
        self.ask(request, path=str(self.folder(request, launcher)), **{"minutes": 1, **asked})
        assert self.after(request).state == "over", self.note(request)


@pytest.fixture
def clean_outbox() -> None:
    """Each test has an outbox of its own here."""


@pytest.fixture
def door(config: Config) -> Door:
    return Door(config, Watched())


@pytest.fixture
def by_hand(config: Config) -> Door:
    return Door(config, Watched(by_hand=True))


# --- requests


def test_a_flood_of_requests(door: Door) -> None:
    """Attack: requests without end, each wrong, so that each is answered at once: notes, records, lines of the log.

    Defence: only so many are answered in an hour, whatever is wrong with them, and none that is refused gets a number.
    """
    clock = SetClock()
    door.desk = door.desk_with(clock)
    bad = door.folder("empty", "", notes="x")
    (bad / "run.sh").unlink()
    for wave in range(MOST_AN_HOUR // 16 + 3):
        for number in range(16):
            door.ask(f"w{wave}n{number}", path=str(bad))
        door.desk.tick()
    assert door.answered() == MOST_AN_HOUR
    assert len(door.waiting_names()) == 16, "what has its last answer is gone, and no more than 16 wait"
    assert not list(door.paths.experiments.glob("*")) and not door.ledger.entries()
    clock.sleep(3601)
    door.desk.tick()
    assert door.answered() == MOST_AN_HOUR + 16


def test_a_flood_of_cancels(by_hand: Door) -> None:
    """Attack: one experiment cancelled again and again, each time a question to the scheduler that takes a while.

    Defence: each is cancelled once between two looks at the cluster; all such requests are taken away.
    """
    by_hand.desk = by_hand.desk_with(SetClock())
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    for wave in range(5):
        for number in range(15):
            by_hand.ask(f"c{wave}n{number}", cancels="0001")
        by_hand.desk.tick()
    assert by_hand.watched.cancelled_names == ["slurm_bench-id-experiment0001"]
    assert by_hand.waiting_names() == ["a1.json"]


ODD_BODIES = [
    '{"version":1,"id":"%s","path":"PATH","minutes":NaN}',
    '{"version":1,"id":"%s","path":"PATH","minutes":Infinity}',
    '{"version":1,"id":"%s","path":"PATH","minutes":1e999}',
    '{"version":1,"id":"%s","path":"PATH","minutes":1e308}',
    '{"version":1,"id":"%s","path":"PATH","minutes":-0.0}',
    '{"version":1,"id":"%s","path":"PATH","minutes":-5e-324}',
    '{"version":1,"id":"%s","path":"PATH","gpus":1e308}',
    '{"version":1,"id":"%s","path":"PATH","gpus":-1}',
    '{"version":1,"id":"%s","path":"PATH","gpus":' + "9" * 4300 + "}",
    '{"version":1,"id":"%s","path":"PATH","gpus":"all"}',
    '{"version":1,"id":"%s","path":"PATH","gpus":1.5}',
    '{"version":1,"id":"%s","path":["PATH"]}',
    '{"version":1,"id":"%s","path":"PATH","number":"0001"}',
    '{"version":1,"id":"%s","path":"' + "x" * 8000 + '"}',
    '{"version":1,"id":"%s","path":"PATH\\u0000"}',
    '{"version":1,"id":"%s","path":"PATH\\ud800"}',
    '{"version":1,"id":"%s","path":"PATH","cancels":"' + "1" * 8000 + '"}',
    '{"version":1,"id":"%s","path":' + "[" * 7000 + "]" * 7000 + "}",
    '{"version":1,"id":"other%s","path":"PATH"}',
    '{"version":2,"id":"%s","path":"PATH"}',
    "[1]",
    "",
    "\x00" * 100,
]


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_odd_requests(by_hand: Door, body: str) -> None:
    """Attack: numbers without end or sense, paths no system takes, trees that no parser comes back from.

    Defence: a strict record with bounds; what is none is dropped, what is out of bounds refused, and neither queues.
    """
    folder = by_hand.folder("first", "true")
    text = body.replace("%s", "odd").replace("PATH", str(folder))
    (by_hand.paths.experiments_outbox / "odd.json").write_text(text)
    by_hand.ask("good", path=str(folder))
    assert by_hand.after("good").state == "waiting"
    assert [job.name for job in by_hand.watched.queued] == ["slurm_bench-id-experiment0001"]
    assert by_hand.waiting_names() == ["good.json"]
    assert Mail(by_hand.paths).unanswered() == {"good"}
    for note in by_hand.paths.experiments_inbox.glob("*.json"):
        assert note.stat().st_size < 10_000
        shown = json.loads(note.read_text())
        assert isinstance(shown["minutes"], int | float), "which the shim prints as a number"


@pytest.mark.parametrize("minutes", [1e-300, 5e-324, 0.001, True])
def test_a_reservation_of_nothing(by_hand: Door, minutes: float) -> None:
    """Attack: so few minutes that nothing is reserved, or less.

    Defence: whole minutes, rounded up, and what the runner takes beside; never less than that.
    """
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")), minutes=minutes)
    by_hand.desk.tick()
    (entry,) = by_hand.ledger.entries()
    assert entry.limit_s == 240 and entry.reserved_gpu_seconds >= 240 * entry.gpus > 0


def test_what_is_no_request(by_hand: Door) -> None:
    """Attack: links to the host's files, pipes that are waited for, sockets, endless files and folders, odd names.

    Defence: only a plain file of a plain name is read, and only its first bytes; all else is removed, unfollowed.
    """
    outbox, secret = by_hand.paths.experiments_outbox, by_hand.paths.root / "secret.json"
    folder = by_hand.folder("first", "true")
    secret.write_text(json.dumps({"version": 1, "id": "linked", "path": str(folder)}))
    (outbox / "linked.json").symlink_to(secret)
    os.mkfifo(outbox / "pipe.json")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(outbox)
        listener.bind("socket.json")
        os.chdir(here)
    with (outbox / "huge.json").open("wb") as huge:
        huge.truncate(2**40)
    deep = outbox / "deep.json"
    deep.mkdir()
    (deep / "file").touch()
    for name in ("new\nline.json", "json.json.json", "a b.json", "*.json", "0001,0002.json", "x" * 200 + ".json"):
        (outbox / name).write_text("{}")
    (outbox / os.fsdecode(b"\xff\xfe.json")).write_text("{}")
    by_hand.ask("good", path=str(folder))
    assert by_hand.after("good", 5).state == "waiting"
    assert by_hand.waiting_names() == ["good.json"]
    assert secret.exists() and len(by_hand.watched.queued) == 1


def test_an_outbox_that_is_full(tmp_path: Path) -> None:
    """Attack: so many files that each look at them takes seconds, in which nobody watches the agent or its runs.

    Defence: so many names are looked at in one call; as junk is removed, what lies behind it comes to its turn.
    """
    for number in range(5000):
        (tmp_path / f"a{number}.json").touch()
    looked: set[str] = set()

    def is_answered(name: str) -> bool:
        looked.add(name)
        return False

    outbox = Outbox(tmp_path, ExperimentRequest, is_answered)
    outbox.waiting()
    assert len(looked) <= 2000
    for _ in range(200):
        outbox.waiting()
    assert not list(tmp_path.iterdir())


def test_an_outbox_that_is_closed(by_hand: Door) -> None:
    """Attack: take all permissions from the folder that the desk reads, at any moment.

    Defence: its user is ours, so the desk opens it again.
    """
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.paths.experiments_outbox.chmod(0)
    assert by_hand.after("a1").state == "waiting"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("{w}/experiments/first/../../../seals", "is not a folder in"),
        ("{w}/experiments/./first/..", "is not a folder in"),
        ("{w}x/first", "is not a folder in"),
        ("experiments/first", "is not a folder in"),
        ("", "is not a folder in"),
        ("{w}/data", "data is not a folder here (or is a link)"),
        ("{w}/data/fineweb10B", "data is not a folder here (or is a link)"),
        ("{w}/.git", "no hidden files"),
        ("{w}/experiments/lead/first", "lead is not a folder here (or is a link)"),
        ("{w}/experiments/new\nline", "names are letters"),
        ("{w}/RULES.md", "is not a folder here"),
        ("{w}/" + "a/" * 400, "is not a folder here"),
        ("{w}/experiments/shadowing", "sitecustomize.py may not be brought along"),
    ],
)
def test_paths_that_lead_elsewhere(by_hand: Door, path: str, words: str) -> None:
    """Attack: .., links in the middle, the data, what is hidden, names with line ends.

    Defence: judged by its text, then opened part by part without following a link; plain names only.
    """
    by_hand.folder("first", "true")
    (by_hand.folder("shadowing", "true") / "sitecustomize.py").write_text("")
    work = by_hand.paths.workspace
    (work / "data").symlink_to(by_hand.config.task.data)
    (work / "experiments/lead").symlink_to(work / "experiments")
    (work / ".git").mkdir()
    (work / "RULES.md").write_text("rules")
    by_hand.ask("a1", path=path.format(w=work))
    note = by_hand.after("a1")
    assert (note.state, note.exit_code) == ("over", 2) and words in note.note, note
    assert not by_hand.ledger.entries()


def test_a_folder_that_changes_meanwhile(door: Door) -> None:
    """Attack: ask for one folder, and change it, or put a link in its place, before its job begins.

    Defence: what was sealed is what runs, by its hash; the request names a path only until then.
    """
    door.watched.by_hand = True
    folder = door.folder("first", "echo sealed")
    door.ask("a1", path=str(folder))
    door.desk.tick()
    (folder / "run.sh").write_text("echo changed")
    folder.rename(folder.with_name("aside"))
    folder.symlink_to("/etc")
    experiment.main(str(door.paths.experiment("0001").plan), "0")
    assert door.output(door.note("a1")) == "sealed\n"


def test_a_seal_that_was_changed(door: Door) -> None:
    """Attack: change the sealed copy itself, as only what breaks out could.

    Defence: the runner hashes it before it begins; nothing runs.
    """
    door.watched.by_hand = True
    door.ask("a1", path=str(door.folder("first", "echo sealed")))
    door.desk.tick()
    sealed = Path(door.plan("0001").run.arms[0].seal_dir)
    sealed.chmod(0o755)
    (sealed / "run.sh").chmod(0o644)
    (sealed / "run.sh").write_text("echo changed")
    door.run_by_hand("0001")
    note = door.after("a1")
    assert (note.exit_code, door.output(note)) == (3, "") and "was changed after it was taken" in note.note


def test_one_id_twice(by_hand: Door) -> None:
    """Attack: an id that is open, or was answered, with another path; an id that a submission has.

    Defence: an id is one request, whose first path counts; submissions have folders of their own on both ways.
    """
    first, second = by_hand.folder("first", "true"), by_hand.folder("second", "true")
    (by_hand.paths.outbox).mkdir(exist_ok=True)
    (by_hand.paths.outbox / "a1.json").write_text(json.dumps({"version": 1, "id": "a1", "path": "submissions/x"}))
    by_hand.ask("a1", path=str(first))
    by_hand.desk.tick()
    by_hand.ask("a1", path=str(second), gpus=1)
    by_hand.after("a1")
    by_hand.watched.end("slurm_bench-id-experiment0001", JobState.COMPLETED)
    assert by_hand.after("a1").state == "over"
    by_hand.ask("a1", path=str(second))
    by_hand.after("a1")
    by_hand.desk = by_hand.another_desk()
    by_hand.after("a1")
    assert by_hand.note("a1").path == str(first) and len(by_hand.watched.queued) == 1
    assert waiting_of(by_hand.paths) == set()
    assert (by_hand.paths.outbox / "a1.json").exists() and not by_hand.paths.verdict_in_inbox("a1").exists()


@pytest.mark.parametrize(
    "number",
    [
        "0002",
        "1",
        "*",
        "000?",
        "0001,slurm_bench-id-0001",
        "session1",
        "../0001",
        "--user=root",
        "experiment0001",
        "\u0660\u0660\u0660\u0661",
    ],
)
def test_cancelling_a_stranger(by_hand: Door, number: str) -> None:
    """Attack: cancel the session's own job, a submission's runs, another session's experiment, by an odd number.

    Defence: a number is looked up among the open experiments of this session, and the job's name is the desk's own.
    """
    for name in ("slurm_bench-id-session1", "slurm_bench-id-0001", "slurm_bench-other-experiment0002"):
        by_hand.watched.submit(Job(name, by_hand.paths.jobs, ["true"], 1, 0, 1, False, 1))
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    by_hand.ask("c1", cancels=number)
    by_hand.after("a1")
    assert by_hand.watched.cancelled_names == [] and by_hand.note("a1").state == "waiting"
    by_hand.ask("c2", cancels="0001")
    by_hand.after("a1")
    assert by_hand.watched.cancelled_names == ["slurm_bench-id-experiment0001"], "which no submission is called"


def test_cancelling_what_is_not_queued_yet(by_hand: Door) -> None:
    """Attack: one is cancelled while sbatch gives no answer; it is queued later, and runs although it was cancelled.

    Defence: it is over at once, so that it is never queued; a restarted desk knows that too.
    """
    by_hand.watched.unheard = True
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    by_hand.ask("c1", cancels="0001")
    by_hand.after("a1", 1)
    assert (by_hand.note("a1").state, by_hand.note("a1").exit_code) == ("over", 130)
    by_hand.watched.unheard = False
    by_hand.desk = by_hand.another_desk()
    by_hand.after("a1", 5)
    assert not by_hand.watched.queued


# --- money and time


def test_many_small_ones(by_hand: Door) -> None:
    """Attack: many experiments, each of which fits what is left, and together more.

    Defence: each worst case is reserved, under one lock, before its job is queued.
    """
    by_hand.config.agent.experiments_at_once = 20
    by_hand.with_budget(0.4)
    folder = by_hand.folder("first", "true")
    for number in range(12):
        by_hand.ask(f"a{number}", path=str(folder), minutes=1)
    by_hand.after("a0")
    refused = [number for number in range(12) if by_hand.note(f"a{number}").exit_code == 4]
    assert 0 < len(by_hand.watched.queued) == 12 - len(refused) < 12
    assert by_hand.held() <= 0.4


def test_between_a_submissions_check_and_its_reservation(by_hand: Door) -> None:
    """Attack: let a submission find enough, and take it for an experiment before its runs are reserved.

    Defence: the reservation itself asks again; it is the submission that does not fit, and nothing is spent twice.
    """
    by_hand.with_budget(0.2)
    job = Job("slurm_bench-id-0001", by_hand.paths.jobs, ["true"], 1, 1, 1, False, 7)
    assert by_hand.ledger.balances().exceeded("retiming", 0.15) is None, "the check"
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")), minutes=1)
    by_hand.desk.tick()
    with pytest.raises(BudgetExceeded):
        by_hand.ledger.run_to_queue("retiming", job)
    assert by_hand.held() <= 0.2


def test_a_desk_that_does_not_wait_for_an_answer(by_hand: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: ask while sbatch gives no answer, so that the desk waits, and nobody watches the agent or its runs.

    Defence: what may have been queued is left to the ledger, which finds or releases it by the way.
    """
    waits: list[float] = []
    monkeypatch.setattr(by_hand.ledger._clock, "sleep", waits.append)
    by_hand.watched.unheard = True
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    for _ in range(4):
        by_hand.desk.tick()
    assert by_hand.ledger.entries() and by_hand.note("a1").state == "waiting" and not waits
    by_hand.watched.unheard = False
    waiting.until(lambda: bool(by_hand.after("a1", 1)) and len(by_hand.watched.queued) == 1)


def test_more_at_once_than_is_allowed(by_hand: Door) -> None:
    """Attack: ask beyond experiments_at_once by new desks, cancelled ones, ids again.

    Defence: what is open counts until its job is settled, whatever desk queued it.
    """
    folder = by_hand.folder("first", "true")
    for number in range(8):
        by_hand.ask(f"a{number}", path=str(folder))
    for _ in range(3):
        by_hand.desk.tick()
        by_hand.desk = by_hand.another_desk()
    assert len(by_hand.watched.queued) == 4


def test_a_clock_that_stands_still_for_ever(by_hand: Door) -> None:
    """Attack: something queued that waits on purpose, so that the agent's hours never end; also across desks.

    Defence: so many hours in all, added up on disk before they count for the next look.
    """
    config, clock = by_hand.config, SetClock()
    config.agent.hours, config.agent.waiting_hours, config.cluster.poll_seconds = 1.0, 2.0, 60.0
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    began, looks = clock.now(), 0
    meter = Meter(config, by_hand.paths, by_hand.ledger, waits=by_hand.desk.all_wait_for_gpus, clock=clock)
    while clock.now() < meter.deadline:
        clock.sleep(61)
        meter.read()
        looks += 1
        assert looks < 1000
        if looks % 7 == 0:
            meter = Meter(config, by_hand.paths, by_hand.ledger, waits=by_hand.desk.all_wait_for_gpus, clock=clock)
    assert clock.now() - began <= timedelta(hours=3, minutes=2)


def test_the_end_queues_nothing(by_hand: Door) -> None:
    """Attack: have requests wait for a silent sbatch when the agent ends; queued then, nobody would end them.

    Defence: what is not queued by then never is, and what may have been is cancelled by its name.
    """
    folder = by_hand.folder("first", "true")
    by_hand.watched.unheard = True
    by_hand.ask("a1", path=str(folder))
    by_hand.desk.tick()
    by_hand.watched.unheard = False
    by_hand.desk.end()
    by_hand.desk = by_hand.another_desk()
    by_hand.desk.end()
    assert not by_hand.watched.queued and not by_hand.ledger.entries()
    assert (by_hand.note("a1").state, by_hand.note("a1").exit_code) == ("over", 130)


# --- the desk


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), RuntimeError("a defect")])
def test_what_goes_wrong_is_no_verdict_and_no_end(
    by_hand: Door, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: make the desk meet what it does not expect, e.g. a closed workspace, while it awaits a verdict.

    Defence: a tick raises nothing, and those that are queued are followed all the same.
    """
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(seals, "seal", fails)
    by_hand.watched.end("slurm_bench-id-experiment0001", JobState.COMPLETED)
    by_hand.ask("a2", path=str(by_hand.folder("second", "true")))
    assert by_hand.after("a1", 5).state == "over"
    if isinstance(error, OSError):
        assert (by_hand.note("a2").exit_code, by_hand.note("a2").note) == (
            2,
            "experiments/second cannot be copied: Permission denied",
        )


@pytest.mark.parametrize("dies_at", range(7))
def test_a_desk_that_dies_between_any_two_records(by_hand: Door, dies_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: when the desk dies, take the request and the folder away before the next one looks.

    Defence: one record takes an experiment up, with its seal in it; whatever comes after can be done again from it.
    """
    folder = by_hand.folder("first", "true")
    by_hand.ask("a1", path=str(folder))
    writes, write = iter(range(100)), store.write

    def dying(path: Path, record: object) -> None:
        if next(writes) == dies_at:
            raise KeyboardInterrupt
        write(path, record)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", dying)
        try:
            by_hand.desk.tick()
        except KeyboardInterrupt:
            pass
        else:
            assert next(writes) <= dies_at
    (folder / "run.sh").unlink()
    (by_hand.paths.experiments_outbox / "a1.json").unlink()
    by_hand.desk = by_hand.another_desk()
    by_hand.ask("a2", path=str(by_hand.folder("second", "true")))
    by_hand.after("a2", 4)
    taken_up = list(by_hand.paths.experiments.glob("*/experiment.json"))
    assert len(by_hand.watched.queued) == len({job.name for job in by_hand.watched.queued}) == len(taken_up)
    assert by_hand.note("a2").state == "waiting"
    assert len(taken_up) == 1 or by_hand.note("a1").state == "waiting"


def test_thousands_of_past_experiments(by_hand: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: so many experiments that each look reads them all, and the desk that watches the agent comes to nothing.

    Defence: a desk reads them once, when it begins; from then on a tick reads what is open.
    """
    folder = by_hand.folder("first", "true")
    by_hand.ask("a0", path=str(folder))
    by_hand.desk.tick()
    model = store.read(by_hand.paths.experiment("0001").experiment, Experiment)
    for number in range(2, 202):
        one = model.model_copy(update={"number": f"{number:04}", "request": f"old{number}"})
        store.write_text(by_hand.paths.experiment(one.number).experiment, one.model_dump_json())
        over = by_hand.note("a0").model_copy(update={"number": one.number, "request": one.request, "state": "over"})
        store.write_text(by_hand.paths.experiment_note(one.request), over.model_dump_json())
    by_hand.desk = by_hand.another_desk()
    reads, read = [], store.read

    def counting(path: Path, kind: type) -> object:
        reads.append(path)
        return read(path, kind)

    monkeypatch.setattr(store, "read", counting)
    by_hand.ask("a1", path=str(folder))
    by_hand.desk.tick()
    by_hand.desk.tick()
    assert by_hand.note("a1").number == "0202"
    assert len(reads) < 60


# --- programs


def test_output_without_end(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: print until the disk is full.

    Defence: so many bytes are kept; who prints more finds its output closed.
    """
    monkeypatch.setattr(trial, "MAX_OUTPUT", 100_000)
    door.runs("yes; echo went on >&2; exit 5")
    assert door.paths.experiment_output("0001").stat().st_size == 100_000
    assert door.note("a1").exit_code != 0


def test_a_great_many_small_outputs(door: Door) -> None:
    """No attack: a program that prints a line at a time is not ended for it."""
    door.runs("for i in $(seq 3000); do echo $i; if ((i % 10 == 0)); then sleep 0.001; fi; done; exit 7")
    assert door.note("a1").exit_code == 7
    assert door.output(door.note("a1")).splitlines()[-1] == "3000"


def test_output_that_steers_a_terminal(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Attack: colours, titles and line ends in what is printed or in names, for whoever reads log, status or notes.

    Defence: only the agent's own inbox has them; the log and the notes have codes, numbers and plain names.
    """
    caplog.set_level(logging.DEBUG)
    door.config.task.caches = {"SOME_CACHE": "some"}
    door.runs(
        r"printf '\033]0;title\007\033[2J'; touch $'od\033d\nname'; mkdir -p $SOME_CACHE; touch $SOME_CACHE/$'x\033y'"
    )
    door.ask("a2", path=f"{door.paths.workspace}/experiments/\x1b[2J\nfaked line")
    door.after("a2")
    assert "\x1b" in door.output(door.note("a1"))
    assert "\x1b" not in caplog.text and "\nfaked" not in caplog.text
    assert "\x1b" not in door.note("a1").note and "\x1b" not in door.note("a2").note


def test_one_that_never_ends(door: Door) -> None:
    """Attack: ignore every signal, fork, and leave processes in sessions of their own.

    Defence: the runner's own clock; the family is killed, and then whatever still holds on to the scratch folder.
    """
    mark = f"4{os.getpid()}"
    door.runs(
        f"trap '' TERM HUP INT; (setsid sleep {mark} &) ; (trap '' TERM; sleep {mark}) & sleep {mark}", minutes=0.01
    )
    assert door.note("a1").exit_code == 124
    assert not [each for each in psutil.process_iter(["cmdline"]) if mark in (each.info["cmdline"] or [])]
    assert not list(Path(door.config.cluster.scratch).glob("slurm_bench-trial-*/"))


HARD_TO_COPY = r"""
ln /bin/true hard 2>/dev/null || { echo x > one; ln one hard; }
echo x > one; ln one two
ln -s /etc/shadow shadow; ln -s / root; mkfifo pipe; truncate -s 3T sparse
python3 -c "
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind('socket')
open(b'\xff\xfe', 'w'); open('new\nline', 'w'); open('-rf', 'w')
here = os.getcwd()
for n in range(3000):
    os.mkdir('d'); os.chdir('d')
"
echo kept > kept.txt
"""


def test_files_that_are_hard_to_copy(door: Door) -> None:
    """Attack: links to the host's files, pipes, sockets, terabytes of nothing, folders without end, odd names.

    Defence: plain files with one name, so many and so large, so deep; all else is passed over, and counted.
    """
    door.runs(HARD_TO_COPY)
    note = door.note("a1")
    assert note.exit_code == 0 and door.left(note) == {"kept.txt": "kept\n"}, note
    assert "were not kept" in note.note
    assert not list(Path(door.config.cluster.scratch).glob("slurm_bench-trial-*/"))


def test_files_without_number(door: Door) -> None:
    """Attack: fill the inbox with files and folders.

    Defence: a thousand files are copied, and folders only for them.
    """
    door.runs("mkdir a b; for i in $(seq 1500); do : > a/$i; done; for i in $(seq 500); do mkdir b/$i; done")
    left = door.paths.experiment_left("0001")
    assert len([path for path in left.rglob("*") if path.is_file()]) == 1000
    assert not (left / "b").exists()


def test_a_file_that_grows_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a process that outlives its end makes a file larger once it was found small enough.

    Defence: what it had when it was looked at is copied at most.
    """
    source, fstat = tmp_path / "run", os.fstat
    source.mkdir()
    (source / "grows").write_text("small")

    def then_it_grows(handle: int) -> os.stat_result:
        facts = fstat(handle)
        os.truncate(source / "grows", 2**30)
        return facts

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", then_it_grows)
        done = leftovers.copy(source, tmp_path / "left")
    assert done == leftovers.Copied(1, 0) and (tmp_path / "left/grows").read_text() == "small"


def test_a_scratch_folder_that_is_gone(door: Door) -> None:
    """Attack: remove or close the very folder that is looked at afterwards, so that the runner dies of it.

    Defence: the exit code is written down first; what cannot be read is not kept, and that is said.
    """
    door.runs('echo x > made; cd /; rm -rf "$OLDPWD"; exit 6')
    note = door.note("a1")
    assert (note.exit_code, note.note) == (6, "what it wrote is not kept: No such file or directory")


def test_a_runner_that_is_ended_while_it_tidies_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: leave so much that copying it outlasts the job, so that the site is blamed and the archive lies about.

    Defence: the exit code is written down before; what was half packed goes with the next look.
    """
    door.config.task.caches = {"SOME_CACHE": "some"}

    def killed(folder: Path, archive: Path, limits: object) -> None:
        archive.with_name(f".{archive.name}.half").write_bytes(b"x" * 1000)
        raise KeyboardInterrupt

    monkeypatch.setattr(caches, "pack", killed)
    door.watched.by_hand = True
    door.ask("a1", path=str(door.folder("a1", 'mkdir -p "$SOME_CACHE"; echo > $SOME_CACHE/x; exit 8')))
    door.desk.tick()
    with pytest.raises(KeyboardInterrupt):
        experiment.main(str(door.paths.experiment("0001").plan), "0")
    door.watched.end("slurm_bench-id-experiment0001", JobState.TIMEOUT)
    assert door.after("a1").exit_code == 8
    assert not list(door.paths.experiments.rglob("*.half"))


# --- caches

BREAKS_CACHES = [
    ("ln -s /etc/passwd $C/link", "no regular file|cannot be read"),
    ("ln -s / $C/folder", "is a link"),
    ("mkfifo $C/pipe", "no regular file|cannot be read"),
    ("echo > $C/a; ln $C/a $C/b", "no regular file"),
    ("touch $C/$'new\\nline'", "a file is called"),
    ("mkdir -p $C/$(seq -s / 40)", "nest deeper"),
    ("truncate -s 2T $C/sparse", "more than"),
    ("head -c 60000000 /dev/urandom > $C/large", "more than"),
]


@pytest.mark.parametrize(("script", "words"), BREAKS_CACHES, ids=range(len(BREAKS_CACHES)))
def test_caches_that_break_the_next(door: Door, script: str, words: str) -> None:
    """Attack: leave in the caches what leads out, never ends, or leaves the next experiment no room.

    Defence: they are packed as warily as a candidate, up to half of the scratch; else the next begins as this did.
    """
    door.config.task.caches = {"SOME_CACHE": "some"}
    door.config.task.trial_gigabytes = 0.1
    door.runs('mkdir -p "$SOME_CACHE"; echo good > $SOME_CACHE/kernel', "a1")
    door.runs(f'C="$SOME_CACHE"; {script}', "a2")
    assert re.search(words, door.note("a2").note), door.note("a2")
    door.runs('ls "$SOME_CACHE"', "a3")
    assert (door.note("a3").exit_code, door.output(door.note("a3"))) == (0, "kernel\n")


def test_caches_that_were_changed(door: Door) -> None:
    """Attack: change the archive, as only what breaks out could.

    Defence: its hash; nothing is unpacked, and nothing runs with it.
    """
    door.config.task.caches = {"SOME_CACHE": "some"}
    door.runs('mkdir -p "$SOME_CACHE"; echo good > $SOME_CACHE/kernel', "a1")
    archive = door.paths.experiment("0001").caches
    archive.chmod(0o644)
    archive.write_bytes(b"changed")
    door.runs('ls "$SOME_CACHE"', "a2")
    assert (door.note("a2").exit_code, door.output(door.note("a2"))) == (3, "")
    assert "are not as they were packed" in door.note("a2").note


def test_caches_that_pile_up(door: Door) -> None:
    """Attack: keep one experiment open for ever, so that what all others compiled is never removed.

    Defence: at each look the newest caches stay, and those that an open experiment begins with.
    """
    door.config.task.caches = {"SOME_CACHE": "some"}
    compiles = 'mkdir -p "$SOME_CACHE"; date +%N > "$SOME_CACHE/$RANDOM$RANDOM"'
    door.runs(compiles, "a1")
    door.watched.by_hand = True
    door.ask("long", path=str(door.folder("long", "true")))
    door.after("long")
    for number in ("0003", "0004", "0005"):
        door.ask(f"b{number}", path=str(door.folder(number, compiles)))
        door.desk.tick()
        door.run_by_hand(number)
        assert door.after(f"b{number}").state == "over"
    assert door.kept_caches() == {"0001", "0005"}, "the newest, and what the one that waits begins with"
    door.run_by_hand("0002")
    door.after("long")
    assert door.kept_caches() == {"0005"}


def test_a_timed_run_never_begins_with_them(door: Door) -> None:
    """Attack: prepare, in experiments, what a timed run of the same bytes would find compiled, or remembered.

    Defence: a timed run begins with what its own decoy run left, or with nothing; no plan of one names an experiment.
    """
    door.config.task.caches = {"SOME_CACHE": "some"}
    folder = door.folder("a1", 'mkdir -p "$SOME_CACHE"; echo state > $SOME_CACHE/kernel')
    (folder / "train_gpt.py").write_text("")
    door.ask("a1", path=str(folder))
    door.after("a1")
    assert door.kept_caches() == {"0001"}
    sealed = seals.seal(door.paths.workspace, PurePosixPath("experiments/a1"), door.paths.seals)
    assert sealed == door.plan("0001").run.arms[0].seal, "the same bytes"
    retimer = Retimer(door.config, door.paths.seals, "id", door.cluster, NoContainer(), door.ledger)
    where = RetimingPaths(door.paths.root / "retiming")
    plan = retimer._plan(Timing("retiming", "0001", (sealed,)), where, (0,))
    assert plan.arms[0].caches is None
    assert str(door.paths.experiments) not in plan.model_dump_json()
    assert plan.job_name not in {entry.job_name for entry in door.ledger.entries()}


# --- on this machine, for real


@pytest.fixture
def here(config: Config) -> Iterator[Scene]:
    scene = Scene(config, LocalCluster(config.cluster, Path(config.runs) / "usage"))
    yield scene
    scene.desk.end()


def test_one_that_is_cancelled_and_will_not_go(here: Scene) -> None:
    """Attack: ignore the signal of a cancelled job, and leave a process that goes on.

    Defence: the job's end is not asked for but enforced; the note says that it was cancelled, and its time is charged.
    """
    mark = f"5{os.getpid()}"
    here.ask("a1", path=str(here.folder("first", f"trap '' TERM; echo up; while :; do sleep {mark}; done")))
    waiting.until(lambda: here.after("a1", 1).state == "running" and here.output(here.note("a1")) == "up\n")
    here.ask("c1", cancels="0001")
    note = here.until_over("a1")
    assert note.exit_code == 130 and note.h100_hours is not None
    waiting.until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])])


def test_silence_is_no_end(by_hand: Door) -> None:
    """Attack: none by itself; a scheduler that is silent at the end must not make the session forget what runs.

    Defence: the end fails, and can be asked for again; the reservation stays.
    """
    by_hand.ask("a1", path=str(by_hand.folder("first", "true")))
    by_hand.desk.tick()
    by_hand.watched.silent = True
    with pytest.raises(SchedulerError):
        by_hand.desk.end()
    assert by_hand.ledger.is_open("slurm_bench-id-experiment0001")
    by_hand.watched.silent = False
    by_hand.desk.end()
    assert by_hand.note("a1").state == "over"
