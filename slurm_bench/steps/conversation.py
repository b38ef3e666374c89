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
from slurm_bench.steps.transcript import Transcript
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

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """End it, gently at first; return once it is gone."""

    def standing_still(self) -> AbstractContextManager[None]:
        """Lets it stand still meanwhile."""

    def last_words(self) -> str:
        """The last line that it said and that was no event."""

    def why_not(self) -> str:
        """Why no container starts here, empty if one does."""


class Conversation:
    """
    Args:
        prompts: what the agent is told at first, and when it goes on.
    """

    def __init__(
        self,
        agent: Agent,
        prompts: tuple[str, str],
        place: Place,
        paths: SessionPaths,
        clock: Clock | None = None,
    ) -> None:
        self._agent, self._place, self._file = agent, place, paths.conversation
        self._first_prompt, self._resume_prompt = prompts
        self._transcript = Transcript(paths.transcript, agent, place.redact, plain=paths.agent_log)
        self._state = _left(store.read_if_there(self._file, ConversationState))
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
        self._is_at_rest = False
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
            if not self._is_at_rest:
                self._start()
        elif self._process is not None:
            self._remember()
            if (code := self._process.poll()) is not None:
                self._ended(code)

    def stop(self) -> None:
        """End the program, gently at first; its conversation can be gone on with."""
        if self._process is None:
            return
        self._place.end(self._process)
        self._finish_reading()
        self._process = None
        self._remember()

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
        command = self._agent.command(self._resume_prompt if known else self._whole_prompt, known)
        self._keep(starts=number)  # from here on the workspace is the agent's
        self._started_at = datetime.now(UTC)
        self._process = self._place.start(command)
        assert self._process.stdout is not None
        self._reader = self._transcript.follow(self._process.stdout)

    @property
    def _whole_prompt(self) -> str:
        """For a new conversation; one that is not the first finds a workspace with work in it."""
        return f"{self._first_prompt}\n{self._resume_prompt}" if self._state.starts else self._first_prompt

    def _ended(self, code: int) -> None:
        if code in _BY_SIGTERM:
            time.sleep(_SIGTERM_S)  # whoever ends our job ends its steps first: then we are interrupted here
        self._finish_reading()
        self._process = None
        acted = self._transcript.has_acted
        self._remember()
        if not self._agent.converses:
            self._refuse_sick_node(code, acted)
            self.over = Over(code)
        elif code == 0 and not self._transcript.failure:
            self._answered(acted)
        else:
            self._failed(code, acted)

    def _finish_reading(self) -> None:
        assert self._reader is not None
        self._reader.join(_READING_S)

    def _remember(self) -> None:
        if self._transcript.conversation and self._transcript.conversation != self._state.conversation:
            self._keep(conversation=self._transcript.conversation)

    def _answered(self, acted: bool) -> None:
        """Its program ended well: the agent thinks that it is done, and is told to go on."""
        idle = 0 if acted else self._state.idle + 1
        self._keep(failures=None, idle=idle)
        self._start_again_in(_BREATH_S if acted else failures.wait_s(idle))
        if idle >= _MOST_IDLE:
            self.over = Over(0, f"it answered {idle} times in a row without doing anything")

    def _failed(self, code: int, acted: bool) -> None:
        trouble = self._fresh_trouble()
        if trouble is None:
            self._refuse_sick_node(code, acted)
        said = ": ".join(filter(None, (self._transcript.failure, self._place.last_words())))
        why = (trouble.message if trouble else "") or said or f"exit code {code}"
        row = self._count(trouble, acted)
        log.warning("the agent's program failed (%d in a row): %s", row.count, why)
        if self._agent.has_lost(said) or failures.is_conversation_lost(row):
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


def _left(state: ConversationState | None) -> ConversationState:
    """Where an earlier link left it; how long a service has been down by now, nobody has looked since."""
    if state and state.failures and state.failures.failing is Failing.SERVICE:
        return state.model_copy(update={"failures": None})
    return state or ConversationState()
