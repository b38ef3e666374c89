"""File systems of a few megabytes, which tests fill to the last byte or cut off from power."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOM = 2**20
_SHUT_DOWN, _WITHOUT_ITS_LOG = 0x8004587D, 2
"""Of ext4: from then on nothing more reaches the disk."""


@contextmanager
def mounted(folder: Path, room: int = ROOM) -> Iterator[Path]:
    """Give a file system of so many bytes at folder; only root can mount one."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={room}", "slurm_bench-test"):
        yield folder


def fill(folder: Path) -> Path:
    """Fill the file system at folder to its last byte; return the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return filler


@contextmanager
def on_disk(folder: Path, image: Path) -> Iterator[Path]:
    """Mount a disk of 16 MiB with ext4, whose content is in the file image."""
    if not image.exists():
        with image.open("wb") as stream:
            stream.truncate(16 * 2**20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", image], check=True)
    with _mounted(folder, "-o", "loop", str(image)):
        yield folder


def cut_power(folder: Path) -> None:
    """Let nothing more of the disk at folder reach its image, as if its machine had lost power."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(handle, _SHUT_DOWN, struct.pack("I", _WITHOUT_ITS_LOG))
    os.close(handle)


@contextmanager
def _mounted(folder: Path, *how: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *how, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)
