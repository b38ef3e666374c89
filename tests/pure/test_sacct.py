"""Rows as a real Slurm 22.05 printed them (tests/data), and the pitfalls that they hold."""

from pathlib import Path

import pytest

from slurm_bench.pure import sacct
from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.records import JobState

CAPTURED = (Path(__file__).parents[1] / "data" / "sacct_X_D.txt").read_text()


def charged(name: str) -> int:
    return sum(row.gpu_seconds for row in sacct.attempts(CAPTURED) if row.job_name == name)


def test_every_requeued_attempt_is_charged() -> None:
    rows = [row for row in sacct.attempts(CAPTURED) if row.job_id == "12"]
    assert [(row.state, row.elapsed_s) for row in rows] == [(JobState.REQUEUED, 12), (JobState.COMPLETED, 25)]
    assert sum(row.gpu_seconds for row in rows) == 148
    assert sacct.latest_states(rows) == {0: JobState.COMPLETED}


def test_ranges_of_pending_tasks_are_no_attempts() -> None:
    assert any("[" in line.split("|")[0] for line in CAPTURED.splitlines())
    raw = {line.split("|")[0] for line in CAPTURED.splitlines()[1:]}
    assert len(sacct.attempts(CAPTURED)) < len(CAPTURED.splitlines()) - 1
    assert {row.job_id for row in sacct.attempts(CAPTURED)} <= {job.split("_")[0] for job in raw}


def ranges(*rows: str) -> dict[str, dict[int, JobState]]:
    """Of rows with the given first columns: job, name, state."""
    header, tail = "|".join(sacct.FIELDS), "0:0|0||gres/gpu=2|1700000000|None|1700000062|None assigned"
    lines = ["{}|1|{}|{}|{}".format(*row.split("|"), tail) for row in rows]
    return sacct.ended_ranges("\n".join([header, *lines]))


def test_a_cancelled_range_ends_its_tasks() -> None:
    assert sacct.ended_ranges(CAPTURED)["wrap"] == dict.fromkeys(range(10), JobState.CANCELLED)
    found = ranges("154_[4-6,9%2]|a|CANCELLED by 0", "155_[3]|b|CANCELLED", "155_1|b|COMPLETED")
    assert found == {"a": dict.fromkeys((4, 5, 6, 9), JobState.CANCELLED), "b": {3: JobState.CANCELLED}}


@pytest.mark.parametrize("row", ["13_[4-9]|a|PENDING", "92_[0,2,...%3]|a|CANCELLED", "13_4|a|CANCELLED", "13|a|FAILED"])
def test_ranges_that_say_nothing_for_certain(row: str) -> None:
    assert ranges(row) == {}


def test_typed_and_untyped_gpus_count_once() -> None:
    assert sacct.gpus("billing=16,cpu=16,gres/gpu:h100=8,gres/gpu=8,node=1") == 8
    assert sacct.gpus("cpu=1,gres/gpu:h100=8") == 0
    assert sacct.gpus("") == 0


def test_states_with_a_tail() -> None:
    assert sacct.job_state("CANCELLED by 1001") is JobState.CANCELLED
    with pytest.raises(SchedulerError, match="VANISHED"):
        sacct.job_state("VANISHED")


def test_a_signal_is_a_failed_exit() -> None:
    header = "|".join(sacct.FIELDS)
    row = "30|30|x|FAILED|0:9|5|gres/gpu=2|gres/gpu=2|1700000000|1700000001|1700000006|gpu1"
    (attempt,) = sacct.attempts(f"{header}\n{row}\n")
    assert attempt.exit_code == 137
    assert attempt.gpu_seconds == 10


def test_running_without_an_allocation_yet_is_charged_by_request() -> None:
    header = "|".join(sacct.FIELDS)
    row = "30_4|34|x|RUNNING|0:0|5||gres/gpu=2|1700000000|1700000001|Unknown|gpu1"
    (attempt,) = sacct.attempts(f"{header}\n{row}\n")
    assert (attempt.task, attempt.gpus, attempt.ended) == (4, 2, None)


@pytest.mark.parametrize("text", ["", "JobID|State\n1|RUNNING\n", "|".join(sacct.FIELDS) + "\n1|2|3\n"])
def test_other_columns_are_refused(text: str) -> None:
    with pytest.raises(SchedulerError):
        sacct.attempts(text)


def test_live_states_by_job_and_task() -> None:
    text = "one|7_0|RUNNING\none|7_3|PENDING\ntwo|8|COMPLETING\n"
    assert sacct.live_states(text) == {
        "one": {0: JobState.RUNNING, 3: JobState.PENDING},
        "two": {0: JobState.COMPLETING},
    }
    assert sacct.live_states("") == {}
