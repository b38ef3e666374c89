"""Archives, written and read; above all those that nobody of us wrote."""

import gzip
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm_bench.effects import bundles
from slurm_bench.words.errors import InfrastructureError, UsageError

CONTENTS: dict[str, Path | bytes] = {"b/two.json": b"{}", "a.txt": b"x" * 600, "c.out": b"printed"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    bundles.write(tmp_path / "one.tar", CONTENTS)
    return tmp_path / "one.tar"


def test_what_is_written_is_read_again(archive: Path) -> None:
    """Output only by its hash: nothing is computed from it."""
    found = bundles.read(archive)
    assert found.wrong == ()
    assert list(found.hashes) == ["a.txt", "b/two.json", "c.out"]
    assert found.contents == {"a.txt": b"x" * 600, "b/two.json": b"{}"}


def test_everybodys_tools_read_it_too(archive: Path, tmp_path: Path) -> None:
    """It can be looked into without us: with tar, and sha256sum --check."""
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["a.txt", "b/two.json", "c.out", bundles.SUMS]
        opened.extractall(tmp_path / "out", filter="data")
    subprocess.run(["sha256sum", "--strict", "--check", bundles.SUMS], cwd=tmp_path / "out", check=True)


def test_the_same_content_in_another_order_is_the_same_archive(archive: Path, tmp_path: Path) -> None:
    bundles.write(tmp_path / "two.tar", dict(reversed(CONTENTS.items())))
    assert (tmp_path / "two.tar").read_bytes() == archive.read_bytes()


def test_a_file_that_changes_meanwhile_leaves_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    path.write_text("a line\n")
    with pytest.raises(InfrastructureError, match="growing was changed while it was read"):
        bundles.write(tmp_path / "two.tar", Growing(log=path))
    assert [each.name for each in tmp_path.iterdir()] == ["growing"]


class Growing(dict[str, Path | bytes]):
    """Members whose files grow after they were listed."""

    def __getitem__(self, name: str) -> Path | bytes:
        source = super().__getitem__(name)
        assert isinstance(source, Path)
        with source.open("a") as stream:
            stream.write("one more\n")
        return source


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", "a/../b", ".hidden", "a b", "ä", "x" * 101, ""])
def test_names_that_lead_elsewhere_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a file"):
        bundles.write(tmp_path / "two.tar", {name: b""})


def a_tar(*members: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> bytes:
    """An archive by Python's own hand, with everything zero that we have zero."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as opened:
        for member in members:
            opened.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)
    return stream.getvalue()


def entry(name: str, **changes: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in {"size": 3, **changes}.items():
        setattr(made, field, value)
    return made


def header(**changes: object) -> bytes:
    return entry("a", **changes).tobuf(tarfile.GNU_FORMAT).replace(b"ustar  \0", b"ustar\x0000")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a tar at all",
        bytes(1024),
        gzip.compress(b"x"),
        a_tar(entry("../../etc/passwd")),
        a_tar(entry("/etc/passwd")),
        a_tar(entry("a", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)),
        a_tar(entry("a"), entry("b", type=tarfile.LNKTYPE, linkname="a", size=0)),
        a_tar(entry("a", type=tarfile.DIRTYPE, size=0)),
        a_tar(entry("a", type=tarfile.CHRTYPE, size=0)),
        a_tar(entry("a", type=tarfile.FIFOTYPE, size=0)),
        a_tar(entry("a", type=tarfile.GNUTYPE_SPARSE, size=0)),
        a_tar(entry("a" * 300), form=tarfile.PAX_FORMAT),
        a_tar(entry("a" * 300), form=tarfile.GNU_FORMAT),
        a_tar(entry("a", mode=0o4755)),
        a_tar(entry("a", mtime=1)),
        a_tar(entry("a", uid=1)),
        a_tar(entry("a", uname="root")),
        a_tar(entry("b"), entry("a")),
        a_tar(entry("a"), entry("a")),
        a_tar(entry("a")),
        header(size=2**33 - 1) + bytes(512),
        header(size=2**40) + bytes(512),
        header() + b"abc",
    ],
    ids=range(24),
)
def test_a_hostile_archive(tmp_path: Path, data: bytes) -> None:
    """Attack: an archive with links, names that lead elsewhere, twice the same name, sizes that nobody has.

    Defence: a header counts only if it is, byte for byte, what we would write; nothing is unpacked.
    """
    path = tmp_path / "hostile.tar"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is no bundle, or broken"):
        bundles.read(path)
    assert [each.name for each in tmp_path.iterdir()] == ["hostile.tar"]


def appended(data: bytes) -> bytes:
    return data + b"x"


def more_zeros(data: bytes) -> bytes:
    return data + bytes(512)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def endless(data: bytes) -> bytes:
    return data[:-1024]


def in_padding(data: bytes) -> bytes:
    position = data.index(b"x" * 600) + 600
    return data[:position] + b"\1" + data[position + 1 :]


@pytest.mark.parametrize("spoil", [appended, more_zeros, half, endless, in_padding])
def test_a_broken_archive(archive: Path, spoil: Callable[[bytes], bytes]) -> None:
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(UsageError, match="broken"):
        bundles.read(archive)


def test_changed_content_is_named(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes().replace(b"printed", b"painted"))
    assert bundles.read(archive).wrong == ("c.out",)


@pytest.mark.parametrize("name", ["nowhere.tar", "."])
def test_no_archive_at_all(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: (No such file|Is a directory)"):
        bundles.read(tmp_path / name)


def test_what_would_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    """A sparse file: large without taking space."""
    path = tmp_path / "large.tar"
    with path.open("wb") as stream:
        stream.write(entry("a", size=bundles.MOST_TEXT + 1).tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
        stream.truncate(bundles.MOST_TEXT + 4096)
    with pytest.raises(UsageError, match="a: more than 64 MiB"):
        bundles.read(path)
