"""Jobs of a user whose login shell fails on the node: Slurm must not be asked to start one for them."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_bench.words.accounting import JobState
from tests.clusters import DEV_CLUSTER, is_there
from tests.contract.test_cluster import job, slurm, until_over

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes users"),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """The home of a user of the development cluster, in which a login ends at once."""
    assert is_there()
    folder, user = Path(tempfile.mkdtemp(prefix="slurm_bench-home-", dir="/var/tmp")), f"sb{os.getpid()}"
    (folder / ".profile").write_text("exit 1\n")

    def admin(*argv: str) -> None:
        environment = {**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}
        subprocess.run(argv, env=environment, capture_output=True, check=True)

    admin("useradd", "--no-create-home", f"--home-dir={folder}", "--shell=/bin/bash", user)
    try:
        admin("chown", "--recursive", f"{user}:", str(folder))
        admin("sacctmgr", "--immediate", "add", "user", user, "Account=lab", "Cluster=dev", "DefaultAccount=lab")
        yield folder
    finally:
        admin("sacctmgr", "--immediate", "delete", "user", user)
        admin("userdel", user)
        shutil.rmtree(folder)


def as_owner(folder: Path, user: pwd.struct_passwd, name: str) -> int:
    """Queue a job in a process of its own that is this user's, and return that process's exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.environ |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
        os.chdir(folder)
        asked = job(name, folder, "", count=1, command=["bash", "-c", 'env >"$0"', str(folder / "seen")])
        slurm(folder).submit(asked)
        code = 0
    finally:
        os._exit(code)


def test_a_job_begins_though_its_users_login_fails(home: Path, tmp_path: Path) -> None:
    name, since = f"slurm_bench-test-{home.name}", datetime.now(UTC)
    owner = pwd.getpwuid(home.stat().st_uid)
    assert as_owner(home, owner, name) == 0
    cluster = slurm(tmp_path)
    assert until_over(cluster, name, 1, since) == {0: JobState.COMPLETED}
    seen = dict(line.partition("=")[::2] for line in (home / "seen").read_text().splitlines())
    assert (seen["HOME"], seen["USER"]) == (str(home), owner.pw_name)
