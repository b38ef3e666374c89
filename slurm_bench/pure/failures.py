"""When an agent's program that fails is started again, and when it is given up.

Failures are counted by what fails: the program itself, its model's service, or what that service will never take. An
action of the agent, or a service that says for how long it will be away, ends a count.
"""

from datetime import datetime, timedelta

from slurm_bench.pure.model_troubles import Trouble
from slurm_bench.words.records import Failing, Failures

MOST_OF_PROGRAM = 6
LOST_AFTER = 4
"""Failures of the program after which its conversation is given up, e.g. one that has become too long."""
MOST_REFUSED = 3
"""Of what no waiting mends: a key that is not known, a model that is not there."""
PATIENCE = timedelta(hours=2)
"""With a service that is down and does not say until when."""
_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 600.0


def counted(before: Failures | None, trouble: Trouble | None, *, acted: bool, now: datetime) -> Failures:
    """The failures in a row, with one more.

    Args:
        trouble: what the service answered last since the program was started, if that was no success.
        acted: whether the agent did something before its program failed.
    """
    failing = _what_fails(trouble)
    if before is None or acted or before.failing is not failing:
        return Failures(failing=failing, count=1, since=now)
    return before.model_copy(update={"count": before.count + 1})


def _what_fails(trouble: Trouble | None) -> Failing:
    if trouble is None:
        return Failing.PROGRAM
    return Failing.REFUSED if trouble.is_hopeless else Failing.SERVICE


def is_long_pause(trouble: Trouble | None, now: datetime) -> bool:
    """Whether the service says that it will be away for longer than it would be waited for anyway."""
    longest = timedelta(seconds=_LONGEST_WAIT_S)
    return trouble is not None and trouble.retry_at is not None and trouble.retry_at > now + longest


def wait_s(count: int) -> float:
    """Seconds to wait after so many failures, or answers without an action, in a row."""
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (count - 1))


def is_over(failures: Failures, now: datetime) -> bool:
    """Whether the agent is given up."""
    if failures.failing is Failing.PROGRAM:
        return failures.count >= MOST_OF_PROGRAM
    if failures.failing is Failing.REFUSED:
        return failures.count >= MOST_REFUSED
    return now - failures.since > PATIENCE


def is_conversation_lost(failures: Failures) -> bool:
    """Whether another conversation is worth a try."""
    return failures.failing is Failing.PROGRAM and failures.count == LOST_AFTER
