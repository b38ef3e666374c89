"""The transcript: what an agent's program says, kept as raw events and as text to read, while it says it."""

import json
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from slurm_bench.agents.agent import Agent, Seen
from slurm_bench.pure.plain import one_line, printable
from slurm_bench.words.paths import TranscriptPaths

log = logging.getLogger(__name__)

_LONGEST_LINE = 16 * 2**20
_MOST_BYTES = 8 * 2**30
"""Of raw events in a session: an agent must not fill the disk by talking."""
_MOST_WARNINGS = 10
"""That are logged."""
_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_-]{0,99}")
"""Of a conversation: it becomes an argument of the next command line, and anything can write to that stream."""


@dataclass(frozen=True)
class Turn:
    """What a program's events say of its last turn."""

    acted: bool = False
    """Whether the agent did something since the program was started."""
    is_over: bool = False
    """Whether the program has said so, and nothing since."""
    failure: str = ""
    """Why it failed, in the program's own words."""


class Transcript:
    """
    Args:
        redact: takes secrets out of a line.
        plain: file for lines that are no events.
    """

    def __init__(self, paths: TranscriptPaths, agent: Agent, redact: Callable[[str], str], *, plain: Path) -> None:
        self._paths, self._agent, self._redact, self._plain = paths, agent, redact, plain
        paths.root.mkdir(parents=True, exist_ok=True)
        paths.events.touch()
        self._left = _MOST_BYTES - paths.events.stat().st_size
        self._is_full = False
        self._warnings: set[str] = set()
        self.conversation: str | None = None
        """The last conversation that was named."""
        self.acted_at: datetime | None = None
        """When the agent last did something."""
        self.turn = Turn()
        """Of the program that `follow` follows."""

    def note(self, text: str) -> None:
        """A line of our own in the readable trace."""
        with self._paths.trace.open("a", encoding="utf-8") as trace:
            trace.write(f"\n== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")

    def follow(self, stream: IO[bytes]) -> threading.Thread:
        """Read a program's output to its end, beside whatever else happens; return the thread that does it."""
        self.turn = Turn()
        thread = threading.Thread(target=self._read, args=(stream,), name="transcript", daemon=True)
        thread.start()
        return thread

    def _read(self, stream: IO[bytes]) -> None:
        with (
            stream,
            self._paths.events.open("a", encoding="utf-8") as events,
            self._paths.trace.open("a", encoding="utf-8") as trace,
            self._plain.open("a", encoding="utf-8") as plain,
        ):
            while raw := stream.readline(_LONGEST_LINE):
                try:
                    self._take(raw, events, trace, plain)
                except Exception:
                    # Whatever it is: a program whose output nobody reads would end.
                    log.exception("a line of the agent's output is lost")

    def _take(self, raw: bytes, events: IO[str], trace: IO[str], plain: IO[str]) -> None:
        line = self._redact(raw.decode("utf-8", errors="replace")).rstrip("\n")
        event = event_in(line)
        seen = self._agent.read(event) if event is not None else self._plainly(line)
        self._remember(seen)
        self._left -= len(raw)
        if self._left < 0:
            self._note_that_it_is_full()
            return
        print(line, file=plain if event is None else events, flush=True)
        if seen.text:
            print(printable(seen.text), file=trace, flush=True)

    def _warn(self, warning: str) -> None:
        """Say it where people look, once."""
        if warning not in self._warnings and len(self._warnings) < _MOST_WARNINGS:
            self._warnings.add(warning)
            log.warning("the agent's program warns: %s", warning)

    def _note_that_it_is_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            log.warning("the transcript is full: what the agent says from here on is not kept")

    def _plainly(self, line: str) -> Seen:
        """What a line says that is no event: of an agent without events it is all that shows what it does."""
        return Seen(text=line, acted=not self._agent.has_events)

    def _remember(self, seen: Seen) -> None:
        if seen.conversation and _ID.fullmatch(seen.conversation):
            self.conversation = seen.conversation
        if seen.warning:
            self._warn(one_line(seen.warning))
        if seen.acted:
            self.turn = replace(self.turn, acted=True)
            self.acted_at = datetime.now(UTC)
        if seen.failure is not None:
            self.turn = replace(self.turn, is_over=True, failure=one_line(seen.failure))
        elif seen.text:
            self.turn = replace(self.turn, is_over=False)


def event_in(line: str) -> dict[str, object] | None:
    """The event that a line of a program's output is; None for any other line."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
