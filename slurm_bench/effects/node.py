"""The node that a trial runs on: its GPUs, who else uses them or the cores, and what a trial left behind."""

import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import psutil

from slurm_bench.effects import processes
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.trials import Gpu

GPU_QUERY = ("nvidia-smi", "--query-gpu=uuid,name,driver_version", "--format=csv,noheader")

_SAMPLE_S = 0.5
_POLL_S = 0.5
_TIMEOUT_S = 60


def name() -> str:
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())


def gpus(argv: Sequence[str]) -> tuple[Gpu, ...]:
    """The GPUs that GPU_QUERY names, run by the argument list that puts it where we want to look; () if it fails."""
    try:
        done = processes.run(argv, timeout_s=_TIMEOUT_S)
    except (processes.TimedOut, OSError):
        return ()
    rows = [line.split(", ") for line in done.stdout.splitlines()] if done.exit_code == 0 else []
    return tuple(Gpu(uuid=row[0], name=row[1], driver=row[2]) for row in rows if len(row) == 3)


def computing_gpus() -> int:
    """How many of the GPUs that are visible here have computed within the last second; 0 if nobody can say."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        done = processes.run(query, timeout_s=_TIMEOUT_S)
    except (processes.TimedOut, OSError):
        return 0
    shares = done.stdout.split() if done.exit_code == 0 else []
    return sum(share.isdigit() and int(share) > 0 for share in shares)


def wait_until_quiet(seen: Iterable[Gpu], foreign_cores: float | None, patience_s: float) -> None:
    """Return once nobody else computes on these GPUs, and no more than `foreign_cores` cores.

    Raises:
        InfrastructureError: somebody still does after the patience; names who.
    """
    uuids = {gpu.uuid for gpu in seen}
    deadline = time.monotonic() + patience_s
    while found := [*on_gpus(uuids), *on_cores(foreign_cores)]:
        if time.monotonic() > deadline:
            raise InfrastructureError(f"the node is not quiet: {found[0]}")
        time.sleep(_POLL_S)


def on_gpus(uuids: set[str]) -> list[str]:
    """Processes of anybody that compute on one of these GPUs."""
    if not uuids:
        return []
    query = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name", "--format=csv,noheader"]
    try:
        done = processes.run(query, timeout_s=_TIMEOUT_S)
    except (processes.TimedOut, OSError) as error:
        raise InfrastructureError(f"nobody can say who uses the GPUs: {error}") from None
    if done.exit_code != 0:
        raise InfrastructureError(f"nobody can say who uses the GPUs: nvidia-smi failed ({done.exit_code})")
    rows = [line.split(", ", 2) for line in done.stdout.splitlines()]
    return [f"process {row[1]} ({row[2]}) on {row[0]}" for row in rows if len(row) == 3 and row[0] in uuids]


def on_cores(allowed: float | None) -> list[str]:
    """The busiest process of others, if they use more cores than allowed; our own family does not count."""
    if allowed is None:
        return []
    began, before = time.monotonic(), _cpu_times()
    time.sleep(_SAMPLE_S)
    took_s, after = time.monotonic() - began, _cpu_times()
    used = {key: (seconds - before[key]) / took_s for key, seconds in after.items() if key in before}
    if sum(used.values()) <= allowed:
        return []
    (pid, program), cores = max(used.items(), key=lambda item: item[1])
    return [f"process {pid} ({program}) with {cores:.1f} of {sum(used.values()):.1f} foreign cores"]


def _cpu_times() -> dict[tuple[int, str], float]:
    """CPU seconds so far of every program that is neither the kernel's nor of our own family, by pid and name."""
    me = psutil.Process()
    family = {process.pid for process in (me, *me.parents(), *me.children(recursive=True))}
    times = {}
    for process in psutil.process_iter(["pid", "name", "cpu_times", "ppid"]):
        facts = process.info
        kernel = facts["pid"] == 2 or facts["ppid"] == 2
        if facts["cpu_times"] and not kernel and facts["pid"] not in family:
            times[facts["pid"], facts["name"]] = facts["cpu_times"].user + facts["cpu_times"].system
    return times


def end_what_is_left(folder: Path, patience_s: float) -> list[int]:
    """End the processes that still hold on to a trial's scratch folder after the patience, and return them."""
    deadline = time.monotonic() + patience_s
    while (left := holding(folder)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for pid in left:
        processes.end_tree(pid)
    return left


def holding(folder: Path) -> list[int]:
    """Processes with this folder in their mounts, their environment or as their working folder.

    A contained process knows the folder by other names, but its table of mounts says where they come from.
    """
    mark = folder.name.encode()
    ours = _View.of("self")
    shared = mark in _read("self", "mountinfo")

    def holds(pid: int) -> bool:
        # Most of a node's processes see the mounts that we see: the kernel need not list them for each.
        sees = shared if _View.of(pid) == ours else mark in _read(pid, "mountinfo")
        return sees or mark in _read(pid, "environ") or mark in _working_folder(pid)

    return [pid for pid in psutil.pids() if pid != os.getpid() and holds(pid)]


@dataclass(frozen=True)
class _View:
    """What decides which mounts a process sees."""

    namespace: tuple[int, int] | None
    root: tuple[int, int] | None
    """Device and number of each; None where we may not look."""

    @classmethod
    def of(cls, pid: int | Literal["self"]) -> Self:
        return cls(_identity(f"/proc/{pid}/ns/mnt"), _identity(f"/proc/{pid}/root"))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)  # noqa: PTH116  thousands of them, and pathlib takes ten times as long
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _read(pid: int | Literal["self"], name: str) -> bytes:
    """A file of a process, empty where we may not read it or the process is gone."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as stream:  # noqa: PTH123  as above
            return stream.read()
    except OSError:
        return b""


def _working_folder(pid: int) -> bytes:
    try:
        return os.fsencode(os.readlink(f"/proc/{pid}/cwd"))  # noqa: PTH115  as above
    except OSError:
        return b""
