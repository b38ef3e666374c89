"""What the contract's arrays run; importable on a node."""

import os
import time
from pathlib import Path


def touch(folder: str, task: int) -> None:
    Path(folder, f"task{task}").touch()


def fail_at_odd(folder: str, task: int) -> None:
    if task % 2:
        raise ValueError(f"task {task} is odd")


def sleep(folder: str, task: int) -> None:
    Path(folder, f"task{task}").touch()
    time.sleep(120)


def note_environment(folder: str, task: int) -> None:
    Path(folder, f"task{task}").write_text("\n".join(sorted(os.environ)))
