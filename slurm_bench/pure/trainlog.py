"""A training log's text to its result. The format is that of the human records (human_baselines/README.md)."""

import math
import re

from slurm_bench.words.records import TrainResult

SEPARATOR = "=" * 100
"""Before the first such line the log holds the program's own text, which speaks of losses too."""

_VALIDATION = re.compile(
    r"^step:(?P<step>\d{1,9})/(?P<steps>\d{1,9}) val_loss:(?P<loss>\S{1,40}) "
    r"train_time:(?P<ms>\d{1,12}(?:\.\d{1,9})?)ms step_avg:\S{1,40}$",
    re.MULTILINE,
)


class NoResult(Exception):
    """The log holds no final line that can be believed; the message says why."""


def parse(log: str) -> TrainResult:
    """Result on the last validation line, which must stand at the last step and be finite.

    Raises:
        NoResult: no separator, no validation line, not the last step, two last lines, or no finite loss.
    """
    _, separator, progress = f"\n{log}".partition(f"\n{SEPARATOR}\n")
    if not separator:
        raise NoResult("no line of 100 '=' after the program's text")
    lines = list(_VALIDATION.finditer(progress))
    final = [line for line in lines if line["step"] == line["steps"]]
    if not lines or not final:
        raise NoResult("no validation line at the last step")
    if len(final) > 1 or final[0] is not lines[-1]:
        raise NoResult("more than one final validation line")
    return _result(final[0])


def _result(line: re.Match[str]) -> TrainResult:
    try:
        loss = float(line["loss"])
    except ValueError:
        raise NoResult(f"val_loss {line['loss']!r} is no number") from None
    if not math.isfinite(loss):
        raise NoResult(f"val_loss {loss} is not finite")
    return TrainResult(steps=int(line["steps"]), val_loss=loss, train_time_s=float(line["ms"]) / 1000)
