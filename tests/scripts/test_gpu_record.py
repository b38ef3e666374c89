"""How scripts/gpu_record makes a record shorter."""

from argparse import Namespace
from pathlib import Path

import pytest

import gpu_record

OLDER = "num_iterations: int = 2000 # steps\nws_schedule: tuple = (3, 7, 11)\n"
NEWER = """\
num_scheduled_iterations: int = 1000  # by the schedule
num_extension_iterations: int = 10  # after it
TRAINING_STAGES = [
    Stage(duration=1/4, size=8 * 16, window_sizes=(1, 2), weights=[1.0, 0.5]),
    # larger
    Stage(duration=3/4, size=16 * 16, window_sizes=(3, 4), weights=[1.0]),
    Stage(size=16 * 16, window_sizes=(5, 6), weights=[1.0]),
]
rest = 1
"""


def shortened(text: str, tmp_path: Path, **options: object) -> str:
    record = tmp_path / "record"
    record.mkdir()
    (record / "train_gpt.py").write_text(text)
    (record / "provenance.yaml").write_text("")
    folder = gpu_record.shortened(record, tmp_path / "shorter", Namespace(**{"steps": 60, "windows": None, **options}))
    assert [path.name for path in folder.iterdir()] == ["train_gpt.py"]
    return (folder / "train_gpt.py").read_text()


def test_an_older_record(tmp_path: Path) -> None:
    assert shortened(OLDER, tmp_path, windows=2) == "num_iterations: int = 60 # steps\nws_schedule: tuple = (3,  7,)\n"


def test_a_newer_record_keeps_what_it_adds_to_its_schedule(tmp_path: Path) -> None:
    assert shortened(NEWER, tmp_path) == NEWER.replace("int = 1000", "int = 50")


def test_later_stages_of_a_newer_record_become_like_the_last_that_stays(tmp_path: Path) -> None:
    values: dict[str, object] = {"Stage": lambda **given: given}
    exec(shortened(NEWER, tmp_path, windows=1), values)
    first = {"size": 128, "window_sizes": (1, 2), "weights": [1.0, 0.5]}
    assert values["TRAINING_STAGES"] == [{"duration": 0.25, **first}, {"duration": 0.75, **first}, first]
    assert (values["num_scheduled_iterations"], values["rest"]) == (50, 1)


def test_fewer_steps_than_a_newer_record_adds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--steps has to be more than the"):
        shortened(NEWER, tmp_path, steps=10)
