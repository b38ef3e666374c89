"""What the runs of the human records show, and whether runs that were not looked at before show the same."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from slurm_bench.pure.rules import LEVEL, LOSS_SKEW, PUBLISHED_TARGET_LOSS, RUNS
from slurm_bench.pure.statistics import adjusted_p_value
from study.noise import RERUN_KINDS, noise_of, read_runs
from study.page import Lines, heading, table
from study.simulations import World, passes_loss

ByRecord = Mapping[str, Sequence[float]]


def what_runs_show(_: World) -> Lines:
    yield from heading("What the runs of human records show", "Spreads are standard deviations within a record.")
    runs, reruns = read_runs("human_runs"), read_runs("human_reruns", *RERUN_KINDS)
    header = ["", "runs", "skewness of the losses", "spread of the losses, median", "spread of the times, median"]
    yield from table(header, noise_row("34 records", *runs), noise_row("reruns of six records", *reruns))
    yield from (f"The adjusted test allows for a skewness of {LOSS_SKEW:g}.", "")
    yield from first_tens([*runs[0].values(), *reruns[0].values()])
    yield "The same program at another time on another machine: the mean of its reruns less that of the record's runs,"
    yield from ("with the standard error; and the spreads of both, the reruns' first.", "")
    same = read_runs("human_reruns", "rerun")
    rows = []
    for record, losses in same[0].items():
        of_times = comparison(same[1][record], runs[1][record], 2)
        rows.append([record, str(len(losses)), *of_times, *comparison(losses, runs[0][record], 4)])
    header = ["record", "reruns", "offset of the time (s)", "spreads", "offset of the loss", "spreads"]
    yield from table(header, *rows)


def noise_row(name: str, losses: ByRecord, times_s: ByRecord) -> list[str]:
    loss, time = noise_of(losses), noise_of(times_s)
    count = len(loss.deviations)
    skewness = f"{scipy.stats.skew(loss.deviations):.2f} ± {np.sqrt(6 / count):.2f}"
    return [name, str(count), skewness, f"{np.median(loss.spreads):.4f}", f"{np.median(time.spreads):.2f} s"]


def first_tens(samples: Sequence[Sequence[float]]) -> Lines:
    """How those with ten or more runs do by each rule."""
    tens = np.array([sample[:RUNS] for sample in samples if len(sample) >= RUNS])
    margins = (PUBLISHED_TARGET_LOSS - tens.mean(axis=-1)) / tens.std(axis=-1, ddof=1)
    yield "Of the records with ten runs or more (and the one with ten reruns), the first ten pass on the loss:"
    yield ""
    yield from table(
        [
            "records",
            f"plain at {LEVEL}",
            f"adjusted at {LEVEL}",
            f"adjusted at {LEVEL / 2}",
            "below the target, median",
        ],
        [
            str(len(tens)),
            str(passes_loss(tens, LEVEL).sum()),
            str(passes_loss(tens, LEVEL, adjusted_p_value).sum()),
            str(passes_loss(tens, LEVEL / 2, adjusted_p_value).sum()),
            f"{np.median(margins):.2f} standard deviations",
        ],
    )


def comparison(of_reruns: Sequence[float], of_runs: Sequence[float], digits: int) -> tuple[str, str]:
    """The offset with its standard error, and both spreads."""
    error = np.hypot(scipy.stats.sem(of_reruns), scipy.stats.sem(of_runs))
    spreads = (f"{np.std(sample, ddof=1):.{digits}f}" for sample in (of_reruns, of_runs))
    return f"{np.mean(of_reruns) - np.mean(of_runs):.{digits}f} ± {error:.{digits}f}", ", ".join(spreads)
