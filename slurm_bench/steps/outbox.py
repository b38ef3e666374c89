"""The outbox: a folder that the agent writes and the desk reads, so that anything may lie in it.

A request names itself (its id is where the answer will lie) and a path, and little more: numbers, job names and folders
are the desk's own. A request that comes twice is the same request.
"""

import logging
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

from slurm_bench.effects import scratch
from slurm_bench.words.experiments import ExperimentRequest
from slurm_bench.words.records import Request

log = logging.getLogger(__name__)

MOST_WAITING = 16
_MOST_SEEN = 2000
"""Names in one call: as those go that are no requests, the others come."""
_MOST_DROPPED = 32
"""In one call."""
_MOST_TOLD = 100
"""Names that the log tells of."""
_REMOVE_S = 10.0
"""In one call; what takes longer is gone on with in the next."""
_MAX_REQUEST_BYTES = 16 * 1024
_NAME = re.compile(r"([0-9a-zA-Z]{1,64})\.json")


R = TypeVar("R", Request, ExperimentRequest)


class Outbox(Generic[R]):
    """
    Args:
        kind: of its requests; each has an `id`, which is its file's name.
        is_answered: whether a request of this id has its answer.
    """

    def __init__(self, folder: Path, kind: type[R], is_answered: Callable[[str], bool]) -> None:
        self._folder, self._is_answered = folder, is_answered
        self._kind: type[R] = kind
        self._condemned: dict[str, None] = {}
        """Names in the order of their turns."""
        self._told = 0

    def waiting(self) -> list[R]:
        """Return the requests without an answer, oldest first; what is none is removed, and what is too much.

        Answered requests stay, and so do names that begin with a dot: the shim writes there before it renames. Only
        so much is removed in one call that whoever watches the agent beside the outbox is not kept from it.
        """
        unanswered, junk = self._sorted_out()
        paths = sorted(unanswered, key=_age)
        junk += [(path, f"more than {MOST_WAITING} requests wait") for path in paths[MOST_WAITING:]]
        requests = []
        for path in paths[:MOST_WAITING]:
            request = self._read(path)
            if request is None:
                junk.append((path, "it is no request"))
            else:
                requests.append(request)
        for path, why in junk[:_MOST_DROPPED]:
            self._condemn(path, why)
        self._remove_condemned()
        return requests

    def drop(self, request_id: str) -> None:
        """Remove a request that gets no answer, or has its last."""
        with suppress(OSError):
            (self._folder / f"{request_id}.json").unlink()

    def _sorted_out(self) -> tuple[list[Path], list[tuple[Path, str]]]:
        """Return files that may be requests without an answer; and what is none, with the reason."""
        unanswered, junk = [], []
        for name in self._names():
            well_named = _NAME.fullmatch(name)
            if not well_named:
                junk.append((self._folder / name, "its name is no request's"))
            elif not self._is_answered(well_named[1]):
                unanswered.append(self._folder / name)
        return unanswered, junk

    def _names(self) -> list[str]:
        outbox = self._folder
        if not os.access(outbox, os.R_OK | os.W_OK | os.X_OK):
            outbox.chmod(0o700)  # the agent's user is ours, and it can close the folder to us both
        with os.scandir(outbox) as entries:
            names = [entry.name for entry in islice(entries, _MOST_SEEN)]
        return [name for name in names if not name.startswith(".") and name not in self._condemned]

    def _read(self, path: Path) -> R | None:
        """Return a request, or None for whatever else lies there: links, pipes, large or odd files."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            request = self._kind.model_validate_json(os.read(handle, _MAX_REQUEST_BYTES))
        except (OSError, ValueError):
            return None
        finally:
            os.close(handle)
        return request if request.id == path.stem else None

    def _condemn(self, path: Path, why: str) -> None:
        self._told += 1
        if self._told <= _MOST_TOLD:
            log.warning("%s: dropped %r: %s", self._folder.name, path.name, why)
        self._condemned[path.name] = None

    def _remove_condemned(self) -> None:
        """Remove names in their turn; one that cannot be removed, or not in time, waits for another turn."""
        end = time.monotonic() + _REMOVE_S
        for _ in range(min(len(self._condemned), _MOST_DROPPED)):
            name = next(iter(self._condemned))
            del self._condemned[name]
            left_s = end - time.monotonic()
            if left_s <= 0 or not scratch.remove(self._folder / name, left_s):
                self._condemned[name] = None


def _age(path: Path) -> float:
    """When a request was written; whatever went away since sorts first."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
