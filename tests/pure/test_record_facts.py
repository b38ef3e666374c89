"""Words about starting records, from their programs."""

import pytest

from slurm_bench.pure import record_facts
from slurm_bench.pure.rules import FOLLOWING, PROGRAM
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import starting_record

RECORD = (starting_record("rehearsal") / PROGRAM).read_text()
LOSS = "F.cross_entropy(logits.flatten(0, 1), targets.flatten())"


def facts(*edits: tuple[str, str], **stated: str) -> dict[str, str]:
    text = RECORD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return record_facts.of({PROGRAM: text}, stated)


def test_of_the_rehearsals_record() -> None:
    found = facts()
    assert tuple(found) == FOLLOWING
    assert found["steps"] == "200 or 2400 steps"
    assert found["validation"] == (
        "fineweb_val_*.bin, 32768, 2097152 or 10485760 tokens in batches of 4096 or 131072, align_to_bos=False"
    )
    assert found["data"] == "fineweb_train_*.bin, read by _load_data_shard, BOSFinder, distributed_data_generator"
    assert found["objective"] == "the cross-entropy of the next token, each with the same weight"
    assert found["compiler"] == "torch.compile(dynamic=False)"
    assert found["warm-up"] == "`warmup_steps = 30`; `for _ in range(warmup_steps)`"
    assert found["timing"].startswith("`t0 = time.perf_counter()`; ")


@pytest.mark.parametrize(
    "body",
    [
        f"return {LOSS[:-1]}, label_smoothing=0.1)",
        f"loss = {LOSS}\n        loss = loss * self.weight\n        return loss",
        "return fused_loss(logits, targets)",
    ],
)
def test_an_objective_that_is_more_than_the_next_token(body: str) -> None:
    assert facts((f"return {LOSS}", body))["objective"] == record_facts.UNREAD


def test_a_warm_up_of_several_loops_is_quoted() -> None:
    inner = "    for window in windows:\n        for _ in range(warmup_steps):\n            step(window)\n"
    text = f"warmup_steps = 10\ndef warm_up():\n{inner}"
    said = record_facts.of({PROGRAM: text}, {})["warm-up"]
    assert said == "`warmup_steps = 10`; `for window in windows`; `for _ in range(warmup_steps)`"


def test_what_a_person_states_comes_first() -> None:
    found = facts(("return F.cross_entropy(", "return fused("), objective="the next two tokens, the second by half")
    assert found["objective"] == "the next two tokens, the second by half"


def test_of_text_that_says_nothing() -> None:
    for text in ("", "not Python ("):
        found = record_facts.of({PROGRAM: text}, {})
        assert set(found.values()) == {record_facts.UNREAD}


@pytest.mark.parametrize("text", ["x = " + "a + " * 3000 + "a", "x = x" + ".b" * 3000])
def test_text_that_nests_too_deeply_is_not_read(text: str) -> None:
    assert record_facts.of({PROGRAM: text}, {})["steps"] == record_facts.UNREAD


@pytest.mark.parametrize(
    ("text", "words"),
    [("f = torch.compile(f)", "torch.compile()"), ("a = re.compile('x', flags=1)", "it does not compile")],
)
def test_how_a_record_compiles(text: str, words: str) -> None:
    assert record_facts.of({PROGRAM: text}, {})["compiler"] == words


def test_words_for_what_is_no_such_rule() -> None:
    with pytest.raises(UsageError, match=r"task\.facts: objectiv is no rule"):
        record_facts.of({PROGRAM: RECORD}, {"objectiv": "more"})
