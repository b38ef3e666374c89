"""Many desks, one question an interval."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Queued
from slurm_bench.effects.polling import Answer, SharedPoll, _Watched
from slurm_bench.words.accounting import JobState
from slurm_bench.words.errors import SchedulerError
from tests.waiting import until

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
HOUR_S = 3600
"""An answer serves to the end of a test."""


class Scheduler:
    def __init__(self) -> None:
        self.questions: list[tuple[frozenset[str], datetime]] = []
        self.silent = False

    def ask(self, names: frozenset[str], since: datetime) -> Answer:
        self.questions.append((names, since))
        if self.silent:
            raise SchedulerError("squeue failed")
        live = {name: {0: JobState.RUNNING} for name in names}
        return Answer(asked_at=datetime.now(UTC), names=names, live=live)


def test_a_hundred_desks_ask_as_often_as_one(tmp_path: Path) -> None:
    scheduler = Scheduler()
    desks = [SharedPoll(tmp_path, HOUR_S, scheduler.ask) for _ in range(100)]
    for number in range(100):
        store.write(tmp_path / "watched" / f"job{number}.json", _Watched(name=f"job{number}", since=SINCE))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pair: pair[1].answer([Queued(f"job{pair[0]}", SINCE, 1)]), enumerate(desks)))
    assert all(answer.live[f"job{number}"] == {0: JobState.RUNNING} for number, answer in enumerate(answers))
    assert len(scheduler.questions) == 1


def test_whoever_waits_while_another_asks_is_in_the_next_question(tmp_path: Path) -> None:
    scheduler, begun, go_on = Scheduler(), threading.Event(), threading.Event()

    def slow(names: frozenset[str], since: datetime) -> Answer:
        begun.set()
        go_on.wait()
        return scheduler.ask(names, since)

    def ask(name: str) -> frozenset[str]:
        return SharedPoll(tmp_path, HOUR_S, slow).answer([Queued(name, SINCE, 1)]).names

    names = [f"job{number}" for number in range(20)]
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(ask, "first")
        begun.wait()
        others = {name: pool.submit(ask, name) for name in names}
        try:
            until(lambda: len(list((tmp_path / "watched").glob("[!.]*.json"))) == 21)
        finally:
            go_on.set()
        assert first.result() == {"first"}
        assert all(name in answer.result() for name, answer in others.items())
    assert [len(asked) for asked, _ in scheduler.questions] == [1, 21]


def test_an_answer_that_does_not_speak_of_a_job_says_nothing_of_it(tmp_path: Path) -> None:
    scheduler = Scheduler()
    poll = SharedPoll(tmp_path, HOUR_S, scheduler.ask)
    poll.answer([Queued("early", SINCE, 1)])
    assert "late" in poll.answer([Queued("late", SINCE + timedelta(days=1), 1)]).names
    assert scheduler.questions == [(frozenset({"early"}), SINCE), (frozenset({"early", "late"}), SINCE)]


def test_an_old_answer_is_asked_for_again(tmp_path: Path) -> None:
    scheduler = Scheduler()
    poll = SharedPoll(tmp_path, 0.05, scheduler.ask)
    poll.answer([Queued("job", SINCE, 1)])
    time.sleep(0.1)
    poll.answer([Queued("job", SINCE, 1)])
    assert len(scheduler.questions) == 2


def test_no_answer_is_shared_as_no_answer(tmp_path: Path) -> None:
    scheduler = Scheduler()
    scheduler.silent = True
    for _ in range(2):
        with pytest.raises(SchedulerError, match="squeue failed"):
            SharedPoll(tmp_path, HOUR_S, scheduler.ask).answer([Queued("job", SINCE, 1)])
    assert len(scheduler.questions) == 1


def test_what_nobody_can_read_stops_nobody(tmp_path: Path) -> None:
    scheduler = Scheduler()
    poll = SharedPoll(tmp_path, HOUR_S, scheduler.ask)
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "empty.json").touch()
    (tmp_path / "answer.json").write_text("{")
    assert poll.answer([Queued("job", SINCE, 1)]).names == {"job"}
    assert not (tmp_path / "watched" / "empty.json").exists()


def test_an_answer_from_a_clock_that_is_ahead_is_not_newest_for_ever(tmp_path: Path) -> None:
    scheduler = Scheduler()
    poll = SharedPoll(tmp_path, HOUR_S, scheduler.ask)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    answer = Answer(asked_at=ahead, good_until=ahead + timedelta(hours=1), names=frozenset({"job"}))
    store.write(tmp_path / "answer.json", answer)
    poll.answer([Queued("job", SINCE, 1)])
    assert len(scheduler.questions) == 1


def test_a_desk_that_looks_once_an_interval_never_finds_its_last_answer(tmp_path: Path) -> None:
    scheduler = Scheduler()
    poll = SharedPoll(tmp_path, 0.05, scheduler.ask)
    for looks in range(1, 9):
        poll.answer([Queued("job", SINCE, 1)])
        assert len(scheduler.questions) == looks
        time.sleep(0.9 * 0.05)


def test_a_silent_scheduler_is_asked_ever_more_seldom(tmp_path: Path) -> None:
    scheduler = Scheduler()
    scheduler.silent = True
    poll = SharedPoll(tmp_path, 0.05, scheduler.ask)
    waits = []
    for _ in range(6):
        began = len(scheduler.questions)
        while len(scheduler.questions) == began:
            with pytest.raises(SchedulerError):
                poll.answer([Queued("job", SINCE, 1)])
            time.sleep(0.005)
        answer = store.read(tmp_path / "answer.json", Answer)
        assert answer.good_until
        waits.append((answer.good_until - answer.asked_at).total_seconds() / 0.05)
    assert waits == pytest.approx([1.7, 3.4, 6.8, 6.8, 6.8, 6.8], rel=0.06), "with some jitter"
    assert len(set(waits)) == 6
    scheduler.silent = False
    time.sleep(0.5)
    poll.answer([Queued("job", SINCE, 1)])
    assert store.read(tmp_path / "answer.json", Answer).failures == 0


def test_many_jobs_of_one_desk_are_one_question(tmp_path: Path) -> None:
    scheduler = Scheduler()
    poll = SharedPoll(tmp_path, HOUR_S, scheduler.ask)
    jobs = [Queued(f"job{number}", SINCE, 1) for number in range(50)]
    assert poll.answer(jobs).names == {job.name for job in jobs}
    poll.answer(jobs[:3])
    assert len(scheduler.questions) == 1
