"""Read all logs of upstream's tracks 1 and 2 by the strict grammar, by hand: `python -m tests.upstream_logs CLONE`.

CLONE is a git repository of KellerJordan/modded-nanogpt; it needs no work tree.
"""

import subprocess
import sys
from collections.abc import Iterator

from slurm_bench.pure.trainlog import NoResult, parse

_TRACKS = ("records/track_1_short", "records/track_2_medium")


def main(clone: str) -> None:
    """Print each log without a result and why, and how many there are of both kinds."""
    read = 0
    names = list(_names(clone))
    for name in names:
        try:
            parse(_git(clone, "show", f"HEAD:{name}"))
            read += 1
        except NoResult as problem:
            print(f"{name}: {problem}")
    print(f"{read} of {len(names)} logs have a result")


def _names(clone: str) -> Iterator[str]:
    listed = _git(clone, "ls-tree", "-r", "-z", "--name-only", "HEAD", *_TRACKS).split("\0")
    return (name for name in listed if name.endswith((".txt", ".log")) and _is_there(clone, name))


def _is_there(clone: str, name: str) -> bool:
    """Whether the clone holds the file's bytes: a partial one may list more than it has."""
    return subprocess.run(["git", "-C", clone, "cat-file", "-e", f"HEAD:{name}"], capture_output=True).returncode == 0


def _git(clone: str, *argv: str) -> str:
    return subprocess.run(["git", "-C", clone, *argv], check=True, capture_output=True).stdout.decode(
        "utf-8", "replace"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
