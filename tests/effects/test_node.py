"""What a node tells of itself, asked with real processes."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slurm_bench.effects import node, processes
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.trials import Gpu
from tests.waiting import LONG_S, until

TWO_GPUS = "GPU-1, NVIDIA H100 80GB HBM3, 570.10\nGPU-2, NVIDIA H100 80GB HBM3, 570.10\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the PATH, for an nvidia-smi that says what a test wants."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def nvidia_smi(tools: Path, says: str, code: int = 0) -> None:
    program = tools / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}END\nexit {code}\n")
    program.chmod(0o755)


def test_gpus_as_nvidia_smi_lists_them(tools: Path) -> None:
    nvidia_smi(tools, TWO_GPUS)
    seen = node.gpus(node.GPU_QUERY)
    assert [gpu.uuid for gpu in seen] == ["GPU-1", "GPU-2"]
    assert seen[0] == Gpu(uuid="GPU-1", name="NVIDIA H100 80GB HBM3", driver="570.10")


def test_no_program_or_no_driver_is_no_gpu(tools: Path) -> None:
    assert node.gpus(node.GPU_QUERY) == ()
    nvidia_smi(tools, "Failed to initialize NVML\n", code=9)
    assert node.gpus(node.GPU_QUERY) == ()


def test_a_process_on_our_gpu(tools: Path) -> None:
    nvidia_smi(tools, "GPU-1, 4711, python3\nGPU-9, 4712, other, with a comma\n")
    ours = [Gpu(uuid="GPU-1", name="H100", driver="1")]
    with pytest.raises(InfrastructureError, match=r"process 4711 \(python3\) on GPU-1"):
        node.wait_until_quiet(ours, None, 0)
    node.wait_until_quiet([Gpu(uuid="GPU-2", name="H100", driver="1")], None, 0)
    nvidia_smi(tools, "", code=3)
    with pytest.raises(InfrastructureError, match="nvidia-smi failed"):
        node.wait_until_quiet(ours, None, 0)


def detach(argv: list[str]) -> None:
    """Run a program that leaves a daemon behind."""
    processes.start(argv, output=Path("/dev/null")).wait(LONG_S)


def see_only(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all processes that run here, some of which others have started."""
    seen = psutil.process_iter
    monkeypatch.setattr(psutil, "process_iter", lambda attrs: (each for each in seen(attrs) if each.pid == pid))


@pytest.fixture
def hog(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A process that is not of our family, and eats a core."""
    mark = uuid.uuid4().hex
    script = f"import os  # {mark}\nif os.fork() == 0:\n os.setsid()\n while True: pass"
    detach([sys.executable, "-c", script])
    found = processes.run(["pgrep", "-f", mark], timeout_s=LONG_S).stdout.split()
    see_only(int(found[0]), monkeypatch)
    yield int(found[0])
    for pid in found:
        processes.end_tree(int(pid))


def test_a_busy_core(hog: int) -> None:
    with pytest.raises(InfrastructureError, match=rf"the node is not quiet: process {hog} "):
        while True:  # on a busy machine it may get no core at first
            node.wait_until_quiet((), 0.0, 0)
    node.wait_until_quiet((), None, 0)


def test_our_own_family_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    child = processes.start([sys.executable, "-c", "while True: pass"], output=Path("/dev/null"))
    try:
        until(lambda: psutil.Process(child.pid).cpu_times().user > 0)
        see_only(child.pid, monkeypatch)
        assert node.on_cores(0.0) == []
    finally:
        processes.end_tree(child.pid)
        child.wait()


@pytest.mark.parametrize("trace", ["cwd", "environment"])
def test_what_is_left_is_found_and_ended(tmp_path: Path, trace: str) -> None:
    script = "import os, time\nif os.fork() == 0:\n os.setsid()\n time.sleep(600)"
    folder = tmp_path / f"slurm_bench-trial-{uuid.uuid4().hex}"
    folder.mkdir()
    inside = ["env", f"--chdir={folder}"] if trace == "cwd" else ["env", f"TMPDIR={folder}"]
    detach([*inside, sys.executable, "-c", script])
    (left,) = node.end_what_is_left(folder, 0)
    until(lambda: left not in node.holding(folder))
    assert node.end_what_is_left(folder, 0) == []
