"""Statements are found again under other names and in other places, and only where they still do the same."""

import pytest

from slurm_bench.pure.matching import Matching
from slurm_bench.pure.programs import Program

BASELINE = """
def train(model, args):
    total = 0.0
    for _ in range(args.steps):
        total += model(args)
    total /= args.steps
    print(f"loss:{total:.4f}")
"""


def matched(candidate: str) -> tuple[Matching, list[str]]:
    """The matching of all of BASELINE's statements, and those that were not found."""
    baseline, program = Program({"a.py": BASELINE}), Program({"a.py": candidate})
    matching = Matching(baseline.units, baseline, program)
    return matching, [unit.written for unit in baseline.units if unit not in matching.found]


@pytest.mark.parametrize(
    "candidate",
    [
        BASELINE,
        BASELINE.replace("total", "sum_of_losses"),
        BASELINE.replace("_ in", "step in"),
        BASELINE.replace("total = 0.0", "total: float = 0.0"),
        BASELINE.replace("total += model(args)", "total = total + model(args)"),
        BASELINE.replace("def train(model, args):", 'def train(model: object, args) -> None:\n    """Train."""'),
        BASELINE.replace("def train", "def run"),
        "import time\n\n\ndef other():\n    return 1\n" + BASELINE,
    ],
)
def test_what_stays_the_same(candidate: str) -> None:
    _, missing = matched(candidate)
    assert missing == []


@pytest.mark.parametrize(
    ("candidate", "missing"),
    [
        (BASELINE.replace("total /= args.steps", "total /= args.steps + 1"), ["total /= args.steps"]),
        (BASELINE.replace("total += model(args)", "total += 0.9 * model(args)"), ["total += model(args)"]),
        # One name for two, and one of two names only: the second use no longer says the same.
        (BASELINE.replace("total /= args", "other /= args"), ["total /= args.steps"]),
        (BASELINE.replace("        total +=", "        if args.fast:\n            total +="), ["total += model(args)"]),
        (BASELINE.replace("        total +=", "        pass\n    total +="), ["total += model(args)"]),
    ],
)
def test_what_does_not(candidate: str, missing: list[str]) -> None:
    assert matched(candidate)[1][: len(missing)] == missing


def test_a_statement_that_moved_to_a_function() -> None:
    moved = BASELINE.replace("    total /= args.steps\n", "    total = mean(total, args)\n")
    moved += "\n\ndef mean(losses, options):\n    losses /= options.steps\n    return losses\n"
    matching, missing = matched(moved)
    assert missing == []
    (division,) = [unit for unit in matching.found if unit.written == "total /= args.steps"]
    assert matching.found[division].scope == "mean"


def test_a_changed_statement_stands_beside_its_successor() -> None:
    matching, _ = matched(BASELINE.replace("total /= args.steps", "total /= 2 * args.steps"))
    assert {old.written: new.written for old, new in matching.changed.items()} == {
        "total /= args.steps": "total /= 2 * args.steps"
    }


def test_a_model_that_is_called_with_more() -> None:
    two = BASELINE.replace("model(args)", "model(args, args)")
    baseline, program = Program({"a.py": two}), Program({"a.py": two.replace("(args, args)", "(args, args, 7)")})
    matching = Matching(baseline.units, baseline, program)
    assert [unit.written for unit in matching.extended] == ["total += model(args, args)"]


def test_integer_arithmetic_is_one_number() -> None:
    baseline = Program({"a.py": "tokens = 10485760\n"})
    program = Program({"a.py": "tokens = 10 * 1024 * 2**10\n"})
    assert Matching(baseline.units, baseline, program).found
