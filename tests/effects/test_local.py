"""This machine as a cluster: what is said of an array while somebody ends it."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Queued
from slurm_bench.effects.lane import Array, array_record, processes_of
from slurm_bench.effects.local import LocalCluster
from slurm_bench.effects.processes import end_tree, is_alive
from slurm_bench.words.accounting import JobState
from slurm_bench.words.errors import SchedulerError
from tests import small_disk
from tests.contract.test_cluster import cluster_config, job
from tests.waiting import until


def test_who_looks_while_an_array_is_cancelled_does_not_take_its_tasks_for_failed(tmp_path: Path) -> None:
    """A failed task would count against the candidate."""
    ending, looking = (LocalCluster(cluster_config("local"), tmp_path / "usage") for _ in range(2))
    asked = [Queued("array", datetime.now(UTC), 4)]
    ending.submit(job("array", tmp_path, "sleep"))
    until((tmp_path / "task1").exists)
    over = threading.Event()
    seen: set[JobState] = set()

    def look() -> None:
        while not over.is_set():
            seen.update(looking.look(asked)["array"].states.values())

    watcher = threading.Thread(target=look)
    watcher.start()
    ending.cancel("array")
    over.set()
    watcher.join()
    assert set(looking.look(asked)["array"].states.values()) == {JobState.CANCELLED}
    assert seen <= {JobState.RUNNING, JobState.PENDING, JobState.CANCELLED}


def test_an_array_that_was_being_cancelled_is_that_for_whoever_comes_after(tmp_path: Path) -> None:
    """Whoever ended its lanes died before he wrote down the end."""
    cluster = LocalCluster(cluster_config("local"), tmp_path / "usage")
    cluster.submit(job("array", tmp_path, "sleep"))
    until((tmp_path / "task1").exists)
    folder = tmp_path / "usage" / "array"
    array = store.read(array_record(folder), Array)
    store.write(array_record(folder), array.model_copy(update={"cancelled": True}))
    lanes = processes_of(folder)
    for each in lanes:
        end_tree(each.pid, grace_s=5)
    assert len(lanes) == 2
    until(lambda: not any(map(is_alive, lanes)))
    states = cluster.look([Queued("array", datetime.now(UTC), 4)])["array"].states
    assert set(states.values()) == {JobState.CANCELLED}


def test_a_lane_waits_until_it_can_write_down_how_its_task_ended(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "usage") as usage:
        cluster = LocalCluster(cluster_config("local"), usage)
        cluster.submit(job("array", tmp_path, "sleep for 2", count=1))
        until((usage / "array" / "task-00.json").exists)
        filler = small_disk.fill(usage)
        time.sleep(5)
        filler.unlink()
        asked = [Queued("array", datetime.now(UTC), 1)]
        until(lambda: cluster.look(asked)["array"].states[0].is_terminal)
        assert cluster.look(asked)["array"].states == {0: JobState.COMPLETED}


def say_that_it_was_queued_on(host: str, folder: Path) -> None:
    """As a second host reads the same file, which both share."""
    record = array_record(folder)
    store.write(record, store.read(record, Array).model_copy(update={"host": host}))


def test_an_array_of_another_host_is_left_to_that_host(tmp_path: Path) -> None:
    """A process number says nothing here of processes there: they were taken for dead."""
    cluster, asked = LocalCluster(cluster_config("local"), tmp_path / "usage"), [Queued("array", datetime.now(UTC), 4)]
    cluster.submit(job("array", tmp_path, "sleep"))
    folder = tmp_path / "usage" / "array"
    here = store.read(array_record(folder), Array).host
    lanes = processes_of(folder)
    until((tmp_path / "task1").exists)
    for lane, process in enumerate(lanes):  # whose numbers are nobody's here
        store.write(folder / f"lane-{lane}.json", process.model_copy(update={"host": "elsewhere"}))
    say_that_it_was_queued_on("elsewhere", folder)
    for ask in (lambda: cluster.look(asked), lambda: cluster.cancel("array")):
        with pytest.raises(SchedulerError, match="array runs on elsewhere, and only there"):
            ask()
    assert {each.state for each in cluster.attempts(["array"], datetime.now(UTC))} == {JobState.RUNNING}
    say_that_it_was_queued_on(here, folder)
    for lane, process in enumerate(lanes):
        store.write(folder / f"lane-{lane}.json", process)
    assert set(cluster.look(asked)["array"].states.values()) == {JobState.RUNNING, JobState.PENDING}
    cluster.cancel("array")
    assert set(cluster.look(asked)["array"].states.values()) == {JobState.CANCELLED}


def test_a_host_that_never_comes_back_holds_an_array_for_its_time_limit(tmp_path: Path) -> None:
    cluster, asked = LocalCluster(cluster_config("local"), tmp_path / "usage"), [Queued("array", datetime.now(UTC), 4)]
    cluster.submit(job("array", tmp_path, "sleep"))
    folder = tmp_path / "usage" / "array"
    until((tmp_path / "task1").exists)
    for each in processes_of(folder):
        end_tree(each.pid)
    until(lambda: not any(map(is_alive, processes_of(folder))))
    say_that_it_was_queued_on("elsewhere", folder)
    with pytest.raises(SchedulerError):
        cluster.look(asked)
    long_ago = time.time() - 2 * (120 + 60) - 600  # two turns a lane
    os.utime(array_record(folder), (long_ago, long_ago))
    assert set(cluster.look(asked)["array"].states.values()) == {JobState.FAILED, JobState.CANCELLED}


def test_an_array_of_another_host_that_is_over_is_what_it_wrote_down(tmp_path: Path) -> None:
    cluster, asked = LocalCluster(cluster_config("local"), tmp_path / "usage"), [Queued("array", datetime.now(UTC), 4)]
    cluster.submit(job("array", tmp_path, "fail at odd"))
    until(lambda: all(each.is_terminal for each in cluster.look(asked)["array"].states.values()))
    say_that_it_was_queued_on("elsewhere", tmp_path / "usage" / "array")
    states = cluster.look(asked)["array"].states
    assert [states[task] for task in range(4)] == [JobState.COMPLETED, JobState.FAILED] * 2


class Starting:
    """A desk in a process of its own that has queued an array, stopped where its lanes have not begun."""

    def __init__(self, folder: Path) -> None:
        self.usage = folder / "usage"
        queue = LocalCluster(cluster_config("local"), self.usage).submit
        self.desk = multiprocessing.get_context("fork").Process(target=queue, args=(job("array", folder, "touch"),))
        self.desk.start()
        self.held: set[psutil.Process] = set()
        until(self._hold)

    def _hold(self) -> bool:
        """Stop what starts the lanes as soon as it is there: a busy machine, in short."""
        new = set(psutil.Process(self.desk.pid).children(recursive=True)) - self.held
        for process in new:
            process.suspend()
        self.held |= new
        return len(self.held) == 2

    def let_go(self) -> None:
        for process in filter(psutil.Process.is_running, self.held):
            process.resume()

    def until_over(self) -> None:
        self.let_go()
        until(lambda: not any(map(psutil.Process.is_running, self.held)))

    def states(self) -> set[JobState]:
        seen = LocalCluster(cluster_config("local"), self.usage).look([Queued("array", datetime.now(UTC), 4)])
        return set(seen["array"].states.values())


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    made = Starting(tmp_path)
    yield made
    made.desk.kill()
    made.until_over()


def test_lanes_that_start_slowly_are_waited_for(starting: Starting, tmp_path: Path) -> None:
    assert starting.states() == {JobState.PENDING}
    starting.let_go()
    starting.desk.join()
    until(lambda: starting.states() == {JobState.COMPLETED})
    assert {each.name for each in tmp_path.glob("task*")} == {"task0", "task1", "task2", "task3"}


def test_lanes_that_nobody_waits_for_are_given_up_and_never_work(starting: Starting, tmp_path: Path) -> None:
    starting.desk.kill()
    starting.desk.join()
    assert starting.states() == {JobState.CANCELLED}
    starting.until_over()
    assert list(tmp_path.glob("task*")) == []
    assert starting.states() == {JobState.CANCELLED}


def test_lanes_that_are_cancelled_before_they_begin_never_work(starting: Starting, tmp_path: Path) -> None:
    LocalCluster(cluster_config("local"), starting.usage).cancel("array")
    starting.until_over()
    assert list(tmp_path.glob("task*")) == []
    assert starting.states() == {JobState.CANCELLED}


def test_what_dies_before_its_lane_began_is_not_waited_for(starting: Starting) -> None:
    for process in starting.held:
        process.kill()
    starting.desk.join(10)
    assert starting.desk.exitcode == 1, "no lane has begun"
    assert starting.states() == {JobState.CANCELLED}
