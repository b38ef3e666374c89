"""What both kinds of container keep, and what only a real one does."""

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path

import pytest

from slurm_bench.effects import processes
from slurm_bench.effects.containers import Apptainer, Container, Mount, NoContainer, Program, image_sha256
from slurm_bench.steps import site
from slurm_bench.words.config import ContainerConfig
from slurm_bench.words.errors import UsageError
from tests.conftest import IMAGE
from tests.waiting import LONG_S, until

APPTAINER = pytest.param("apptainer", marks=pytest.mark.apptainer)


@pytest.fixture(params=["none", APPTAINER])
def container(request: pytest.FixtureRequest) -> Container:
    return NoContainer() if request.param == "none" else Apptainer(IMAGE, gpu_devices=False)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Mount]:
    mounts = {
        "work": Mount(tmp_path / "work", "/workspace", writable=True),
        "given": Mount(tmp_path / "given", "/given"),
        "home": Mount(tmp_path / "home", "/home/somebody", writable=True),
    }
    for mount in mounts.values():
        mount.outside.mkdir()
    (mounts["given"].outside / "file").write_text("given\n")
    return mounts


def run(container: Container, folders: dict[str, Mount], *command: str, **environment: str) -> processes.Completed:
    program = Program(
        command=command,
        mounts=[folders["work"], folders["given"]],
        home=folders["home"],
        directory=folders["work"],
        environment=environment,
    )
    return processes.run(container.argv(program), timeout_s=LONG_S)


def test_it_starts_in_the_given_folder_with_the_given_home(container: Container, folders: dict[str, Mount]) -> None:
    done = run(
        container,
        folders,
        "bash",
        "-c",
        "pwd; touch here; touch ~/there; cat $GIVEN/file",
        GIVEN=container.inside(folders["given"]),
    )
    assert done == processes.Completed(0, f"{container.inside(folders['work'])}\ngiven\n", "")
    assert (folders["work"].outside / "here").exists()
    assert (folders["home"].outside / "there").exists()


@pytest.mark.parametrize("value", ["plain", "a,b,c", "two words", "quo'te\"s", "$(id)", "two\nlines", ""])
def test_variables_arrive_as_they_are(container: Container, folders: dict[str, Mount], value: str) -> None:
    done = run(container, folders, "python3", "-c", "import os; print(os.environ['X'], end='')", X=value)
    assert done.stdout == value, done.stderr


def test_nothing_of_our_environment_comes_along(
    container: Container, folders: dict[str, Mount], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "APPTAINERENV_OPENAI_API_KEY", "SINGULARITYENV_KEY", "HTTPS_PROXY", "SLURM_CONF"):
        monkeypatch.setenv(name, "canary")
    done = run(container, folders, "env")
    assert done.exit_code == 0
    assert "canary" not in done.stdout


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_exit_codes_pass_through(container: Container, folders: dict[str, Mount], command: str, code: int) -> None:
    program = Program(["bash", "-c", command], [folders["work"]], folders["home"], folders["work"], {})
    output = folders["work"].outside.parent / "output"
    assert processes.run_logged(container.argv(program), timeout_s=LONG_S, output=output) == code


@pytest.mark.apptainer
class TestApptainer:
    @pytest.fixture
    def container(self) -> Container:
        return Apptainer(IMAGE, gpu_devices=False)

    def test_read_only_mounts(self, container: Container, folders: dict[str, Mount]) -> None:
        done = run(container, folders, "bash", "-c", "echo changed > /given/file")
        assert done.exit_code != 0
        assert "Read-only" in done.stderr
        assert (folders["given"].outside / "file").read_text() == "given\n"

    @pytest.mark.parametrize("trick", ["mount -o remount,rw,bind /given", "umount /given", "unshare -Urm true"])
    def test_mounts_cannot_be_changed_from_inside(
        self, container: Container, folders: dict[str, Mount], trick: str
    ) -> None:
        done = run(container, folders, "bash", "-c", f"{trick}; echo changed > /given/file")
        assert done.exit_code != 0
        assert (folders["given"].outside / "file").read_text() == "given\n"

    def test_where_images_are_unpacked_is_the_sites_and_nobodys_inside(
        self, container: Container, folders: dict[str, Mount], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("APPTAINER_TMPDIR", str(tmp_path))
        program = Program(["env"], [folders["work"]], folders["home"], folders["work"], {})
        assert f"APPTAINER_TMPDIR={tmp_path}" in container.argv(program)
        done = run(container, folders, "env")
        assert done.exit_code == 0 and str(tmp_path) not in done.stdout

    def test_no_network_but_loopback(self, container: Container, folders: dict[str, Mount]) -> None:
        done = run(
            container, folders, "python3", "-c", "import socket; print([name for _, name in socket.if_nameindex()])"
        )
        assert done.stdout == "['lo']\n"

    def test_its_own_name_is_the_loopback(self, container: Container, folders: dict[str, Mount]) -> None:
        """Where it is not, torchrun waits for its own ranks until it is ended."""
        code = "import socket; print(socket.gethostbyname(socket.gethostname()), socket.getfqdn())"
        assert run(container, folders, "python3", "-c", code).stdout.split() == ["127.0.0.1", "localhost"]

    def test_the_ranks_of_torchrun_find_each_other(self, container: Container, folders: dict[str, Mount]) -> None:
        program = folders["work"].outside / "ranks.py"
        program.write_text(
            "import torch, torch.distributed as dist\n"
            "dist.init_process_group('gloo')\n"
            "ranks = torch.ones(1)\n"
            "dist.all_reduce(ranks)\n"
            "print(int(ranks))\n"
        )
        launch = ("python3", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "ranks.py")
        done = run(container, folders, *launch)
        assert "".join(done.stdout.split()) == "22", done.stderr

    def test_no_folder_of_the_host(self, container: Container, folders: dict[str, Mount]) -> None:
        outside = folders["work"].outside.parent / "secret"
        outside.touch()
        assert run(container, folders, "ls", str(outside)).exit_code != 0
        assert run(container, folders, "ls", "/run/munge", "/var/lib/slurm_bench_dev").exit_code != 0

    def test_no_process_of_the_host(self, container: Container, folders: dict[str, Mount]) -> None:
        done = run(container, folders, "bash", "-c", "ls -d /proc/[0-9]* | wc -l")
        assert int(done.stdout) < 10

    def test_what_it_leaves_behind_is_ended(self, container: Container, folders: dict[str, Mount]) -> None:
        sleeps = f"sleep {uuid.uuid4().int}"
        assert run(container, folders, "bash", "-c", f"(setsid {sleeps} &) ; exit 0").exit_code == 0
        until(lambda: processes.run(["pgrep", "-f", sleeps], timeout_s=LONG_S).exit_code == 1)

    def test_an_image_that_is_none_fails_to_start(self, folders: dict[str, Mount], tmp_path: Path) -> None:
        broken = tmp_path / "broken.sif"
        broken.write_text("no image")
        assert run(Apptainer(broken, gpu_devices=False), folders, "true").exit_code != 0

    def test_the_digest_is_the_files(self, container: Container) -> None:
        done = processes.run(["sha256sum", str(IMAGE)], timeout_s=LONG_S)
        assert image_sha256(container) == done.stdout.split()[0]


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A folder as image, with no more than a shell and what that needs."""
    image = tmp_path / "sandbox"
    for name in ("dev", "etc", "given", "home", "proc", "sys", "tmp", "workspace"):
        (image / name).mkdir(parents=True)
    for program in ("/bin/sh", "/usr/bin/env"):
        linked = processes.run(["ldd", program], timeout_s=LONG_S).stdout
        for path in (program, *re.findall(r"(/\S+) \(0x", linked)):
            (image / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, image / path[1:])
    return image


@pytest.mark.apptainer
def test_a_folder_serves_as_image(sandbox: Path, folders: dict[str, Mount]) -> None:
    done = run(Apptainer(sandbox, gpu_devices=False), folders, "/bin/sh", "-c", "echo here > file; echo no > /etc/file")
    assert done.exit_code != 0 and "ead-only" in done.stderr
    assert (folders["work"].outside / "file").read_text() == "here\n"
    assert not (sandbox / "etc/file").exists()
    assert site.container_of(ContainerConfig("apptainer", str(sandbox), False)).image == sandbox


def test_a_digest_is_kept_until_something_is_written(tmp_path: Path) -> None:
    image = tmp_path / "image.sif"
    image.write_bytes(b"first")
    container, before = Apptainer(image, gpu_devices=False), image.stat()
    assert image_sha256(container) == hashlib.sha256(b"first").hexdigest()
    while image.stat().st_ctime_ns == before.st_ctime_ns:  # older kernels' clock ticks coarsely
        image.write_bytes(b"other")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert image.stat().st_size == before.st_size and image.stat().st_mtime_ns == before.st_mtime_ns
    assert image_sha256(container) == hashlib.sha256(b"other").hexdigest()


def test_a_folder_has_the_digest_of_its_list(tmp_path: Path) -> None:
    image = Apptainer(tmp_path / "image", gpu_devices=False)
    (tmp_path / "image/usr").mkdir(parents=True)
    file = tmp_path / "image/usr/file"
    file.write_text("a")
    first = image_sha256(image)
    assert first and re.fullmatch("[0-9a-f]{64}", first)
    assert image_sha256(image) == first
    seen = {first}
    for change in (
        lambda: file.write_text("ab"),
        lambda: file.chmod(0o700),
        lambda: os.utime(file, (1, 1)),
        lambda: file.rename(file.with_name("other")),
        (tmp_path / "image/empty").mkdir,
        lambda: (tmp_path / "image/link").symlink_to("usr"),
    ):
        change()
        seen.add(str(image_sha256(image)))
    assert len(seen) == 7


def test_a_path_that_cannot_be_bound(folders: dict[str, Mount]) -> None:
    odd = Mount(folders["work"].outside / "a,b", "/odd")
    program = Program(["true"], [odd], folders["home"], folders["work"], {})
    with pytest.raises(UsageError, match="cannot bind"):
        Apptainer(IMAGE, gpu_devices=False).argv(program)


def test_a_missing_program_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="apptainer on the PATH"):
        site.container_of(ContainerConfig(kind="apptainer", image="x.sif", gpu_devices=False))
