"""What releases a reservation, and what does not."""

from dataclasses import replace
from datetime import timedelta

from slurm_bench.pure import accounts, sacct
from slurm_bench.pure.budget import held_gpu_seconds
from slurm_bench.words.accounting import Attempt, JobState, LedgerEntry, Observation
from tests.pure.attempts import NOON, attempt, entry, running

GRACE = timedelta(seconds=60)


def seen(*attempts: Attempt, queued: dict[int, JobState] | None = None) -> Observation:
    queue = queued or {}
    return Observation(NOON, {**sacct.latest_states(attempts), **queue}, frozenset(queue), attempts)


def after(first: LedgerEntry, *looks: tuple[int, Observation]) -> LedgerEntry:
    """An entry after answers so many seconds after noon."""
    for second, look in looks:
        answer = replace(look, asked_at=NOON + timedelta(seconds=second))
        first = accounts.observed(first, answer, GRACE)
    return first


def test_it_is_settled_when_every_task_is_over() -> None:
    half = after(entry(), (100, seen(attempt(), queued={1: JobState.RUNNING})))
    assert half.settled_at is None
    assert held_gpu_seconds(half) == 600
    whole = after(half, (110, seen(attempt(), attempt(task=1, raw_id="8", elapsed_s=50))))
    assert whole.settled_at == NOON + timedelta(seconds=110)
    assert held_gpu_seconds(whole) == 300


def test_a_task_without_a_trace_is_over_when_every_answer_of_the_grace_has_said_so() -> None:
    look = seen(attempt())
    waiting = after(entry(), (0, look), (59, look))
    assert waiting.settled_at is None and waiting.absent_since == {1: NOON}
    assert after(waiting, (61, look)).settled_at


def test_an_unanswered_question_starts_the_grace_anew() -> None:
    look = seen(attempt())
    broken = accounts.unanswered(after(entry(), (0, look), (59, look)))
    assert after(broken, (61, look), (120, look)).settled_at is None
    assert after(broken, (61, look), (122, look)).settled_at


def test_a_task_that_comes_back_is_not_absent() -> None:
    look = seen(attempt())
    back = after(entry(), (0, look), (50, seen(attempt(), queued={1: JobState.PENDING})), (70, look))
    assert back.settled_at is None and back.absent_since == {1: NOON + timedelta(seconds=70)}


def test_what_the_queue_has_shown_running_is_never_settled_at_nothing() -> None:
    """Until the accounting knows what it used: for ever, if need be, and with a word to the administrator."""
    ended = Observation(NOON, {0: JobState.COMPLETED}, frozenset(), ())
    looked = after(entry(tasks=1), (0, seen(queued={0: JobState.RUNNING})), (50, ended), (60, seen()), (300, seen()))
    assert looked.settled_at is None and held_gpu_seconds(looked) > 0
    assert accounts.unaccounted(looked, NOON + timedelta(seconds=300), GRACE) == {0}
    settled = after(looked, (310, seen(attempt())))
    assert settled.settled_at and settled.charged_gpu_seconds == 200
    assert accounts.unaccounted(settled, NOON + timedelta(seconds=400), GRACE) == set()


def test_a_requeued_task_is_not_settled_before_the_accounting_knows_its_second_attempt() -> None:
    """As Slurm 22.05 and 26.05 show it: COMPLETING at first, PENDING, RUNNING again, and a row of its own."""
    first = attempt(state=JobState.REQUEUED)
    shown = [JobState.RUNNING, JobState.COMPLETING, JobState.PENDING]
    looks = [(second, seen(*([first] if second else []), queued={0: state})) for second, state in enumerate(shown)]
    waiting = after(entry(tasks=1), *looks)
    assert after(waiting, (100, seen(first)), (161, seen(first))).settled_at, "it never ran again"
    again = after(waiting, (10, seen(first, queued={0: JobState.RUNNING})))
    gone = after(again, (100, seen(first)), (300, seen(first)))
    assert gone.settled_at is None
    assert accounts.unaccounted(gone, NOON + timedelta(seconds=300), GRACE) == {0}
    second = attempt(submitted=NOON + timedelta(seconds=5))
    waits = replace(second, state=JobState.PENDING, started=None, ended=None, elapsed_s=0)
    assert after(gone, (310, seen(first, waits)), (500, seen(first, waits))).settled_at is None, "a row that is behind"
    settled = after(gone, (310, seen(first, second)))
    assert settled.settled_at and settled.charged_gpu_seconds == 400


def test_a_terminal_state_without_its_end_is_not_over() -> None:
    """As a database that catches up showed it: COMPLETED for 12 s, a second later for 3 s."""
    early = attempt(elapsed_s=12, ended=None)
    looked = after(entry(tasks=1), (12, seen(early)))
    assert looked.settled_at is None
    settled = after(looked, (13, seen(attempt(elapsed_s=3))))
    assert settled.settled_at and settled.charged_gpu_seconds == 6


def test_a_requeued_attempt_stays_charged_also_when_its_task_is_cancelled_while_it_waits() -> None:
    first = attempt(state=JobState.REQUEUED)
    look = seen(first)
    assert after(entry(tasks=1), (100, look)).settled_at is None
    settled = after(entry(tasks=1), (100, look), (161, look))
    assert settled.settled_at and settled.charged_gpu_seconds == 200


def test_what_was_charged_is_not_forgotten_when_the_accounting_forgets() -> None:
    look = after(entry(), (100, seen(attempt(), queued={1: JobState.RUNNING})), (200, seen()))
    assert look.charged_gpu_seconds == 200


def test_a_task_that_runs_by_the_accounting_alone_is_never_released() -> None:
    """A runaway job: only an administrator can say what became of it."""
    look = seen(running())
    lost = after(entry(tasks=1), (0, look), (1000, look))
    assert lost.settled_at is None
    assert accounts.runaways(lost, NOON + timedelta(seconds=1000), GRACE) == {0}
    assert accounts.runaways(lost, NOON + timedelta(seconds=30), GRACE) == set()


def test_an_answer_that_is_read_twice_proves_nothing_more() -> None:
    look = seen()
    again = accounts.observed(accounts.observed(entry(), look, GRACE), look, GRACE)
    assert again.settled_at is None and again.absent_since == {0: NOON, 1: NOON}


def test_an_answer_from_before_the_job_was_queued_says_nothing_of_it() -> None:
    queued = entry(queued_at=NOON + timedelta(seconds=1))
    assert after(queued, (0, seen())) == queued
