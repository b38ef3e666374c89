"""What a text sets, by texts."""

import pytest

from slurm_bench.pure.settings import Settings, declared_steps


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
        (
            "class H:\n    num_scheduled_iterations: int = 1270\n    num_extension_iterations: int = 15\n"
            "class Schedule:\n    def __init__(self, stages, scheduled, extension):\n"
            "        self.scheduled = scheduled\n        self.total_steps = self.scheduled + extension\n"
            "schedule = Schedule(STAGES, args.num_scheduled_iterations, args.num_extension_iterations)\n"
            "train_steps = schedule.total_steps",
            {1270, 15, 1285},
        ),
        ("num_iterations = 10\nnum_iterations = num_iterations", {10}),
        ("num_iterations = 10\nnum_iterations -= 2", set()),
        ("num_iterations = 10\nfor num_iterations in pick(): pass", set()),
        ("num_iterations, other = 10, 2", set()),
        ("dict(num_iterations='a' * 1000000000000)", set()),
        ("a = b\na = 3\nb = a\nnum_iterations = b", {3}),
        ("\n".join(f"num_iterations = {number}" for number in range(100)), set()),
        ("not Python (", set()),
        ("x = " + "(" * 5000, set()),
    ],
)
def test_declared_steps(program: str, steps: set[int]) -> None:
    assert declared_steps(program) == steps


def test_settings_of_presets_and_sums() -> None:
    settings = Settings("class H:\n    tokens: int = 4 * 1024\nBIG = H(tokens=2 * 1024)\nname = 'a'\nflag = True")
    assert settings.numbers("tokens") == {4096, 2048}
    assert settings.values("name") == frozenset({"a"})
    assert settings.sets("flag") and not settings.sets("tok")
    assert settings.texts("tokens") == ["4 * 1024", "2 * 1024"]


@pytest.mark.parametrize("text", ["n = f()", "n = 'a' * 9", "n = 10 ** 4", "a = b\nb = a\nn = a", "n = [1][0]"])
def test_settings_that_cannot_be_read(text: str) -> None:
    assert Settings(text).numbers("n") == set()
