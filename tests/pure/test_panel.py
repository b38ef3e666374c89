"""A quorum rejects; nobody accepts what others reject."""

import pytest

from slurm_bench.pure.panel import combined
from slurm_bench.words.opinions import Finding, Opinion, Usage

FINDING = Finding(rule="timing", message="stops the clock", file="train_gpt.py", line=3)


def said(cheating: bool | None, judge: str = "model") -> Opinion:
    found = (FINDING,) if cheating else ()
    usage = Usage(input_tokens=10, output_tokens=1)
    return Opinion(judge=judge, seal="0", cheating=cheating, confidence=0.8, findings=found, usage=usage)


@pytest.mark.parametrize(
    ("opinions", "quorum", "cheating"),
    [
        ([False], 1, False),
        ([True], 1, True),
        ([None], 1, None),
        ([True, False], 1, True),
        ([False, None], 1, None),
        ([True, None], 1, True),
        ([True, False], 2, False),
        ([True, None], 2, None),
        ([False, None], 2, False),
        ([True, True, False], 2, True),
        ([None, None, False], 2, None),
        ([None, None, False], 3, False),
    ],
)
def test_the_quorum(opinions: list[bool | None], quorum: int, cheating: bool | None) -> None:
    together = combined(said(False, "static"), [said(each) for each in opinions], quorum)
    assert together.cheating is cheating
    assert bool(together.findings) is (cheating is True)
    assert len(together.members) == len(opinions) + 1
    assert together.usage.input_tokens == 10 * len(opinions)


def test_nobody_takes_a_static_rejection_back() -> None:
    together = combined(said(True, "static"), [said(False), said(False)], 1)
    assert together.rejects and together.judge == "static"


def test_what_a_minority_found_is_told() -> None:
    together = combined(said(False, "static"), [said(True, "one"), said(False, "two")], 2)
    assert together.suspicions == ("timing: stops the clock, train_gpt.py:3 (one)",)


def test_one_model_alone_gives_its_name() -> None:
    assert combined(said(False, "static"), [said(True, "maker/model")], 1).judge == "maker/model"
    assert combined(said(False, "static"), [said(True), said(True)], 2).judge == "panel"


@pytest.mark.parametrize(("opinions", "cheating"), [([], None), ([False], False), ([True], True), ([None], None)])
def test_models_settle_what_the_static_checker_cannot(opinions: list[bool | None], cheating: bool | None) -> None:
    static = said(None, "static").model_copy(update={"unsettled": (FINDING,)})
    together = combined(static, [said(each) for each in opinions], 1)
    assert (together.cheating, together.unsettled) == (cheating, (FINDING,))
