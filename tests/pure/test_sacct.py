"""Rows as a real Slurm 22.05 printed them (tests/data), and the pitfalls that they hold."""

from pathlib import Path

import pytest

from slurm_bench.pure import sacct
from slurm_bench.words.accounting import JobState
from slurm_bench.words.errors import SchedulerError

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


def test_typed_and_untyped_gpus_count_once() -> None:
    assert sacct.gpus("billing=16,cpu=16,gres/gpu:h100=8,gres/gpu=8,node=1") == 8
    assert sacct.gpus("cpu=1,gres/gpu:h100=8") == 0
    assert sacct.gpus("") == 0
    assert sacct.gpus("billing=1K,cpu=8K,gres/gpu:h100=1K,gres/gpu=1K,node=128") == 1024


def test_an_attempt_that_ended_before_it_began_takes_nothing_back() -> None:
    header = "|".join(sacct.FIELDS)
    row = "7_0|7|a|COMPLETED|0:0|-3|gres/gpu=8|gres/gpu=8|1767225600|1767225603|1767225600|gpu1"
    (attempt,) = sacct.attempts(f"{header}\n{row}\n")
    assert attempt.gpu_seconds == 0


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


def test_rows_are_kept_by_raw_number_and_submit_time() -> None:
    """Numbers come again after a reset of slurmctld, and a later account of the same attempt is the better one."""
    header = "|".join(sacct.FIELDS)
    early = "7_1|9|x|RUNNING|0:0|5||gres/gpu=2|1700000000|1700000001|Unknown|gpu1"
    late = "7_1|9|x|COMPLETED|0:0|8|gres/gpu=2|gres/gpu=2|1700000000|1700000001|1700000009|gpu1"
    again = "7_1|9|x|COMPLETED|0:0|3|gres/gpu=2|gres/gpu=2|1800000000|1800000001|1800000004|gpu1"
    rows = sacct.attempts(f"{header}\n{again}\n{early}\n{late}\n")
    assert [row.elapsed_s for row in rows] == [8, 3]


def test_a_terminal_state_without_an_end_is_still_completing() -> None:
    """As MariaDB showed it when it was back after an outage; a second later the row said 3 s and had its end."""
    header = "|".join(sacct.FIELDS)
    row = "1787|1787|x|COMPLETED|0:0|12|gres/gpu=1|gres/gpu=1|1795598772|1795598772|Unknown|gpu1"
    assert sacct.latest_states(sacct.attempts(f"{header}\n{row}\n")) == {0: JobState.COMPLETING}


def test_a_row_that_is_none_is_an_error_and_not_a_traceback() -> None:
    header = "|".join(sacct.FIELDS)
    row = "7|7|x|RUNNING|0:0|soon||gres/gpu=2|1700000000|1700000001|Unknown|gpu1"
    with pytest.raises(SchedulerError, match="soon"):
        sacct.attempts(f"{header}\n{row}\n")


@pytest.mark.parametrize("text", ["", "JobID|State\n1|RUNNING\n", "|".join(sacct.FIELDS) + "\n1|2|3\n"])
def test_other_columns_are_refused(text: str) -> None:
    with pytest.raises(SchedulerError):
        sacct.attempts(text)


STOPPED = """\
a|400|CANCELLED|0:00|None
a|400_0|COMPLETED|0:05|None
a|400_2|COMPLETING|0:02|None
a|400_3|CANCELLED|0:02|None
b|401_4|PENDING|0:00|None
c|402|CANCELLED|0:07|None
d|403|RUNNING|0:07|None
"""
"""As squeue --states=all printed them after scancel."""


def test_live_states_by_job_and_task() -> None:
    rows = ["a|7_0|RUNNING|0:01", "a|7_3|PENDING|0:00", "b|9|RUNNING|1:00:01", "a|7_1|COMPLETED|0:02"]
    text = "".join(f"{row}|None\n" for row in rows)
    assert sacct.live_states(text) == {
        "a": {0: JobState.RUNNING, 3: JobState.PENDING},
        "b": {0: JobState.RUNNING},
    }
    assert sacct.live_states("") == {}


def test_a_job_that_is_requeued_at_once_is_not_over() -> None:
    """A state of Slurm 25.11 and newer (`sbatch --requeue=expedite`); an unknown one stops every desk that asks."""
    live = sacct.live_states("a|7_0|EXPEDITING|0:00|None\n")
    assert live == {"a": {0: JobState.EXPEDITING}} and not live["a"][0].is_terminal


def test_the_rest_of_a_cancelled_array() -> None:
    assert sacct.cancelled_rests(STOPPED) == {"a": frozenset({0, 2, 3})}
    assert sacct.live_states(STOPPED)["a"] == {2: JobState.COMPLETING}
    assert sacct.cancelled_rests("e|404|CANCELLED|0:00|None\n") == {"e": frozenset()}, "a job that is no array"


@pytest.mark.parametrize(
    ("reasons", "never"),
    [
        (["QOSGrpGRESMinutes"], "QOSGrpGRESMinutes"),
        (["PartitionTimeLimit", "PartitionTimeLimit"], "PartitionTimeLimit"),
        *(
            ([reason], reason)
            for reason in (
                "QOSGrpCPUMinutesLimit",
                "AssocGrpCPUMinutesLimit",
                "AssocMaxCpuMinutesPerJobLimit",
                "QOSMaxGRESMinutesPerJob",
                "QOSMaxWallDurationPerJobLimit",
                "AssocMaxWallDurationPerJobLimit",
                "AssocGrpWallLimit",
                "QOSMaxNodePerJobLimit",
                "QOSMaxCpuPerJobLimit",
                "AssocMaxGRESPerJob",
                "QOSMinGRES",
                "QOSMinNode",
                "QOSMaxBillingPerJob",
                "JobHeldAdmin",
                "JobHeldUser",
                "PartitionDown",
                "PartitionInactive",
                "ReservationDeleted",
                "launch failed requeued held",
                "user env retrieval failed requeued held",
                "InvalidQOS",
                "WhatSlurmMayYetSay",
            )
        ),
        (["QOSMaxCpuPerUserLimit"], None),
        (["QOSGrpCpuLimit"], None),
        (["PartitionTimeLimit", "None"], None),
        (["Resources"], None),
        (["Priority", "JobArrayTaskLimit"], None),
        (["QOSMaxJobsPerUserLimit"], None),
        (["AssocGrpBillingLimit"], None),
        (["QOSMaxGRESPerAccount"], None),
        (["Reservation"], None),
        (["ReqNodeNotAvail, UnavailableNodes:gpu4"], None),
    ],
)
def test_what_can_never_start(reasons: list[str], never: str | None) -> None:
    text = "".join(f"a|7_{task}|PENDING|0:00|{reason}\n" for task, reason in enumerate(reasons))
    assert sacct.stuck(text).get("a") == never
    assert not sacct.stuck(text + "a|7_9|RUNNING|0:05|None\n")


@pytest.mark.parametrize("line", ["", "a|7_[2-9]|PENDING|0:00|None", "a|7|PENDING"])
def test_a_queue_row_that_is_none_is_an_error_and_not_a_traceback(line: str) -> None:
    with pytest.raises(SchedulerError, match="squeue printed"):
        sacct.live_states(f"{line}\n")
