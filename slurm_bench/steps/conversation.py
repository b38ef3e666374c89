"""The one loop around every agent: its program is started, read, waited for, and started again with what it knows.

Whoever calls `tick` again and again keeps it going; nothing here waits, so that the desk serves meanwhile.
"""

import logging
import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Thread
from typing import Protocol

from slurm_bench.agents.agent import Agent
from slurm_bench.effects import processes, store
from slurm_bench.effects.clock import Clock, SystemClock
from slurm_bench.pure.model_troubles import Trouble
from slurm_bench.steps.transcript import Transcript
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import ConversationState

log = logging.getLogger(__name__)

GRACE_S = 20.0
"""That an agent's program gets to write down where it is."""
_BREATH = timedelta(seconds=1)
"""Between an answer and the next prompt."""
_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 600.0
_JITTER = 0.1
_MOST_FAILURES = 6
"""In a row, where the model's service is not what fails."""
_LOST_AFTER = 4
"""Of them a conversation is given up, e.g. one that has become too long: its workspace is still there."""
_MOST_HOPELESS = 3
"""In a row, where the service says what no waiting mends: a key that it does not know, a model that is not there."""
_PATIENCE = timedelta(hours=2)
"""With a service that is down and does not say until when."""
_MOST_IDLE = 10
"""Answers in a row without an action: an agent that has nothing left to do."""
_BY_SIGTERM = (-15, 128 + 15)
_SIGTERM_S = 3.0


@dataclass(frozen=True)
class Over:
    """How it came to an end by itself."""

    exit_code: int
    reason: str = ""
    """Empty where its program just ended."""


class Site(Protocol):
    """Where an agent's program runs."""

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start it in its container, with its standard output for us to read."""

    def redact(self, line: str) -> str:
        """The line without any key of ours."""

    def trouble(self) -> Trouble | None:
        """What its model's service answered last, if that was no success."""

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
        site: Site,
        paths: SessionPaths,
        clock: Clock | None = None,
    ) -> None:
        self._agent, self._site, self._file = agent, site, paths.conversation
        self._first_prompt, self._resume_prompt = prompts
        self._transcript = Transcript(paths.transcript, agent, site.redact, plain=paths.agent_log)
        self._state = store.read_if_there(self._file, ConversationState) or ConversationState()
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Thread | None = None
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
            self._start()
        elif self._process is not None:
            self._remember()
            if (code := self._process.poll()) is not None:
                self._ended(code)

    def stop(self) -> None:
        """End the program, gently at first; its conversation can be gone on with."""
        if self._process is None:
            return
        processes.end_tree(self._process.pid, grace_s=GRACE_S)
        self._process.wait()
        self._finish_reading()
        self._process = None
        self._remember()

    def _start(self) -> None:
        known = self._state.conversation
        number = self._state.starts + 1
        log.info("starting the agent%s", f" again ({number}), in conversation {known}" if known else "")
        self._transcript.note(f"start {number}{f', conversation {known}' if known else ''}")
        self._process = self._site.start(
            self._agent.command(self._resume_prompt if known else self._first_prompt, known)
        )
        assert self._process.stdout is not None
        self._reader = self._transcript.follow(self._process.stdout)
        self._keep(starts=number)

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
        self._reader.join(GRACE_S)

    def _remember(self) -> None:
        if self._transcript.conversation and self._transcript.conversation != self._state.conversation:
            self._keep(conversation=self._transcript.conversation)

    def _answered(self, acted: bool) -> None:
        """Its program ended well: the agent thinks that it is done, and is told to go on."""
        idle = 0 if acted else self._state.idle + 1
        self._keep(failures=0, failing_since=None, idle=idle)
        self.next_at = self._clock.now() + (_BREATH if acted else _wait(idle))
        if idle >= _MOST_IDLE:
            self.over = Over(0, f"it answered {idle} times in a row without doing anything")

    def _failed(self, code: int, acted: bool) -> None:
        now, trouble = self._clock.now(), self._site.trouble()
        failures = 1 if acted else self._state.failures + 1
        since = (None if acted else self._state.failing_since) or now
        said = ": ".join(filter(None, (self._transcript.failure, self._site.last_words())))
        why = (trouble.message if trouble else "") or said or f"exit code {code}"
        log.warning("the agent's program failed (%d in a row): %s", failures, why)
        self._keep(failures=failures, failing_since=since)
        is_lost = self._agent.has_lost(said) or (trouble is None and failures == _LOST_AFTER)
        if is_lost and self._state.conversation:
            log.warning("conversation %s is lost: it begins another", self._state.conversation)
            self._transcript.conversation = None
            self._keep(conversation=None)
        if trouble is None and not acted:
            self._refuse_sick_node(code, acted)
        self.next_at = max(now + _wait(failures), trouble.retry_at if trouble and trouble.retry_at else now)
        if self._is_hopeless(failures, now - since, trouble):
            self.over = Over(code or 1, f"it can make no progress: {failures} failures in a row, the last: {why}")
        elif self.next_at > now + timedelta(seconds=_FIRST_WAIT_S):
            log.info("the agent is started again at %s UTC", f"{self.next_at:%H:%M:%S}")

    def _is_hopeless(self, failures: int, for_how_long: timedelta, trouble: Trouble | None) -> bool:
        if trouble is None:
            return failures >= _MOST_FAILURES
        if trouble.is_hopeless:
            return failures >= _MOST_HOPELESS
        return for_how_long > _PATIENCE and trouble.retry_at is None

    def _refuse_sick_node(self, code: int, acted: bool) -> None:
        """A program that did nothing may be the node's fault: then it is not the agent that has failed."""
        if code != 0 and not acted and (why := self._site.why_not()):
            raise InfrastructureError(f"the agent's container does not start on this node: {why}")

    def _keep(self, **changes: object) -> None:
        self._state = self._state.model_copy(update=changes)
        store.write(self._file, self._state)


def _wait(times: int) -> timedelta:
    """Longer each time, and never twice the same, so that many sessions do not ask in step."""
    seconds = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (times - 1))
    return timedelta(seconds=seconds * random.uniform(1, 1 + _JITTER))
