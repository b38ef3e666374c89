from typing import Any

import pytest

from slurm_bench.pure.record_logs import Log, Run, Undecided, own, read
from tests.upstream_leaderboard import FIRST, KERNELS, SECOND, log

FOLDER = "records/track_1_short/2030-01-01_First"


def named(name: str, program: bytes = FIRST, **options: Any) -> Log:
    return read(f"{FOLDER}/{name}.txt", log(program, **options))


def names(logs: tuple[Log, ...]) -> list[str]:
    return [each.path.removeprefix(f"{FOLDER}/").removesuffix(".txt") for each in logs]


def test_what_a_log_says() -> None:
    found = named("a", ms=61_234, loss="3.278370")
    assert found.run == Run("3.278370", "61234", "6123.40", "10")
    assert (found.program, found.gpus) == (FIRST.decode(), 8)
    assert found.machine == "8 Z9 80GB, PyTorch 9.1, Triton 8.0"
    assert found.counts


@pytest.mark.parametrize("options", [{"ends": False}, {"gpus": 1}, {"loss": "nan"}])
def test_a_log_that_is_no_run_of_a_record(options: dict[str, Any]) -> None:
    assert not named("a", **options).counts


def test_the_program_is_told_by_its_files() -> None:
    found = read("a", log({"train_gpt.py": SECOND, "triton_kernels.py": KERNELS}))
    assert found.ran({"train_gpt.py": SECOND.replace(b"\n", b"\r\n"), "triton_kernels.py": KERNELS})
    assert found.ran({"train_gpt.py": b"# words\n" + SECOND, "triton_kernels.py": KERNELS}), "comments apart"
    assert not found.ran({"train_gpt.py": SECOND, "triton_kernels.py": b"speed = 2\n"})
    assert not found.ran({"train_gpt.py": SECOND})
    assert not found.ran({"train_gpt.py": SECOND, "triton_kernels.py": KERNELS, "more.py": b""})


def test_a_program_that_is_no_python_is_told_by_its_text() -> None:
    assert named("a", b"loss = = 1\n").ran({"train_gpt.py": b"loss = = 1\n"})
    assert not named("a", b"loss = = 1\n").ran({"train_gpt.py": b"loss = = 2\n"})


def test_own_runs_are_those_of_the_linked_logs_program() -> None:
    logs = [
        *(named("runs/a"), named("runs/b", b"# words\nloss = 1\n"), named("runs/lost", ends=False)),
        *(named("runs/small", SECOND, gpus=1), named("base/c", SECOND), named("more/d")),
    ]
    assert names(own(logs, f"{FOLDER}/runs/a.txt").logs) == ["runs/a", "runs/b", "more/d"]
    assert names(own(logs, f"{FOLDER}/base").logs) == ["base/c"]


def test_other_programs_beside_the_linked_log_want_an_answer() -> None:
    logs = [named("a"), named("b", SECOND), named("c")]
    with pytest.raises(Undecided, match="2 runs of its program and 1 of others"):
        own(logs, f"{FOLDER}/a.txt")
    assert names(own(logs, f"{FOLDER}/a.txt", ["linked"]).logs) == ["a", "c"]
    assert names(own(logs, f"{FOLDER}/a.txt", ["[ab].txt"]).logs) == ["a", "b"]


def test_a_linked_folder_of_several_programs_or_none_wants_an_answer() -> None:
    logs = [named("v1/a"), named("v2/b", SECOND)]
    with pytest.raises(Undecided, match="holds logs of 2 programs"):
        own(logs, FOLDER)
    with pytest.raises(Undecided, match="holds logs of 0 programs"):
        own(logs, f"{FOLDER}/v3", ["linked"])
    assert names(own(logs, FOLDER, ["v2/*"]).logs) == ["v2/b"]
