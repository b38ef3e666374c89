"""Two ordinary users of one group, who share what the test's folder holds: real processes with numbers of their own."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import waiting
from tests.conftest import REPOSITORY

GROUP = 47000
SYSTEM_PYTHON = "/usr/bin/python3"  # an interpreter that they can read, wherever this one lies
NOT_ROOT = "only root can be two users"


@dataclass(frozen=True)
class User:
    number: int
    place: "Place"
    umask: str = "022"

    @property
    def name(self) -> str:
        """What stands for a user without an entry in passwd."""
        return f"user {self.number}"

    def run(self, *argv: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end, from this user's own folder."""
        home = self.place.root / f"home-{self.number}"
        home.mkdir(mode=0o700, exist_ok=True)
        os.chown(home, self.number, GROUP)
        as_user = ["setpriv", f"--reuid={self.number}", f"--regid={GROUP}", "--clear-groups"]
        return subprocess.run(
            [*as_user, "sh", "-c", f'umask {self.umask}; exec "$@"', "sh", *argv],
            cwd=home,
            env={"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home)},
            capture_output=True,
            text=True,
            timeout=waiting.LONG_S,
            check=False,
        )

    def bench(self, *overrides: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the benchmark on the runs that all users share."""
        home = self.place.root / f"home-{self.number}"
        own = [f"runs={self.place.runs}", f"task.data={home}/data", f"cluster.scratch={home}"]
        return self.run(self.place.python, "-m", "slurm_bench", *own, *overrides)


@dataclass(frozen=True)
class Place:
    """A folder that everybody may enter, with an interpreter that knows this checkout."""

    root: Path

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def python(self) -> Path:
        return self.root / ".venv/bin/python"

    def user(self, number: int, umask: str = "022") -> User:
        return User(number, self, umask)

    def share_runs(self, owner: User, mode: int = 0o2775) -> None:
        """Make the folder of all runs, as its owner would."""
        self.runs.mkdir()
        os.chown(self.runs, owner.number, GROUP)
        self.runs.chmod(mode)


@contextmanager
def place() -> Iterator[Place]:
    """A place for two users, which pytest's own folders are not: those are root's alone."""
    made = Place(Path(tempfile.mkdtemp(prefix="slurm_bench-users-", dir="/var/tmp")))
    made.root.chmod(0o755)
    try:
        subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", made.root / ".venv"], check=True)
        (packages,) = (made.root / ".venv/lib").glob("python3*/site-packages")
        (packages / "here.pth").write_text(f"{REPOSITORY}\n{sysconfig.get_path('purelib')}\n")
        yield made
    finally:
        shutil.rmtree(made.root)
