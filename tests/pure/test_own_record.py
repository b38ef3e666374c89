"""Two witnesses of an attempt, and what is charged where neither saw its end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from slurm_bench.pure import own_record
from slurm_bench.words.accounting import Attempt, JobState, OwnJob, Sighting, Sightings
from slurm_bench.words.errors import SchedulerError

QUEUE = """\
run|2_1|2|PENDING|0|cpu=1,mem=62.50G,node=1,billing=1,gres/gpu=2|1795600402|N/A|N/A||0|
run|2_0|5|RUNNING|0|cpu=16,node=1,billing=16,gres/gpu=8,gres/gpu:h100=8|1795600402|1795600402|1795600462|gpu3|0|
"""
"""As squeue --array --states=all --Format printed it."""
REST = "run|2|2|CANCELLED|0|cpu=1,node=1,billing=1|1795600402|1795600405|1795600405||0|\n"
CANCELLED = "run|2_0|5|CANCELLED|15|cpu=16,node=1,gres/gpu=8|1795600402|1795600402|1795600405|gpu3|0|\n"
FAILED = "run|2_0|5|FAILED|768|cpu=16,node=1,gres/gpu=8|1795600402|1795600402|1795600406|gpu3|0|\n"
REQUEUED = """\
run|2_0|5|COMPLETING|0|cpu=1,node=1,gres/gpu=8|1795600402|1795600433|1795600493|gpu1|1|
"""
"""Just after scontrol requeue: the next attempt's row, with the old submission and a start that never was."""
WAITS_AGAIN = "run|2_0|5|PENDING|0|cpu=1,node=1,gres/gpu=8|1795600435|1795600556|1795600616||1|\n"
START = datetime.fromtimestamp(1795600402, UTC)
JOB = OwnJob(name="run", gpus=8, limit_s=600, overrun_s=90, queued_at=START - timedelta(seconds=1))
GRACE = timedelta(seconds=150)
TOLD = Sighting(
    attempt=Attempt(
        raw_id="5",
        job_id="2",
        job_name="run",
        task=0,
        state=JobState.RUNNING,
        exit_code=0,
        elapsed_s=0,
        gpus=0,
        submitted=START,
        started=START,
        ended=None,
        node="gpu3",
    ),
    restarts=0,
)


def told(seconds: float, state: JobState = JobState.COMPLETED, restarts: int = 0) -> Sighting:
    """What the task itself wrote at its end."""
    ended = replace(TOLD.attempt, state=state, ended=START + timedelta(seconds=seconds))
    return Sighting(attempt=ended, restarts=restarts)


def account(*answers: str, tasks: list[Sighting] | None = None, every_s: int = 10, job: OwnJob = JOB) -> list[Attempt]:
    """What is known after these answers of squeue, so many seconds apart."""
    seen, now = Sightings(), START
    for answer in answers:
        now += timedelta(seconds=every_s)
        seen = own_record.seen(seen, own_record.rows(answer), tasks or [], now)
    return own_record.attempts(job, seen, tasks or [], now, GRACE)


def test_what_runs_is_charged_up_to_now_and_what_waits_is_no_attempt() -> None:
    (attempt,) = account(QUEUE)
    assert (attempt.raw_id, attempt.job_id, attempt.task, attempt.node) == ("5", "2", 0, "gpu3")
    assert (attempt.state, attempt.ended, attempt.elapsed_s, attempt.gpus) == (JobState.RUNNING, None, 10, 8)


def test_the_end_is_squeues_whatever_the_task_says() -> None:
    (attempt,) = account(QUEUE, CANCELLED + REST, "", tasks=[told(9)])
    assert (attempt.state, attempt.elapsed_s, attempt.ended) == (JobState.CANCELLED, 3, START + timedelta(seconds=3))
    (attempt,) = account(FAILED)
    assert (attempt.state, attempt.exit_code, attempt.gpu_seconds) == (JobState.FAILED, 3, 32)


def test_the_end_that_only_the_task_saw_is_rounded_up() -> None:
    (attempt,) = account(QUEUE, "", tasks=[told(4.2, JobState.FAILED)])
    assert (attempt.state, attempt.elapsed_s) == (JobState.FAILED, 7)


def test_a_task_in_the_queue_is_not_over_because_it_says_so() -> None:
    (attempt,) = account(QUEUE, tasks=[told(4)])
    assert attempt.is_live


def test_what_is_lost_is_charged_its_worst_case_after_the_grace() -> None:
    (attempt,) = account(QUEUE, "", every_s=100)
    assert attempt.is_live, "one answer without it proves nothing"
    (attempt,) = account(QUEUE, "", "", "", every_s=100)
    assert (attempt.state, attempt.elapsed_s, attempt.is_live) == (JobState.FAILED, 690, False)


def test_absence_is_counted_anew_once_it_is_seen_again() -> None:
    (attempt,) = account(QUEUE, "", QUEUE, "", every_s=100)
    assert attempt.is_live


def test_what_began_and_cannot_run_any_more_is_over_at_once() -> None:
    (attempt,) = account("", tasks=[TOLD], every_s=700)
    assert (attempt.state, attempt.elapsed_s, attempt.gpus) == (JobState.FAILED, 690, 8)


def test_a_requeued_attempt_ends_where_the_next_is_submitted() -> None:
    (attempt,) = account(QUEUE, REQUEUED)
    assert attempt.is_live, "it is still completing"
    (attempt,) = account(QUEUE, REQUEUED, WAITS_AGAIN)
    assert (attempt.state, attempt.elapsed_s) == (JobState.REQUEUED, 33)
    (attempt,) = account(QUEUE, REQUEUED, WAITS_AGAIN, tasks=[told(20)])
    assert attempt.elapsed_s == 22


def test_every_attempt_has_a_key_of_its_own_that_stays() -> None:
    runs_again = WAITS_AGAIN.replace("PENDING", "RUNNING").replace("||1|", "|gpu1|1|")
    one, other = account(QUEUE, WAITS_AGAIN, runs_again)
    assert (one.state, other.state) == (JobState.REQUEUED, JobState.RUNNING)
    assert one.key < other.key and one.key == account(QUEUE)[0].key == account("", tasks=[TOLD])[0].key


def test_an_attempt_before_a_restart_began_even_if_nobody_saw_it() -> None:
    (attempt,) = account(WAITS_AGAIN)
    assert (attempt.state, attempt.elapsed_s) == (JobState.REQUEUED, 34)


def test_a_site_whose_queue_counts_no_gpus_is_charged_what_was_asked_for() -> None:
    (attempt,) = account(QUEUE.replace("gres/gpu=8,gres/gpu:h100=8", ""))
    assert attempt.gpus == JOB.gpus


@pytest.mark.parametrize(("text", "code"), [("0", 0), ("768", 3), ("9", 137), ("139", 139), ("3:0", 3), ("0:9", 137)])
def test_exit_codes_of_old_and_new_slurm(text: str, code: int) -> None:
    assert own_record.exit_code(text) == code


@pytest.mark.parametrize("text", ["run|2_0|5|RUNNING|\n", FAILED.replace("768", "x"), FAILED.replace("FAILED", "ODD")])
def test_a_row_that_cannot_be_read_is_no_answer(text: str) -> None:
    with pytest.raises(SchedulerError):
        own_record.rows(text)
