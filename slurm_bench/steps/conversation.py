"""The one loop around every agent: its program is started, read, waited for, and started again with what it knows.

Whoever calls `tick` again and again keeps it going; nothing here waits, so that the desk serves meanwhile.
"""

import logging
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Protocol

from slurm_bench.agents.agent import Agent
from slurm_bench.effects import store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.pure import failures
from slurm_bench.pure.model_troubles import Trouble
from slurm_bench.pure.silence import Limits, Signs, Silence
from slurm_bench.steps.mail import Mail
from slurm_bench.steps.transcript import Transcript, Turn
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import ConversationState, Failing, Failures

log = logging.getLogger(__name__)

_READING_S = 20.0
"""For the rest of what a program has said that is gone."""
_BREATH_S = 1.0
"""Between an answer and the next prompt."""
_JITTER = 0.1
_MOST_IDLE = 10
"""Answers in a row without an action: an agent that has nothing left to do."""
_REMARK = (
    "Your program was ended: for {} it asked its model nothing, and none of its processes used a processor or a GPU. "
    "What you had left running is gone. Wait only for what works, or for `submit`, and do not sleep."
)
_BY_SIGTERM = (-signal.SIGTERM, 128 + signal.SIGTERM)
_SIGTERM_S = 3.0


@dataclass(frozen=True)
class Over:
    """How it came to an end by itself."""

    exit_code: int
    reason: str = ""
    """Empty where its program just ended."""


class Place(Protocol):
    """Where an agent's program runs."""

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start it in its container, with its standard output for us to read."""

    def redact(self, line: str) -> str:
        """The line without any key of ours."""

    def trouble(self) -> Trouble | None:
        """What its model's service answered last, if that was no success."""

    def signs(self) -> Signs:
        """What shows whether its program works."""

    def computes(self) -> bool:
        """Whether a GPU does."""

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """End it, gently at first; return once it is gone."""

    def standing_still(self) -> AbstractContextManager[None]:
        """Lets it stand still meanwhile."""

    def last_words(self) -> str:
        """The last line that it said and that was no event."""

    def why_not(self) -> str:
        """Why no container starts here, empty if one does."""


@dataclass(frozen=True)
class Terms:
    first_prompt: str
    resume_prompt: str
    """What it is told when it goes on."""
    limits: Limits
    """Of its program's silence."""


class Conversation:
    def __init__(
        self,
        agent: Agent,
        terms: Terms,
        place: Place,
        paths: SessionPaths,
        clock: Clock | None = None,
    ) -> None:
        self._agent, self._place, self._file = agent, place, paths.conversation
        self._terms, self._mail = terms, Mail(paths)
        self._transcript = Transcript(paths.transcript, agent, place.redact, plain=paths.agent_log)
        self._state = _left(store.read_if_there(self._file, ConversationState))
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._is_at_rest = False
        self._holds_for_verdict = False
        self._started_at = datetime.now(UTC)
        self.next_at: datetime = self._clock.now()
        """When its program is started again."""
        self.over: Over | None = None

    @property
    def acted_at(self) -> datetime | None:
        return self._transcript.acted_at

    def tick(self) -> None:
        """Start the program if it is time to, and see what became of it if it has ended.

        Raises:
            InfrastructureError: it does not run, and nothing would here.
        """
        if self._process is None and self.over is None and self._clock.now() >= self.next_at:
            if not self._is_at_rest and not self._waits_for_verdict():
                self._start()
        elif self._process is not None:
            self._remember()
            if (code := self._process.poll()) is not None:
                self._ended(code)
            else:
                self._look()

    def stop(self) -> None:
        """End the program, gently at first; its conversation can be gone on with."""
        if self._process is None:
            return
        self._place.end(self._process)
        self._gone()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Its program stands still meanwhile, and is not started."""
        self._is_at_rest = True
        try:
            runs = self._process is not None and self._process.poll() is None
            with self._place.standing_still() if runs else nullcontext():
                yield
        finally:
            self._is_at_rest = False

    def _start(self) -> None:
        known = self._state.conversation
        number = self._state.starts + 1
        log.info("starting the agent%s", f" again ({number}), in conversation {known}" if known else "")
        self._transcript.note(f"start {number}{f', conversation {known}' if known else ''}")
        command = self._agent.command(self._prompt(), known)
        unheard = self._mail.unanswered().intersection(self._state.unheard)
        self._keep(starts=number, remark="", unheard=tuple(unheard))  # from here on the workspace is the agent's
        self._started_at = datetime.now(UTC)
        self._process = self._place.start(command)
        self._silence = Silence(self._place.signs(), self._clock.now())
        assert self._process.stdout is not None
        self._reader = self._transcript.follow(self._process.stdout)

    def _prompt(self) -> str:
        """What it is told; a new conversation that is not the first finds a workspace with work in it."""
        begins = self._terms.first_prompt if self._state.conversation is None else ""
        goes_on = self._terms.resume_prompt if self._state.starts else ""
        news = self._mail.news(self._state.unheard)
        return "\n".join(filter(None, (begins, goes_on, self._state.remark, news)))

    def _waits_for_verdict(self) -> bool:
        """Whether it has said that it has nothing to do, and what it handed in is still unanswered."""
        self._holds_for_verdict = self._holds_for_verdict and bool(self._mail.unanswered())
        return self._holds_for_verdict

    def _look(self) -> None:
        """End a program that shows no sign of work for too long."""
        now, silence = self._clock.now(), self._silence
        if not silence.is_due(now):
            return
        waits = bool(self._mail.unanswered())
        works = waits or silence.shows_work(self._place.signs(), now) or self._place.computes()
        silence.note(now, works=works)
        limits = self._terms.limits
        if silence.lasts >= (limits.linger if self._transcript.turn.is_over else limits.stall):
            self._end_silent()

    def _end_silent(self) -> None:
        """One whose turn is over has ended late; another has failed, unless it had worked for longer than that."""
        minutes = f"{self._silence.lasts.total_seconds() / 60:.0f} minutes"
        turn = self._transcript.turn
        log.warning("the agent's program is ended: it showed no sign of work for %s", minutes)
        self._transcript.note(f"ended after {minutes} without a sign of work")
        self.stop()
        self._keep(remark=_REMARK.format(minutes))
        if turn.is_over:
            self._settle(0, turn)
        else:
            acted = turn.acted and self._silence.worked > self._terms.limits.stall
            self._settle(1, Turn(acted=acted, failure=f"it showed no sign of work for {minutes}"))

    def _ended(self, code: int) -> None:
        if code in _BY_SIGTERM:
            time.sleep(_SIGTERM_S)  # whoever ends our job ends its steps first: then we are interrupted here
        self._gone()
        self._settle(code, self._transcript.turn)

    def _gone(self) -> None:
        """Read what its program has said up to its end."""
        assert self._reader is not None
        self._reader.join(_READING_S)
        self._process = None
        self._remember()
        self._keep(unheard=tuple(self._mail.unanswered().union(self._state.unheard)))

    def _settle(self, code: int, turn: Turn) -> None:
        """What comes after a program that ended so; one that calls it an answer may not have got one to its end."""
        if not self._agent.converses:
            self._refuse_sick_node(code, turn.acted)
            self.over = Over(code, turn.failure)
        elif code == 0 and not turn.failure and self._fresh_trouble() is None:
            self._answered(turn.acted)
        else:
            self._failed(code, turn)

    def _remember(self) -> None:
        if self._transcript.conversation and self._transcript.conversation != self._state.conversation:
            self._keep(conversation=self._transcript.conversation)

    def _answered(self, acted: bool) -> None:
        """Its program ended well: the agent thinks that it is done, and is told to go on."""
        self._holds_for_verdict = not acted and bool(self._mail.unanswered())
        idle = 0 if acted or self._holds_for_verdict else self._state.idle + 1
        self._keep(failures=None, idle=idle)
        self._start_again_in(failures.wait_s(idle) if idle else _BREATH_S)
        if idle >= _MOST_IDLE:
            self.over = Over(0, f"it answered {idle} times in a row without doing anything")

    def _failed(self, code: int, turn: Turn) -> None:
        trouble = self._fresh_trouble()
        if trouble is None:
            self._refuse_sick_node(code, turn.acted)
        said = (turn.failure, self._place.last_words())
        why = (trouble.message if trouble else "") or turn.failure or _of_exit(code, said[-1])
        row = self._count(trouble, turn.acted)
        log.warning("the agent's program failed (%d in a row): %s", row.count, why)
        if any(map(self._agent.has_lost, said)) or failures.is_conversation_lost(row):
            self._lose_conversation()
        self._start_again_in(failures.wait_s(row.count), trouble.retry_at if trouble else None)
        if failures.is_over(row, self._clock.now()):
            self.over = Over(code or 1, f"it can make no progress: {row.count} failures in a row, the last: {why}")
        elif row.count > 1 or trouble:
            log.info("the agent is started again at %s UTC", f"{self.next_at:%H:%M:%S}")

    def _fresh_trouble(self) -> Trouble | None:
        """Of this start: what went wrong before it is no reason for its end."""
        trouble = self._place.trouble()
        return trouble if trouble and trouble.at >= self._started_at else None

    def _count(self, trouble: Trouble | None, acted: bool) -> Failures:
        now = self._clock.now()
        row = failures.counted(self._state.failures, trouble, acted=acted, now=now)
        self._keep(failures=None if failures.is_long_pause(trouble, now) else row)
        return row

    def _lose_conversation(self) -> None:
        if self._state.conversation:
            log.warning("conversation %s is lost: it begins another", self._state.conversation)
        self._transcript.conversation = None
        self._keep(conversation=None)

    def _start_again_in(self, seconds: float, not_before: datetime | None = None) -> None:
        """(Never twice the same, so that many sessions do not ask in step.)"""
        self.next_at = self._clock.now() + timedelta(seconds=seconds * random.uniform(1, 1 + _JITTER))
        self.next_at = max(self.next_at, not_before or self.next_at)

    def _refuse_sick_node(self, code: int, acted: bool) -> None:
        """A program that did nothing may be the node's fault: then it is not the agent that has failed."""
        if code != 0 and not acted and (why := self._place.why_not()):
            raise InfrastructureError(f"the agent's container does not start on this node: {why}")

    def _keep(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)
        store.write(self._file, self._state)


def _of_exit(code: int, last_words: str) -> str:
    """Return why a program failed that did not say so: what it wrote last may be the reason, and may be anything."""
    return f"exit code {code}" + (f", and its last line was: {last_words}" if last_words else "")


def _left(state: ConversationState | None) -> ConversationState:
    """Where an earlier link left it; how long a service has been down by now, nobody has looked since."""
    if state and state.failures and state.failures.failing is Failing.SERVICE:
        return state.model_copy(update={"failures": None})
    return state or ConversationState()
