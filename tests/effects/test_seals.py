"""The agent owns the candidate's folder and knows this source."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from slurm_bench.effects import seals
from slurm_bench.pure.rules import MAX_FILES
from slurm_bench.words.errors import InfrastructureError, InvalidCandidate
from tests import small_disk

CANDIDATE = PurePosixPath("submissions/fast")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace" / CANDIDATE
    folder.mkdir(parents=True)
    (folder / "train_gpt.py").write_text("print(1)\n")
    (folder / "run.sh").write_text("python3 train_gpt.py\n")
    return tmp_path / "workspace"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "seals"


def test_a_seal_is_read_only_and_named_by_its_content(root: Path, store: Path) -> None:
    sealed = seals.seal(root, CANDIDATE, store)
    assert [file.path for file in sealed.files] == ["run.sh", "train_gpt.py"]
    assert (store / sealed.sha256 / "run.sh").stat().st_mode & 0o222 == 0
    assert seals.seal(root, CANDIDATE, store) == sealed
    assert seals.load(store, sealed)["train_gpt.py"] == "print(1)\n"
    seals.verify(store / sealed.sha256, sealed)


@pytest.mark.parametrize("change", ["content", "name", "mode"])
def test_every_change_makes_another_seal(root: Path, store: Path, change: str) -> None:
    before = seals.seal(root, CANDIDATE, store)
    program = root / CANDIDATE / "train_gpt.py"
    if change == "content":
        program.write_text("print(2)\n")
    elif change == "name":
        (root / CANDIDATE / "more.py").write_text("")
    else:
        program.chmod(0o755)
    assert seals.seal(root, CANDIDATE, store).sha256 != before.sha256


def test_later_edits_do_not_reach_the_seal(root: Path, store: Path) -> None:
    sealed = seals.seal(root, CANDIDATE, store)
    (root / CANDIDATE / "train_gpt.py").write_text("cheat()\n")
    seals.verify(store / sealed.sha256, sealed)
    assert seals.load(store, sealed)["train_gpt.py"] == "print(1)\n"


def test_a_changed_seal_is_found(root: Path, store: Path) -> None:
    sealed = seals.seal(root, CANDIDATE, store)
    file = store / sealed.sha256 / "train_gpt.py"
    file.chmod(0o644)
    file.write_text("print(3)\n")
    with pytest.raises(InfrastructureError, match="was changed"):
        seals.verify(store / sealed.sha256, sealed)
    file.unlink()


def link_file(folder: Path) -> None:
    (folder / "more.py").symlink_to("/etc/passwd")


def link_folder(folder: Path) -> None:
    (folder / "more").symlink_to("/etc")


def link_itself(folder: Path) -> None:
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.symlink_to(aside)


def link_parent(folder: Path) -> None:
    parent = folder.parent
    aside = parent.with_name("aside")
    parent.rename(aside)
    parent.symlink_to(aside)


def hard_link(folder: Path) -> None:
    (folder.parent / "other.py").hardlink_to(folder / "train_gpt.py")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "more.py")


def large(folder: Path) -> None:
    with (folder / "more.py").open("wb") as stream:
        stream.truncate(2 * 2**30)


def many(folder: Path) -> None:
    for k in range(MAX_FILES):
        (folder / f"more{k}.py").touch()


def deep(folder: Path) -> None:
    inner = folder.joinpath(*"abcdef")
    inner.mkdir(parents=True)
    (inner / "more.py").touch()


def library(folder: Path) -> None:
    (folder / "more.so").touch()


def quotes(folder: Path) -> None:
    (folder / "a'b\".py").touch()


def newline(folder: Path) -> None:
    (folder / "a\n#SBATCH --x.py").touch()


def site_customization(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("")


def full_of_folders(folder: Path) -> None:
    for number in range(1000):
        (folder / f"more{number}").mkdir()


def empty_folder(folder: Path) -> None:
    (folder / "more").mkdir()


def no_launcher(folder: Path) -> None:
    (folder / "run.sh").unlink()


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def gone(folder: Path) -> None:
    empty(folder)
    folder.rmdir()


def a_file(folder: Path) -> None:
    gone(folder)
    folder.touch()


ODD = [
    text.encode() for text in ("\r", "\x0b", "\x0c", "\x1e", "\x85", "\u2028", "\u2029", "\x1b[2J", "\u202e", "\ufeff")
]


def holds(data: bytes) -> Callable[[Path], None]:
    """A launcher with these bytes at the end of its second line."""

    def spoil(folder: Path) -> None:
        (folder / "run.sh").write_bytes(b"#!/bin/sh\nexec python3 train_gpt.py" + data + b"# & wait\n")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (link_file, "more.py: links"),
        (link_folder, "more: links"),
        (link_itself, "fast is not a folder"),
        (link_parent, "submissions is not a folder"),
        (hard_link, "train_gpt.py: not a regular file with one name"),
        (pipe, "more.py: not a regular file"),
        (large, "more.py: the candidate is larger than"),
        (many, "more than"),
        (deep, "nest deeper"),
        (library, "more.so: files may end in"),
        (quotes, "names are letters"),
        (newline, "names are letters"),
        (site_customization, "sitecustomize.py may not be brought along"),
        (full_of_folders, "more than 64 files and folders"),
        (empty_folder, "more is empty"),
        (no_launcher, "run.sh missing"),
        (empty, "the folder is empty"),
        (gone, "fast is not a folder"),
        (a_file, "fast is not a folder"),
        *((holds(data), "run.sh, line 2: a control character") for data in ODD),
        (holds(b"\xff"), "run.sh: not UTF-8"),
    ],
)
def test_what_cannot_be_sealed(root: Path, store: Path, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(root / CANDIDATE)
    with pytest.raises(InvalidCandidate, match=reason) as refused:
        seals.seal(root, CANDIDATE, store)
    assert "\n" not in str(refused.value)
    assert not store.exists()


def test_what_runs_leave_behind_is_left_out(root: Path, store: Path) -> None:
    """A link to the data, logs, bytecode and hidden files, at whatever depth; nothing of them is opened."""
    folder = root / CANDIDATE
    before = seals.seal(root, CANDIDATE, store)
    (folder / "data").symlink_to("/etc")
    (folder / "logs").mkdir()
    (folder / "logs/run.txt").touch()
    (folder / ".git").mkdir()
    (folder / "kernels/__pycache__").mkdir(parents=True)
    (folder / "kernels/fast.py").write_text("print(1)\n")
    os.mkfifo(folder / "kernels/run.log")
    found = seals.seal(root, CANDIDATE, store)
    assert {file.path for file in found.files} == {file.path for file in before.files} | {"kernels/fast.py"}
    left_out = (".git", "data", "kernels/__pycache__", "kernels/run.log", "logs")
    assert seals.left_out(root, CANDIDATE) == left_out
    assert seals.left_out(root, PurePosixPath("submissions/nowhere")) == ()


@pytest.mark.parametrize("path", ["submissions/..", "submissions/fast/../fast", "submissions/it's", "submissions/a\nb"])
def test_paths_that_lead_elsewhere(root: Path, store: Path, path: str) -> None:
    with pytest.raises(InvalidCandidate):
        seals.seal(root, PurePosixPath(path), store)


def test_two_who_seal_the_same_bytes_at_once_get_the_same_seal(tmp_path: Path) -> None:
    """As sessions of a campaign do that share the store of its calibrations."""
    (tmp_path / "candidate").mkdir()
    for name in seals.REQUIRED:
        (tmp_path / "candidate" / name).write_text("pass\n")

    def seal(_: int) -> str:
        return seals.seal(tmp_path, PurePosixPath("candidate"), tmp_path / "store").sha256

    with ThreadPoolExecutor(8) as pool:
        (only,) = set(pool.map(seal, range(64)))
    assert [path.name for path in (tmp_path / "store").iterdir()] == [only]


def test_a_seal_is_on_disk_before_a_record_can_name_it(root: Path, tmp_path: Path) -> None:
    """Else a machine that loses power leaves a record that names nothing, or files of zeros."""
    (root / CANDIDATE / "kernels").mkdir()
    (root / CANDIDATE / "kernels" / "norm.py").write_text("print(2)\n")
    disk, image = tmp_path / "disk", tmp_path / "disk.img"
    with small_disk.on_disk(disk, image):
        sealed = seals.seal(root, CANDIDATE, disk / "seals")
        small_disk.cut_power(disk)
    with small_disk.on_disk(disk, image):
        seals.verify(disk / "seals" / sealed.sha256, sealed)
