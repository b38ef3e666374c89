"""Compile caches that a program has filled: it owns their folder, and knows this source."""

import os
import socket
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm_bench.effects import caches, scratch
from slurm_bench.effects.caches import Limits, RefusedCaches
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.trials import Caches

SMALL = Limits(files=20, bytes=100_000, depth=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What an honest program compiles."""
    compiled = tmp_path / "caches"
    (compiled / "inductor" / "fxgraph" / "ab").mkdir(parents=True)
    (compiled / "triton").mkdir()
    (compiled / "inductor" / "fxgraph" / "ab" / "graph").write_bytes(bytes(range(256)) * 9)
    (compiled / "triton" / "__grp__kernel_.json").write_text("{}")
    (compiled / "triton" / "launcher.so").write_bytes(b"\x7fELF")
    (compiled / "triton" / "launcher.so").chmod(0o775)
    (compiled / "triton" / "empty").touch()
    (compiled / ".hidden+=@,~-").write_text("x")
    return compiled


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "caches.tar.gz"


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and mode of each file by its path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in files}


def unpacked(kept: Caches, place: Path) -> dict[str, tuple[bytes, int]]:
    place.mkdir()
    caches.unpack(kept, place)
    return content(place)


def test_what_is_packed_is_unpacked(folder: Path, archive: Path, tmp_path: Path) -> None:
    """The same names and bytes, executable where they were, and nothing that others may write."""
    os.utime(folder / "triton" / "launcher.so", (1_700_000_000, 1_700_000_000))
    kept = caches.pack(folder, archive)
    assert caches.is_whole(kept)
    assert (kept.archive, kept.files, kept.bytes) == (str(archive), 5, 2304 + 2 + 4 + 0 + 1)
    before = content(folder)
    there = unpacked(kept, tmp_path / "there")
    assert {name: data for name, (data, _) in there.items()} == {name: data for name, (data, _) in before.items()}
    assert {name: mode for name, (_, mode) in there.items()} == {
        name: 0o755 if name == "triton/launcher.so" else 0o644 for name in before
    }
    assert (tmp_path / "there/triton/launcher.so").stat().st_mtime == 1_700_000_000


def test_what_a_killed_run_had_begun_to_pack_goes(folder: Path, archive: Path) -> None:
    archive.parent.mkdir()
    begun, other = archive.with_name(f".{archive.name}.x1y2"), archive.with_name(".another.tar.gz.x1y2")
    begun.touch()
    other.touch()
    caches.pack(folder, archive)
    assert not begun.exists() and other.exists()


def test_two_copies_are_apart(folder: Path, archive: Path, tmp_path: Path) -> None:
    """What is written into one is neither in the archive nor in the other."""
    kept = caches.pack(folder, archive)
    unpacked(kept, tmp_path / "one")
    (tmp_path / "one" / "triton" / "launcher.so").write_bytes(b"changed")
    (tmp_path / "one" / "more").touch()
    assert caches.is_whole(kept)
    assert unpacked(kept, tmp_path / "two").keys() == content(folder).keys()
    assert (tmp_path / "two" / "triton" / "launcher.so").read_bytes() == b"\x7fELF"


def test_empty_caches(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "caches" / "triton").mkdir(parents=True)
    kept = caches.pack(tmp_path / "caches", archive)
    assert (kept.files, kept.bytes) == (0, 0)
    assert unpacked(kept, tmp_path / "there") == {}


def test_an_archive_replaces_the_one_before_and_is_read_only(folder: Path, archive: Path) -> None:
    first = caches.pack(folder, archive)
    (folder / "more").write_text("more")
    second = caches.pack(folder, archive)
    assert caches.is_whole(second) and not caches.is_whole(first)
    assert archive.stat().st_mode & 0o777 == 0o444
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def link_file(folder: Path) -> None:
    (folder / "more").symlink_to("/etc/passwd")


def link_folder(folder: Path) -> None:
    (folder / "more").symlink_to("/etc")


def link_inside(folder: Path) -> None:
    (folder / "more").symlink_to("triton")


def link_nowhere(folder: Path) -> None:
    (folder / "triton" / "more").symlink_to("nowhere")


def hard_link(folder: Path) -> None:
    (folder / "more").hardlink_to(folder / "triton" / "launcher.so")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "more")


def listener(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # a socket's whole name has to be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("more")
    finally:
        os.chdir(here)


def deep(folder: Path) -> None:
    folder.joinpath(*"abcde").mkdir(parents=True)


def deeper_than_any_path(folder: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def spaces(folder: Path) -> None:
    (folder / "a b").touch()


def newline(folder: Path) -> None:
    (folder / "a\nb").mkdir()


def dash(folder: Path) -> None:
    (folder / "--checkpoint-action=x").touch()


def no_text(folder: Path) -> None:
    (Path(os.fsdecode(bytes(folder) + b"/\xff"))).touch()


def escape(folder: Path) -> None:
    (folder / "triton" / "\x1b[31m").touch()


def many(folder: Path) -> None:
    for number in range(SMALL.files):
        (folder / f"more{number}").touch()


def large(folder: Path) -> None:
    with (folder / "more").open("wb") as stream:
        stream.truncate(SMALL.bytes + 1)


def large_together(folder: Path) -> None:
    for number in range(3):
        (folder / f"more{number}").write_bytes(b"0" * (SMALL.bytes // 2))


def gone(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (link_file, "symbolic links: 'more'"),
        (link_folder, "more is a link"),
        (link_inside, "more is a link"),
        (link_nowhere, "symbolic links: 'more'"),
        (hard_link, "is no regular file with one name"),
        (pipe, "more is no regular file with one name"),
        (listener, "they cannot be read or kept: .*'more'"),
        (deep, "folders nest deeper than 4"),
        (deeper_than_any_path, "folders nest deeper than 4"),
        (spaces, "a file is called 'a b'"),
        (newline, r"a file is called 'a\\nb'"),
        (dash, "a file is called '--checkpoint"),
        (no_text, r"a file is called '\\udcff'"),
        (escape, r"a file is called '\\x1b\[31m'"),
        (many, "more than 20 files or"),
        (large, "more than 20 files or"),
        (large_together, "more than 20 files or"),
        (gone, "they cannot be read or kept: .*No such file"),
    ],
)
def test_what_is_not_kept(folder: Path, archive: Path, spoil: Callable[[Path], None], reason: str) -> None:
    """It is refused in one line that can be printed, and nothing of it stays."""
    caches.pack(folder, archive.with_name("before.tar.gz"), SMALL)
    spoil(folder)
    try:
        with pytest.raises(RefusedCaches, match=reason) as refused:
            caches.pack(folder, archive, SMALL)
    finally:
        scratch.remove(folder)  # pytest could not
    assert str(refused.value).isprintable()
    assert [path.name for path in archive.parent.iterdir()] == ["before.tar.gz"]


def test_as_deep_as_is_allowed(folder: Path, archive: Path, tmp_path: Path) -> None:
    inner = folder.joinpath(*"abcd")
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    assert "a/b/c/d/file" in unpacked(caches.pack(folder, archive, SMALL), tmp_path / "there")


def test_a_human_records_caches_are_far_from_the_limits() -> None:
    assert Limits().files > 10 * 2800 and Limits().bytes > 8 * 0.45e9


def test_a_place_that_cannot_be_written(folder: Path, archive: Path) -> None:
    """That is an error which is named too: the program has done nothing."""
    archive.parent.write_text("a file")
    with pytest.raises(RefusedCaches, match="they cannot be read or kept"):
        caches.pack(folder, archive)


# An archive that is not as it was packed.


def change(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.chmod(0o644)
    archive.write_bytes(data)


def shorten(archive: Path) -> None:
    archive.chmod(0o644)
    os.truncate(archive, 10)


def exchange(archive: Path) -> None:
    """For one that would write elsewhere."""
    archive.unlink()
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))


def replace_by_folder(archive: Path) -> None:
    archive.unlink()
    archive.mkdir()


@pytest.mark.parametrize("spoil", [change, shorten, exchange, replace_by_folder, Path.unlink])
def test_an_archive_that_was_changed(
    folder: Path, archive: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    kept = caches.pack(folder, archive)
    spoil(archive)
    assert not caches.is_whole(kept)
    place = tmp_path / "there"
    place.mkdir()
    with pytest.raises(InfrastructureError, match=r"caches.tar.gz are not as they were packed"):
        caches.unpack(kept, place)
    assert not list(place.iterdir()) and not (tmp_path / "outside").exists()


# A folder that changes while it is packed, by a process that is still there.


@pytest.mark.parametrize("what", ["files", "folders", "sizes"])
def test_a_folder_that_changes_while_it_is_packed(folder: Path, archive: Path, tmp_path: Path, what: str) -> None:
    """It is packed with files as they were at some time, or refused by name; and an archive is whole or not there."""
    changes: dict[str, Callable[[], None]] = {
        "files": lambda: flicker_file(folder / "triton" / "flicker"),
        "folders": lambda: flicker_folder(folder / "flicker"),
        "sizes": lambda: change_size(folder / "triton" / "flicker"),
    }
    over = threading.Event()

    def disturb() -> None:
        while not over.is_set():
            changes[what]()

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for number in range(20):
            try:
                kept = caches.pack(folder, archive)
            except RefusedCaches as refused:
                assert "flicker" in str(refused) or "unexpected end of data" in str(refused)
            else:
                assert "triton/launcher.so" in unpacked(kept, tmp_path / f"there{number}")
    finally:
        over.set()
        other.join()
    assert [path.name for path in archive.parent.iterdir()] in ([archive.name], [])


def flicker_file(path: Path) -> None:
    path.write_bytes(b"0" * 5000)
    path.unlink()


def flicker_folder(path: Path) -> None:
    path.mkdir()
    path.rmdir()


def change_size(path: Path) -> None:
    path.write_bytes(b"0" * 300_000)
    os.truncate(path, 10)


def test_a_file_that_shrinks_while_it_is_packed(archive: Path) -> None:
    """Files of the kernel's, which have fewer bytes than they claim, stand for it."""
    with pytest.raises(RefusedCaches, match="unexpected end of data"):
        caches.pack(Path("/sys/module/kernel/parameters"), archive)
    assert not list(archive.parent.iterdir())
