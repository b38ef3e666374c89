import pytest

from slurm_bench.pure.trainlog import SEPARATOR, NoResult, declared_steps, parse

PROGRAM = """\
print(f"step:9/9 val_loss:{loss} train_time:{ms}ms step_avg:{avg}ms")
step:9/9 val_loss:1.0 train_time:1ms step_avg:1ms
"""
PROGRESS = "step:8/9 train_time:1900ms step_avg:211.11ms\n"
FINAL = "step:9/9 val_loss:3.2769 train_time:2000ms step_avg:222.22ms\n"


def log(*progress: str) -> str:
    return f"{PROGRAM}{SEPARATOR}\nRunning Python 3.12\n{SEPARATOR}\n{''.join(progress)}"


def test_the_final_line_is_the_result() -> None:
    result = parse(log("step:0/9 val_loss:10.8 train_time:0ms step_avg:nanms\n", PROGRESS, FINAL))
    assert (result.val_loss, result.train_time_s, result.steps) == (3.2769, 2.0, 9)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROGRAM + FINAL, "no line of 100"),
        (log(), "no validation line"),
        (log(PROGRESS), "no validation line"),
        (log("step:5/9 val_loss:3.2 train_time:1ms step_avg:1ms\n"), "at the last step"),
        (log(FINAL, FINAL), "more than one"),
        (log(FINAL, "step:8/9 val_loss:3.0 train_time:1ms step_avg:1ms\n"), "more than one"),
        (log(FINAL.replace("3.2769", "nan")), "not finite"),
        (log(FINAL.replace("3.2769", "-inf")), "not finite"),
        (log(FINAL.replace("3.2769", "good")), "no number"),
        ("", "no line of 100"),
    ],
)
def test_what_is_no_result(text: str, reason: str) -> None:
    with pytest.raises(NoResult, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("program", "steps"),
    [
        ("class H:\n    num_iterations: int = 1670 # steps", {1670}),
        ("num_iterations = 10", {10}),
        ("H(num_iterations=20); H(num_iterations=30)", {20, 30}),
        (
            "class H:\n    num_scheduled_iterations: int = 1845\n    num_extension_iterations: int = 40",
            {1845, 40, 1885},
        ),
        ("class H:\n    num_iterations: int = 5 * 50 + 1", {251}),
        ("n = args.num_iterations + args.iteration_extension\nclass H:\n    num_iterations: int = 1640", {1640}),
        (
            "class H:\n    num_iterations = 1640\n    iteration_extension = 40\n"
            "def main():\n    train_steps = args.num_iterations + args.iteration_extension",
            {1640, 40, 1680},
        ),
        ("class H:\n    num_iterations: int = 1670\ntrain_steps = args.num_iterations - 70", {1670, 1600}),
        ("class H:\n    num_iterations: int = 1670\nargs.num_iterations = 1600", {1670, 1600}),
        ("num_iterations = 1670\ntrain_steps = steps_for(model)", set()),
        ("class H:\n    num_iterations: int", set()),
        ("num_iterations = int(os.environ['N'])", set()),
        ("num_iterations = 1 // 0", set()),
        ("not Python (", set()),
        ("x = " + "(" * 5000, set()),
    ],
)
def test_declared_steps(program: str, steps: set[int]) -> None:
    assert declared_steps(program) == steps
