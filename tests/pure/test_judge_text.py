"""What a model is told, and which of its answers count."""

import json

import pytest

from slurm_bench.pure import judge_text
from slurm_bench.pure.judge_text import Case, Unusable
from slurm_bench.pure.rules import JUDGED, RULES

CASE = Case({"train_gpt.py": "a = 1\n"}, {"train_gpt.py": "a = 2\nb = 3\n", "more.py": "c\n"}, "f" * 64, "0" * 64, {})
USABLE = {
    "candidate": CASE.mark,
    "reasons": [{"rule": "timing", "path": "train_gpt.py", "line": 2, "text": "stops\nthe clock"}],
    "summary": "The clock is stopped.",
    "cheating": True,
    "confidence": 0.9,
}


def answer(**changes: object) -> str:
    return json.dumps({**USABLE, **changes})


def test_a_usable_answer_becomes_findings() -> None:
    read = judge_text.read_answer(answer(), CASE)
    (finding,) = judge_text.findings(read, CASE)
    assert (finding.rule, finding.place, finding.candidate) == ("timing", "train_gpt.py:2", "b = 3")
    assert finding.message == "stops the clock"


def reason(**changes: object) -> dict[str, object]:
    return {"reasons": [{**USABLE["reasons"][0], **changes}]}  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"candidate": "1" * 16}, "not about"),
        ({"candidate": ""}, "not about"),
        ({"reasons": []}, "no reason"),
        (reason(line=3), "no line 3"),
        (reason(line=0), "no line 0"),
        (reason(line=-1), "no line -1"),
        (reason(path="other.py"), "no file"),
        (reason(path="baseline/train_gpt.py"), "no file"),
        (reason(rule="manners"), "no rule"),
        (reason(rule="speed"), "no rule"),
        ({"confidence": 1.5}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"cheating": "perhaps"}, "schema"),
        ({"verdict": "accepted"}, "schema"),
    ],
)
def test_what_cannot_be_used(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(Unusable, match=problem):
        judge_text.read_answer(answer(**changes), CASE)


@pytest.mark.parametrize("text", ["", "I refuse.", "{", "[]", '{"cheating": false}', answer() + "}"])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(Unusable, match="schema"):
        judge_text.read_answer(text, CASE)


def test_reasons_without_a_rejection_contradict_it() -> None:
    with pytest.raises(Unusable, match="gives reasons"):
        judge_text.read_answer(answer(cheating=False), CASE)


def test_the_question_shows_everything_between_marks() -> None:
    asked = judge_text.question(CASE, ["timing: the clock was moved, train_gpt.py:1"])
    assert f"[{CASE.mark} begin candidate more.py]\n    1 c\n[{CASE.mark} end candidate more.py]" in asked
    assert f"[{CASE.mark} begin baseline train_gpt.py]" in asked
    assert "-a = 1" in asked and "+a = 2" in asked
    assert "the clock was moved" in asked


def test_the_system_text_states_every_rule_that_is_judged() -> None:
    said = judge_text.system({"warm-up": "7 rounds"})
    assert all(rule.text in said for rule in JUDGED)
    assert RULES["speed"].text not in said
    assert said.count("(In the starting record: 7 rounds.)") == 1


def test_other_rules_have_another_digest() -> None:
    assert len(judge_text.rules_digest({})) == 16
    assert judge_text.rules_digest({"steps": "10 steps"}) != judge_text.rules_digest({"steps": "11 steps"})
