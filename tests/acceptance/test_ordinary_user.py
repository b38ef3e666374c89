"""The attacks once more where nobody is root: session, jobs and containers belong to the cluster's ordinary user.

Root's containers give up their privileges by themselves; an ordinary user has none, and other ways around: nested
user namespaces, files that belong to him on both sides of a mount.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import DEV_CLUSTER
from tests.conftest import IMAGE, REPOSITORY

USER = "bench"  # whom scripts/dev_cluster makes
SYSTEM_PYTHON = "/usr/bin/python3"  # an interpreter that he can read, wherever this one lies
NOT_NEEDED = ("torch*", "nvidia*", "triton*", "mypy*", "ruff*", "playwright*", "_editable*")
"""Packages that are large, and the link to this checkout."""
CHOSEN = (
    "in_the_container or honest or to_the_end or links_out or forged or without_end or race or disk or deeper "
    "or requeue or bomb"
)


def run(*argv: str | Path) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of this checkout with an environment of its own, which the ordinary user can read."""
    folder = Path(tempfile.mkdtemp(prefix="slurm_bench-ordinary-", dir="/var/tmp"))
    copy = folder / "slurm_bench"
    tracked = run("git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in [name for name in tracked if (REPOSITORY / name).is_file()]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, copy / name)
    shutil.copy(IMAGE, copy / "containers" / IMAGE.name)
    run("chown", "--recursive", f"{USER}:", folder)
    make_environment(copy)
    folder.chmod(0o755)
    yield copy
    shutil.rmtree(folder)


def make_environment(copy: Path) -> None:
    """Give the checkout the packages of this one's environment, which takes a pip a minute to fetch and install."""
    ours = Path(sysconfig.get_path("purelib"))
    run(SYSTEM_PYTHON, "-m", "venv", "--without-pip", copy / ".venv")
    (theirs,) = (copy / ".venv/lib").glob("python3*/site-packages")
    assert theirs.parent.name == ours.parent.name, f"{SYSTEM_PYTHON} is another Python than {sys.executable}"
    shutil.copytree(ours, theirs, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_NEEDED))
    (theirs / "checkout.pth").write_text(f"{copy}\n")


@pytest.mark.long
@pytest.mark.slurm
@pytest.mark.apptainer
@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite runs as an ordinary user already")
def test_the_attacks_fail_for_an_ordinary_user_too(checkout: Path) -> None:
    environment = {
        "HOME": pwd.getpwnam(USER).pw_dir,
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "SLURM_BENCH_DEV_CLUSTER": str(DEV_CLUSTER),
        "CI": "true",
    }
    assignments = [f"{name}={value}" for name, value in environment.items()]
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    pytest_argv: list[str | Path] = [
        checkout / ".venv/bin/python",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/attacks",
    ]
    said = run(*as_user, "env", "-i", f"--chdir={checkout}", *assignments, *pytest_argv, "-k", CHOSEN)
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) > 40, said
