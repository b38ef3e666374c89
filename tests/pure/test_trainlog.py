import pytest

from slurm_bench.pure.rules import SEPARATOR
from slurm_bench.pure.trainlog import NoResult, parse, trains

PROGRAM = """\
print(f"step:9/9 val_loss:{loss} train_time:{ms}ms step_avg:{avg}ms")
step:9/9 val_loss:1.0 train_time:1ms step_avg:1ms
"""
PROGRESS = "step:8/9 train_time:1900ms step_avg:211.11ms\n"
START = "step:0/9 val_loss:10.8000 train_time:0ms step_avg:nanms\n"
FINAL = "step:9/9 val_loss:3.2769 train_time:2000ms step_avg:222.22ms\n"


def log(*progress: str) -> str:
    return f"{PROGRAM}{SEPARATOR}\nRunning Python 3.12\n{SEPARATOR}\n{''.join(progress)}"


def test_the_final_line_is_the_result() -> None:
    result = parse(log(START, PROGRESS, FINAL))
    assert (result.val_loss, result.train_time_s, result.steps) == (3.2769, 2.0, 9)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROGRAM + FINAL, "no line of 100"),
        (log(), "at the last step"),
        (log(PROGRESS), "at the last step"),
        (log("step:5/9 val_loss:3.2000 train_time:5ms step_avg:1.00ms\n"), "at the last step"),
        (log(FINAL, FINAL), "after the last step"),
        (log(FINAL, "step:8/9 val_loss:3.0000 train_time:8ms step_avg:1.00ms\n"), "after the last step"),
        (log(START, START, FINAL), "follows step 0 of 9"),
        (log("step:3/8 val_loss:3.2769 train_time:3ms step_avg:1.00ms\n", FINAL), "follows step 3 of 8"),
        (log("step:5/9 val_loss:3.2769 train_time:2005ms step_avg:401.00ms\n", FINAL), "less than the 2005 ms"),
        (log(FINAL.replace("222.22", "222.29")), "average"),
        (log(FINAL.replace("222.22", "nan")), "average"),
        (log(FINAL.replace("3.2769", "0.0000")), "above zero"),
        (log("step:9/9 val_loss:3.2769 train_time:0ms step_avg:0.00ms\n"), "above zero"),
        (log("final val_loss 3.2769\n", FINAL), "no validation line of"),
        ("", "no line of 100"),
    ],
)
def test_what_is_no_result(text: str, reason: str) -> None:
    with pytest.raises(NoResult, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *[
            ("3.2769", loss)
            for loss in ("nan", "-inf", "good", "-0.0000", "3.2_769", "3.27e0", "3.277", "\uff13.2769", "\u0663.2769")
        ],
        *[("2000ms", time) for time in ("2_000ms", "+2000ms", "2000.0ms", "\uff12000ms", "2000 ms", "2e3ms")],
        ("9/9", "9/\u096f"),
        ("\n", "\r\n"),
        ("\n", " \n"),
        ("\n", "\x0bstep:9/9\n"),
        ("step:9/9", " step:9/9"),
    ],
)
def test_another_spelling_is_no_result_and_is_quoted(old: str, new: str) -> None:
    spelt = FINAL.replace(old, new, 1)
    with pytest.raises(NoResult, match="no validation line of") as caught:
        parse(log(START, spelt))
    assert repr(spelt.removesuffix("\n")) in str(caught.value)


def test_a_finished_line_in_the_programs_text_is_no_result() -> None:
    """The log quotes the program, whose docstring may hold a separator and a line; the last separator counts."""
    forged = f"{PROGRAM}{SEPARATOR}\n{FINAL}"
    assert parse(forged + log(FINAL.replace("3.2769", "3.9000"))).val_loss == 3.9
    with pytest.raises(NoResult, match="no validation line of"):
        parse(forged + log(FINAL.replace("val_loss:", "val_loss: ")))


@pytest.mark.parametrize(
    "line",
    [
        "step:125/6000 val_loss:5.6402 train_time:42345ms step_avg:368.21ms",  # 2024: the clock began at step 11
        "step:0/6000 val_loss:11.0149 train_time:305ms step_avg:nanms",
        "step:0/1670 val_loss:10.8258 train_time:0ms step_avg:0.03ms",
        "step:250/5960 val_loss:4.605170 train_time:53000ms step_avg:212.00ms",  # track 2 has six decimals
    ],
)
def test_lines_as_the_human_records_have_them(line: str) -> None:
    steps = int(line.partition("/")[2].partition(" ")[0])
    last = f"step:{steps}/{steps} val_loss:3.2769 train_time:6000000ms step_avg:{6000000 / steps:.2f}ms"
    assert parse(log(f"{line}\n", f"{last}\n")).steps == steps


@pytest.mark.parametrize(
    ("text", "training"),
    [
        (log(START), False),
        (log(START, "step:4/9 train_time:900ms step_avg:225.00ms\n"), False),
        (log(START, "step:5/9 train_time:1100ms step_avg:220.00ms\n"), True),
        (log(START, PROGRESS, "step:9/9 val_lo"), True),
        (PROGRAM, False),
        ("", False),
    ],
)
def test_a_program_trains_from_its_fifth_step_on(text: str, training: bool) -> None:
    """What stands in its own text, before the last separator, does not count."""
    assert trains(text) == training
