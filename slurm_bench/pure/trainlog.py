"""A training log's text to its result. The format is that of the human records (human_baselines/README.md)."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from slurm_bench.pure.rules import SEPARATOR
from slurm_bench.words.trials import TrainResult

"""Before the first such line the log holds the program's own text, which speaks of losses too."""

_LINE = re.compile(
    r"step:(?P<step>\d{1,9})/(?P<steps>\d{1,9}) val_loss:(?P<loss>\d{1,4}\.\d{4}(?:\d\d)?) "
    r"train_time:(?P<ms>\d{1,12})ms step_avg:(?P<average>\d{1,12}\.\d\d|nan)ms",
    re.ASCII,
)
"""A validation line, exactly as all 1,125 finished logs of upstream's tracks 1 and 2 have it."""

_STEP = re.compile(r"step:(?P<step>\d{1,9})/\d{1,9} .*train_time:", re.ASCII)
"""A line about a step, validated or not."""
_TRAINS_AT = 5
"""Step from which on a program trains, and compiles no more."""
_UNTIMED_STEPS = 10
"""Steps that the averages of 2024 leave out: their clock began at the eleventh."""
_MOST_QUOTED = 160


class NoResult(Exception):
    """The log holds no final line that can be believed; the message says why, and quotes the line."""


@dataclass(frozen=True)
class _Validation:
    """One validation line's numbers."""

    text: str
    step: int
    steps: int
    loss: float
    ms: int
    average: float


def parse(log: str) -> TrainResult:
    """Return the result on the last validation line, which must stand at the last step.

    Only what follows the last separator counts: before it stands the program's own text, which may say anything.

    Raises:
        NoResult: there is no separator or no last step, or one line that speaks of `val_loss` is not to be believed.
    """
    _, separator, progress = f"\n{log}".rpartition(f"\n{SEPARATOR}\n")
    if not separator:
        raise NoResult("no line of 100 '=' after the program's text")
    lines = [_validation(line) for line in progress.split("\n") if "val_loss" in line]
    for before, after in pairwise(lines):
        _check_order(before, after)
    if not lines or lines[-1].step != lines[-1].steps:
        raise NoResult("no validation line at the last step")
    last = lines[-1]
    if last.loss <= 0 or last.ms <= 0:
        raise _unbelievable(last.text, "a loss and a time are above zero")
    return TrainResult(steps=last.steps, val_loss=last.loss, train_time_s=last.ms / 1000)


def trains(log: str) -> bool:
    """Return whether a program that has written so much of its log has begun to train."""
    _, separator, progress = f"\n{log}".rpartition(f"\n{SEPARATOR}\n")
    steps = (_STEP.match(line) for line in progress.split("\n")) if separator else ()
    return any(match and int(match["step"]) >= _TRAINS_AT for match in steps)


def _validation(line: str) -> _Validation:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _unbelievable(line, "it is no validation line of the records' form")
    ms, average = int(match["ms"]), float(match["average"])
    found = _Validation(line, int(match["step"]), int(match["steps"]), float(match["loss"]), ms, average)
    if not _average_fits(found):
        raise _unbelievable(line, "its average is not its time over its steps")
    return found


def _average_fits(line: _Validation) -> bool:
    """Whether the average is the time over the steps, both as they were rounded."""
    if math.isnan(line.average):
        return line.step == 0
    timed = {max(line.step, 1), line.step - _UNTIMED_STEPS}
    return any(abs(line.ms / steps - line.average) <= 0.5 / steps + 0.0051 for steps in timed if steps > 0)


def _check_order(before: _Validation, after: _Validation) -> None:
    if before.step == before.steps:
        raise _unbelievable(after.text, "it comes after the last step's line")
    if after.step <= before.step or after.steps != before.steps:
        raise _unbelievable(after.text, f"it follows step {before.step} of {before.steps}")
    if after.ms < before.ms:
        raise _unbelievable(after.text, f"its time is less than the {before.ms} ms of an earlier step")


def _unbelievable(line: str, why: str) -> NoResult:
    return NoResult(f"{line[:_MOST_QUOTED]!r}: {why}")


def implausible(result: TrainResult, wall_s: float, declared: Sequence[int]) -> str:
    """Why a result cannot be true, by what we know without the candidate; empty if it can.

    Args:
        declared: training steps that its program declares; none where that cannot be read.
    """
    if result.train_time_s > wall_s:
        return f"claims {result.train_time_s:.2f} s of training in {wall_s:.2f} s"
    if declared and result.steps not in declared:
        return f"logs {result.steps} steps, its program declares {' or '.join(map(str, declared))}"
    return ""
