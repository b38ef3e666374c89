"""Locks between processes, where the file system has them and where it has not."""

import subprocess
import sys
from pathlib import Path

import pytest

from slurm_bench.effects import locking
from tests.conftest import REPOSITORY

HOLDER = """
import sys, time
from pathlib import Path
from slurm_bench.effects import locking
from slurm_bench.words.errors import BenchError
try:
    with locking.lock(Path(sys.argv[1]), busy="busy"):
        print("held", flush=True)
        time.sleep(600)
except BenchError as error:
    print(f"{error.exit_code} {error}")
"""


def run(folder: Path, *argv: str) -> "subprocess.Popen[str]":
    (folder / "holder.py").write_text(HOLDER)
    paths = f"{folder}:{REPOSITORY}"
    return subprocess.Popen(
        [sys.executable, *argv, str(folder / "lock")], env={"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def test_a_lock_binds_others_and_goes_with_its_holder(tmp_path: Path) -> None:
    with run(tmp_path, "-m", "holder") as holder:
        assert first_line(holder) == "held"
        assert locking.is_held(tmp_path / "lock")
        holder.kill()
    assert not locking.is_held(tmp_path / "lock")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("ENOSYS", "Function not implemented"),
        ("EOPNOTSUPP", "Operation not supported"),
        ("ENOLCK", "No locks available"),
    ],
)
def test_a_file_system_without_locks_is_refused_in_one_line(tmp_path: Path, error: str, said: str) -> None:
    """A file that only marks a lock would stay for ever where its holder is killed."""
    with run(tmp_path, str(REPOSITORY / "tests/without_flock.py"), error, "holder") as holder:
        line = first_line(holder)
        holder.kill()
    remedy = "take a folder that has them, or have it mounted with them (Lustre: -o flock)"
    assert line == f"3 {tmp_path}: no locks between processes there (flock: {said}); {remedy}"
