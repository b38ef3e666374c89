"""Whether locks between processes hold in a folder: tried with a second process, which is killed while it holds one."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from slurm_bench.effects import locking, processes
from slurm_bench.effects.cluster import python_command

_START_S = 60.0
_FREED_S = 10.0
_HOLD_S = 120.0
_LOOK_S = 0.05


def problem(folder: Path) -> str:
    """Return what is wrong with them, in one line; empty if nothing is.

    Args:
        folder: an empty one.

    Raises:
        StorageError: there are none.
    """
    path = folder / "lock"
    locking.is_held(path)
    holder = processes.start(python_command(__name__, str(path)), output=folder / "holder.log")
    try:
        if not _within(_START_S, _sign(path).exists):
            return f"a process that was to lock {path} did not within {_START_S:g} s"
        if not locking.is_held(path):
            return "two processes can hold the same lock at once"
    finally:
        processes.end_tree(holder.pid)
        holder.wait()
    freed = _within(_FREED_S, lambda: not locking.is_held(path))
    return "" if freed else f"a lock is still there {_FREED_S:g} s after its holder was killed"


def _sign(path: Path) -> Path:
    """By which a holder shows that it has the lock."""
    return path.with_suffix(".held")


def _within(limit_s: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + limit_s
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return held


def main(path: str) -> None:
    """What the second process does."""
    with locking.lock(Path(path)):
        _sign(Path(path)).touch()
        time.sleep(_HOLD_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
