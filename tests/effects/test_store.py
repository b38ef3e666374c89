"""Records on disk: what lies in the way of a folder that is written."""

from pathlib import Path

import pytest

from slurm_bench.effects import store


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling"])
def test_whatever_a_killed_writer_may_have_left_is_cleared_away(tmp_path: Path, kind: str) -> None:
    left, others = tmp_path / ".record.x", tmp_path / "others"
    others.mkdir()
    (others / "file").touch()
    if kind == "folder":
        left.mkdir()
        (left / "file").touch()
    elif kind == "file":
        left.touch()
    else:
        left.symlink_to(others if kind == "link" else "nowhere")
    store.write_folder(tmp_path / "record", {"file": (0o644, b"content")})
    assert (tmp_path / "record" / "file").read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others", "record"]
    assert (others / "file").exists(), "a link was followed"
