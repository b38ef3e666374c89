import os
from pathlib import Path

import pytest

from slurm_bench.effects import scratch
from slurm_bench.effects.scratch import Quota, TooMuchWritten
from slurm_bench.words.errors import InfrastructureError


def test_a_scratch_folder_may_be_named_by_the_jobs_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_JOB", "42")
    assert scratch.folder("/scratch/$LAB_JOB/${LAB_JOB}") == Path("/scratch/42/42")
    assert scratch.folder("/tmp") == Path("/tmp")
    monkeypatch.delenv("LAB_JOB")
    with pytest.raises(InfrastructureError, match=r"cluster\.scratch: this job lacks a variable of /scratch/\$LAB_JOB"):
        scratch.folder("/scratch/$LAB_JOB")


def test_what_fits_passes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2**20))
    Quota(tmp_path, 2**21, 10, alone=False).check()
    with pytest.raises(TooMuchWritten):  # the same, one byte less
        Quota(tmp_path, 2**20 - 1, 10, alone=False).check()


def test_bytes_and_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2**21))
    with pytest.raises(TooMuchWritten, match="wrote more than"):
        Quota(tmp_path, 2**20, 10, alone=False).check()
    for number in range(10):
        (tmp_path / f"folder{number}").mkdir()
    with pytest.raises(TooMuchWritten, match="made more than 10 files"):
        Quota(tmp_path, 2**30, 10, alone=False).check()


def test_a_file_that_is_in_no_folder_counts_where_nobody_else_writes(tmp_path: Path) -> None:
    ours, shared = (Quota(tmp_path, 2**26, 10, alone=alone) for alone in (True, False))
    with (tmp_path / "file").open("wb") as stream:
        (tmp_path / "file").unlink()
        stream.write(bytes(2**28))
        stream.flush()
        os.fsync(stream.fileno())
        with pytest.raises(TooMuchWritten, match="wrote more than"):
            ours.check()
        shared.check()


def test_nothing_that_can_be_nested_or_locked_resists(tmp_path: Path) -> None:
    folder, here = tmp_path / "folder", Path.cwd()
    folder.mkdir()
    try:
        os.chdir(folder)
        for _ in range(3000):
            os.mkdir("d")  # noqa: PTH102  no path is as long as this
            os.chdir("d")
    finally:
        os.chdir(here)
    (folder / "d").chmod(0)
    scratch.remove_locked(folder)
    assert not folder.exists()


def test_a_link_is_removed_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").touch(mode=0o400)
    (tmp_path / "link").symlink_to("target")
    assert scratch.remove(tmp_path / "link")
    assert (tmp_path / "target" / "file").stat().st_mode & 0o777 == 0o400
    assert scratch.remove(tmp_path / "nothing")
