"""An agent's process is known, so that it can be asked to end; and that it stands still while its own node times a
candidate: what runs beside a trial would be in its time.

`python -m slurm_bench.effects.standstill RECORD COMMAND…` comes before the agent's command in its step: it writes down
which process it is, and becomes the command.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slurm_bench.effects import processes, store
from slurm_bench.effects.cluster import python_command
from slurm_bench.words.errors import InfrastructureError

_BEGIN_S = 60.0
"""For a step to begin."""
_POLL_S = 0.1


def recorded(record: Path) -> list[str]:
    """What stands before the command line of an agent that is to be found by this record."""
    record.unlink(missing_ok=True)  # it names an earlier one
    return python_command(__name__, str(record))


@contextmanager
def of(record: Path) -> Iterator[None]:
    """Stop the agent of this record, and let it go on afterwards.

    Raises:
        InfrastructureError: it did not begin, or cannot be stopped.
    """
    with processes.held(_await(record)):
        yield


def _await(record: Path) -> processes.ProcessIdentity:
    deadline = time.monotonic() + _BEGIN_S
    while not record.exists():
        if time.monotonic() > deadline:
            raise InfrastructureError(f"the agent's step did not begin within {_BEGIN_S:g} s")
        time.sleep(_POLL_S)
    return store.read(record, processes.ProcessIdentity)


def end(record: Path, grace_s: float) -> None:
    """End the agent of this record; one that stands still at once: asked politely, it would wake up beside a trial."""
    head = store.read_if_there(record, processes.ProcessIdentity)
    if head is not None and processes.is_held(head):
        processes.end_tree(head.pid)
    elif head is not None and processes.is_alive(head):
        processes.end_tree(head.pid, grace_s)


def used_s(record: Path) -> float:
    """Processor time that the agent of this record has used so far, with all its processes."""
    head = store.read_if_there(record, processes.ProcessIdentity)
    return processes.used_s(head) if head else 0.0


def main(record: str, *command: str) -> None:
    store.write(Path(record), processes.identify(os.getpid()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
