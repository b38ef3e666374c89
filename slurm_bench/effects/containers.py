"""Where untrusted programs run: in Apptainer, or (for the rehearsal) nowhere in particular.

An argument list is all that Apptainer needs from us. spython, the Python client there is, only calls a program
named `singularity`, which Debian's package lacks, and adds nothing to the list below.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NoReturn, Protocol

from slurm_bench.effects import confine
from slurm_bench.words.errors import UsageError

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_DRIVERS_LIBRARIES = "/.singularity.d/libs"
"""Where `--nv` puts them."""
_SECCOMP = Path(__file__).with_name("seccomp.json")
"""Calls of the kernel that no program of the benchmark needs, and that lead out of a container or into its neighbours.

Key rings belong to no namespace; of sockets all but local ones, IP and netlink (AF_VSOCK leads to a hypervisor);
io_uring goes past every filter; userfaultfd, bpf, perf and what only administrators do. Programs of 32 bits do not run.
"""
_KERNELS_OWN = (
    *(f"/proc/{name}" for name in ("acpi", "bus", "fs", "irq", "mtrr", "pressure", "scsi", "sys", "sysrq-trigger")),
    *(f"/sys/{name}" for name in ("block", "bus", "class", "dev", "devices", "module")),
)


@dataclass(frozen=True)
class Mount:
    outside: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class Program:
    """A command and all that it gets to see."""

    command: Sequence[str]
    mounts: Sequence[Mount]
    home: Mount
    directory: Mount
    """One of the mounts: where the command starts."""
    environment: Mapping[str, str]
    path: Sequence[str] = ()
    """Folders before the system's own on its PATH."""


class Container(Protocol):
    @property
    def image(self) -> Path | None: ...

    def inside(self, mount: Mount) -> str:
        """The path by which a program in the container knows a mount."""

    def argv(self, program: Program) -> list[str]:
        """Argument list that runs a program in a fresh container, with its environment and no other."""


class NoContainer:
    """A plain process with a chosen environment. It contains nothing."""

    @property
    def image(self) -> None:
        return None

    def inside(self, mount: Mount) -> str:
        return str(mount.outside)

    def argv(self, program: Program) -> list[str]:
        folders = [*program.path, str(Path(sys.executable).parent), _SYSTEM_PATH]
        variables = {"PATH": ":".join(folders), "HOME": str(program.home.outside), **program.environment}
        return ["env", "-i", f"--chdir={program.directory.outside}", *_assignments(variables), *program.command]


class Apptainer:
    """A fresh container from an image: no network, no host folder but the mounts, no variable but those given."""

    def __init__(self, image: Path, gpu_devices: bool) -> None:
        self._image = image
        self._gpu_devices = gpu_devices

    @property
    def image(self) -> Path:
        return self._image

    def inside(self, mount: Mount) -> str:
        return mount.inside

    def argv(self, program: Program) -> list[str]:
        home, directory = program.home, program.directory.inside
        options = ["--containall", "--cleanenv", "--net", "--network=none", "--no-eval"]
        # Without network no other name can be found or reached, and torchrun meets its ranks by the host's name.
        options += ["--hostname=localhost", f"--security=seccomp:{_SECCOMP}"]
        # Never --fakeroot: a root inside could remount what is bound read-only.
        options += _without_root() if os.geteuid() == 0 else []
        options += ["--nv"] if self._gpu_devices else []
        options += [f"--home={home.outside}:{home.inside}", f"--pwd={directory}"]
        options += [f"--bind={_bind(mount)}" for mount in program.mounts]
        # By env, not by --env, which splits values at commas.
        variables = {"PATH": ":".join([*program.path, _SYSTEM_PATH])}
        # Triton asks ldconfig for the driver's library, which in an image knows nothing of what `--nv` brings.
        variables |= {"TRITON_LIBCUDA_PATH": _DRIVERS_LIBRARIES} if self._gpu_devices else {}
        variables |= program.environment
        inside = ["env", *_assignments(variables), *program.command]
        # Apptainer passes APPTAINERENV_* and proxies on even when it contains all: hence `env -i` before it.
        outside = [sys.executable, "-I", "-m", confine.__name__, "env", "-i", *_assignments(_outside())]
        return [*outside, "apptainer", "--quiet", "exec", *options, str(self._image), *inside]


def _outside() -> dict[str, str]:
    """What Apptainer itself gets to know; where it cannot mount an image, it goes by the site's own variable."""
    kept = {name: os.environ[name] for name in ("PATH", "APPTAINER_TMPDIR") if name in os.environ}
    return {**kept, "HOME": "/nonexistent"}


def _without_root() -> list[str]:
    """What has to be taken from root where it starts a container itself: as an ordinary user nobody has it.

    A user namespace of its own and no capability in it; and the kernel's files that its user number may write
    without any, in whatever namespace.
    """
    kernels_own = [f"--bind={path}:{path}:ro" for path in _KERNELS_OWN if Path(path).exists()]
    return ["--userns", "--no-privs", "--no-mount=sys", *kernels_own]


def image_sha256(container: Container) -> str | None:
    """Digest of the container's image, read whole (a few seconds for 10 GB), again only if it was written to since.

    Of a sandbox folder, which is as large in thousands of files, the digest of its list: path, kind, size and time of
    last writing of each. Another folder of the same content has another digest, and who sets that time back has not.
    """
    if container.image is None:
        return None
    if container.image.is_dir():
        listing = "\n".join(sorted(_listed(container.image)))
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    seen = container.image.stat()
    return _file_sha256(container.image, (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))


@lru_cache
def _file_sha256(image: Path, _: tuple[int, ...]) -> str:
    """
    Args:
        _: what the file system knows of it: a write moves the time of change, by a tick of the clock at least.
    """
    with image.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse(error: OSError) -> NoReturn:
    raise error  # os.walk would leave the folder out


def _listed(image: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(image, onerror=_refuse):
        inside = folder.removeprefix(str(image))
        for name in (*folders, *files):
            seen = os.lstat(f"{folder}/{name}")  # pathlib takes ten times as long over 100,000 files
            size = 0 if stat.S_ISDIR(seen.st_mode) else seen.st_size
            yield f"{inside}/{name} {seen.st_mode:o} {size} {seen.st_mtime_ns}"


def recorded_sha256(image: Path) -> str | None:
    """Digest that was written beside an image when it was built; None where none was."""
    record = image.with_name(f"{image.name}.sha256")
    try:
        return record.read_text().split()[0]
    except (FileNotFoundError, IndexError):
        return None


def _bind(mount: Mount) -> str:
    if any(character in f"{mount.outside}{mount.inside}" for character in ",:"):
        raise UsageError(f"{mount.outside}: Apptainer cannot bind paths with ',' or ':' in them")
    return f"{mount.outside}:{mount.inside}:{'rw' if mount.writable else 'ro'}"


def _assignments(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]
