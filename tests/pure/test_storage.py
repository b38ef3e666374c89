"""Which errors are a file system's trouble, that may pass, and which are an answer."""

import errno

import pytest

from slurm_bench.pure import storage


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EIO", "ESTALE", "EROFS", "ESHUTDOWN", "ETIMEDOUT", "EHOSTDOWN"])
def test_what_may_pass(name: str) -> None:
    assert storage.is_trouble(OSError(getattr(errno, name), name))


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "EPERM", "EEXIST", "ENOMEM", "EMFILE", "EAGAIN", "EFBIG"])
def test_what_a_candidate_can_bring_about_is_none(name: str) -> None:
    """It can starve its node of memory, processes and open files, and take its own folders away."""
    assert not storage.is_trouble(OSError(getattr(errno, name), name))


def test_only_room_can_be_taken_by_others() -> None:
    full, stale = OSError(errno.EDQUOT, "full"), OSError(errno.ESTALE, "stale")
    assert [storage.is_of_space(each) for each in (full, stale, None)] == [True, False, False]
