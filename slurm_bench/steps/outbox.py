"""The outbox: a folder that the agent writes and the desk reads, so that anything may lie in it.

A request names itself (its id is where the verdict will lie) and a path, no more: numbers, job names and folders are
the desk's own. A request that comes twice is the same request.
"""

import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from slurm_bench.effects import scratch
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Request

log = logging.getLogger(__name__)

MOST_WAITING = 16
_MAX_REQUEST_BYTES = 16 * 1024
_NAME = re.compile(r"([0-9a-zA-Z]{1,64})\.json")


class Outbox:
    def __init__(self, paths: SessionPaths) -> None:
        self._paths = paths
        self._stuck: set[str] = set()

    def waiting(self) -> list[Request]:
        """Requests without a verdict, oldest first; what is none is removed, and what is too much.

        Answered requests stay, and so do names that begin with a dot: the shim writes there before it renames.
        """
        paths = sorted(self._unanswered(), key=_age)
        for path in paths[MOST_WAITING:]:
            self._drop(path, f"more than {MOST_WAITING} requests wait")
        requests = []
        for path in paths[:MOST_WAITING]:
            request = _read(path)
            if request is None:
                self._drop(path, "it is no request")
            else:
                requests.append(request)
        return requests

    def _unanswered(self) -> Iterator[Path]:
        with os.scandir(self._paths.outbox) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if name.startswith(".") or name in self._stuck:
                continue
            well_named = _NAME.fullmatch(name)
            if not well_named:
                self._drop(self._paths.outbox / name, "its name is no request's")
            elif not self._paths.verdict_in_inbox(well_named[1]).exists():
                yield self._paths.outbox / name

    def _drop(self, path: Path, why: str) -> None:
        log.warning("outbox: dropped %r: %s", path.name, why)
        if not scratch.remove(path):
            self._stuck.add(path.name)


def _age(path: Path) -> float:
    """When a request was written; whatever went away since sorts first."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> Request | None:
    """A request, or None for whatever else lies there: links, pipes, large or odd files."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        request = Request.model_validate_json(os.read(handle, _MAX_REQUEST_BYTES))
    except (OSError, ValueError):
        return None
    finally:
        os.close(handle)
    return request if request.id == path.stem else None
