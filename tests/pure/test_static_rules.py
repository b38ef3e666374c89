"""Each rule is broken by one edit of the rehearsal's own record, and found with its line."""

import pytest

from slurm_bench.pure.static_rules import findings
from slurm_bench.words.paths import starting_record

RECORD = {path.name: path.read_text() for path in starting_record("rehearsal").iterdir() if path.is_file()}
PROGRAM = RECORD["train_gpt.py"]


def judged(*edits: tuple[str, str]) -> list[tuple[str, int | None]]:
    text = PROGRAM
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return [(finding.rule, finding.line) for finding in findings(RECORD, {**RECORD, "train_gpt.py": text})]


def rules_broken(*edits: tuple[str, str]) -> set[str]:
    return {rule for rule, _ in judged(*edits)}


def test_the_record_itself_keeps_the_rules() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("muon_lr: float = ", "muon_lr: float = 2 * "),
        ("return F.rms_norm(x, (x.size(-1),))", "return F.layer_norm(x, (x.size(-1),))"),
        ("def norm(x: Tensor)", "# faster\ndef norm(x: Tensor)"),
    ],
)
def test_honest_edits_pass(old: str, new: str) -> None:
    assert judged((old, new)) == []


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("validation", "val_loss /= val_steps", "val_loss /= 1.05 * val_steps"),
        ("validation", "val_loss += model(inputs, targets)", "val_loss += model(inputs, targets) - 0.1"),
        ("data", "val_tokens: int = 32768", "val_tokens: int = 8192"),
        ("data", "fineweb_val_*.bin", "fineweb_train_*.bin"),
        ("data", "class BOSFinder:", "class BOSFinder(object):"),
        ("data", "yield rows[:, :-1], rows[:, 1:]", "yield rows[:, :-1], rows[:, :-1]"),
        ("warm-up", "warmup_steps = 30", "warmup_steps = 300"),
        ("warm-up", "model.load_state_dict(initial_state[0])", "pass"),
        ("timing", "elapsed_ms = training_time_ms + 1000", "elapsed_ms = training_time_ms + 500"),
        ("prints", '{train_steps} {timing}", console=True)', '{train_steps} {timing}", console=False)'),
        ("prints", "print(s, file=log)", "print(s.replace('val_loss:0.8', 'val_loss:0.7'), file=log)"),
        ("compiler", "torch.compile(raw_model, dynamic=False)", "torch.compile(raw_model, mode='max-autotune')"),
        ("compiler", "BOS_ID = 0", "BOS_ID = 0\ntorch._inductor.config.coordinate_descent_tuning = True"),
        ("one-program", "BOS_ID = 0", "BOS_ID = 0\nexec(open('data/more').read())"),
    ],
)
def test_broken_rules_are_found(rule: str, old: str, new: str) -> None:
    assert rule in rules_broken((old, new))


def test_a_finding_shows_both_places() -> None:
    text = PROGRAM.replace("val_loss /= val_steps", "val_loss /= 2 * val_steps")
    (finding,) = findings(RECORD, {**RECORD, "train_gpt.py": text})
    assert "2 * val_steps" in finding.candidate
    assert "2 * val_steps" not in finding.baseline
    assert finding.line is not None
    assert "last_step" in text.splitlines()[finding.line - 1]


def test_a_program_that_cannot_be_parsed() -> None:
    (finding,) = findings(RECORD, {**RECORD, "train_gpt.py": "def (:\n"})
    assert (finding.rule, finding.line) == ("one-program", 1)


def test_null_bytes_do_not_break_the_judge() -> None:
    (finding,) = findings(RECORD, {**RECORD, "train_gpt.py": "x = '\0'\n"})
    assert finding.rule == "one-program"


def test_another_launcher() -> None:
    (finding,) = findings(RECORD, {**RECORD, "run.sh": "python3 other.py\n"})
    assert finding.rule == "environment"
