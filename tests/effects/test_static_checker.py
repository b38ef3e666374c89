"""The static rules in a process of their own."""

import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from slurm_bench.effects import processes, static_checker
from slurm_bench.pure.review import Review, review
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import starting_record
from tests.waiting import LONG_S, until

RECORD = {path.name: path.read_text() for path in starting_record("rehearsal").iterdir() if path.is_file()}


def with_program(text: str) -> dict[str, str]:
    return {**RECORD, "train_gpt.py": text}


def test_it_says_what_the_rules_say() -> None:
    tampered = with_program(RECORD["train_gpt.py"].replace("val_loss /= val_steps", "val_loss /= 2 * val_steps"))
    assert static_checker.check(RECORD, tampered) == review(RECORD, tampered)
    assert static_checker.check(RECORD, tampered).findings


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 90_000 + ")" * 90_000,
        "x = " + "-" * 200_000 + "1",
        "x" + ".b" * 100_000,
        "x = 1" + " + 1" * 60_000,
    ],
    ids=["brackets", "signs", "attributes", "sum"],
)
def test_text_that_cannot_be_read(text: str) -> None:
    (finding,) = static_checker.check(RECORD, with_program(RECORD["train_gpt.py"] + "\n" + text)).findings
    assert finding.rule == "readable"


@pytest.mark.parametrize(
    "text",
    [
        "if a:\n" + "".join(" " * depth + "if a:\n" for depth in range(1, 99)) + " " * 99 + "pass\n",
        "a = b\n" * 40_000,
        "a = 9**9\n" * 20_000,
    ],
    ids=["ifs", "statements", "powers"],
)
def test_text_that_is_hard_to_read(text: str) -> None:
    assert static_checker.check(RECORD, with_program(RECORD["train_gpt.py"] + "\n" + text)) == Review()


def test_a_checker_that_the_node_kills_is_not_the_candidates_fault() -> None:
    """A node whose memory is full ends it by SIGKILL; the candidate's own limits end it otherwise."""
    with ThreadPoolExecutor(1) as pool:
        review = pool.submit(
            static_checker.check, RECORD, with_program(RECORD["train_gpt.py"] + "\n" + "a = b\n" * 40_000)
        )
        until(lambda: any(map(kill_checker, psutil.Process().children(recursive=True))))
        with pytest.raises(InfrastructureError, match="was killed"):
            review.result()


def kill_checker(process: psutil.Process) -> bool:
    try:
        found = "slurm_bench.effects.static_child" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
    if found:
        process.kill()
    return found


def test_the_child_starts_quickly() -> None:
    probe = "import sys; import slurm_bench.effects.static_child; print(' '.join(sys.modules))"
    loaded = processes.run([sys.executable, "-I", "-c", probe], timeout_s=LONG_S).stdout.split()
    assert not {"pydantic", "numpy", "scipy", "psutil", "omegaconf"} & set(loaded)
