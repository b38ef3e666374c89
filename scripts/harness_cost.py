"""What the harness costs a training run: one program bare, under srun, in Apptainer, and in the whole trial runner.

The ways take turns on one node of the Slurm cluster that SLURM_CONF names. Each run begins with empty compile caches,
as a trial does; a fifth way, bare with the caches of earlier runs, shows what that rule costs. Every run is a line of
OUT/harness.jsonl, and the same command goes on from there; OUT/harness.txt sums them up.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from scipy import stats

from benchmarks import machine
from slurm_bench.effects import seals, store
from slurm_bench.effects.cluster import python_command
from slurm_bench.effects.slurm import STEP
from slurm_bench.pure import trainlog
from slurm_bench.steps import trial
from slurm_bench.words.paths import starting_record, trial_record
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import Arm, Trial, TrialOutcome, TrialPlan

WAYS = ("bare", "srun", "apptainer", "runner", "warm caches")
RUNS_OF_A_VERDICT = 20
ALLOWED_S, ALLOWED_SHARE = 3.0, 0.001
"""Start-up that the runner may add to a run, and by how much of itself training time may differ."""


@dataclass(frozen=True)
class Run:
    way: str
    training_s: float
    """As its log claims."""
    wall_s: float
    """From the command's start to its end: start, compilation, warm-up, training, validation."""


class Bench:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self._folder = options, folder
        record = options.record.resolve()
        self._seal = seals.seal(record.parent, PurePosixPath(record.name), folder / "seals")
        self._environment = dict(pair.split("=", 1) for pair in options.env)

    def run(self, way: str) -> Run:
        here = Path(tempfile.mkdtemp(dir=self._folder))
        began = time.perf_counter()
        training_s = self._in_runner(here) if way == "runner" else self._by_itself(way, here)
        return Run(way, training_s, time.perf_counter() - began)

    def _by_itself(self, way: str, here: Path) -> float:
        """The runner's own command line, without the runner."""
        caches = self._folder / "caches"
        warm = {"TORCHINDUCTOR_CACHE_DIR": str(caches), "TRITON_CACHE_DIR": str(caches / "triton")}
        plan = self._plan(here, contained=way == "apptainer", more=warm if way == "warm caches" else {})
        command = trial.command_line(plan, plan.arms[0], here, ["bash", "run.sh"])
        allocation = ["srun", "--ntasks=1", *self._node()] if way == "srun" else []
        _finish([*allocation, *command], here / "printed")
        (log,) = (here / "run/logs").iterdir()
        return trainlog.parse(log.read_text()).train_time_s

    def _in_runner(self, here: Path) -> float:
        plan = self._plan(here, contained=True, step=STEP)
        store.write(here / "plan.json", plan)
        runner = python_command(trial.__name__, str(here / "plan.json"), "0")
        _finish(["salloc", "--quiet", *self._node(), *runner], here / "printed")
        run = store.read(trial_record(Path(plan.arms[0].trials_dir), 0), Trial)
        if run.outcome is not TrialOutcome.CLEAN or not run.result:
            sys.exit(f"harness_cost: the runner's trial is no clean one: {run.outcome}, {run.note}")
        return run.result.train_time_s

    def _node(self) -> list[str]:
        gpus = [f"--gres={self._options.gres}"] if self._options.gres else []
        return [f"--partition={self._options.partition}", "--nodes=1", "--exclusive", *gpus]

    def _plan(
        self, here: Path, *, contained: bool, more: Mapping[str, str] = {}, step: tuple[str, ...] = ()
    ) -> TrialPlan:
        (here / "trials").mkdir()
        return TrialPlan(
            job_name="harness",
            arms=(_arm(self._seal, self._folder / "seals", here / "trials"),),
            data_dir=str(self._options.data.absolute()),
            scratch_dir=str(here),
            indices=(0,),
            candidate_first=(),
            timeout_s=600,
            scratch_bytes=10 * 2**30,
            environment={**self._environment, **more},
            container="apptainer" if contained else "none",
            image=os.path.abspath(self._options.image) if contained else None,
            image_sha256=None,
            gpus=self._options.gpus,
            foreign_cores=1.0 if self._options.gpus else None,
            step=step,
        )


def _arm(sealed: Seal, sealed_in: Path, trials: Path) -> Arm:
    return Arm(seal=sealed, seal_dir=str(sealed_in / sealed.sha256), trials_dir=str(trials), declared_steps=())


def _finish(command: Sequence[str], printed: Path) -> None:
    with printed.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"harness_cost: exit code {done.returncode} of {command[0]}: {printed.read_text()[-2000:]}")


def main() -> int:
    options = parsed()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.out / "harness.jsonl"
    with tempfile.TemporaryDirectory(prefix="slurm_bench-harness-") as folder:
        bench = Bench(options, Path(folder))
        ways = options.ways
        if "warm caches" in ways:
            print(f"filling the caches: {bench.run('warm caches')}", flush=True)
        for number in range(len(runs_of(lines)), options.rounds * len(ways)):
            run = bench.run(in_turn(number, ways))
            with lines.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
            print(f"{number + 1}/{options.rounds * len(ways)} {run}", flush=True)
    summary = "\n".join([*measured_on(), *summarised(runs_of(lines), max(options.gpus, 1))]) + "\n"
    (options.out / "harness.txt").write_text(summary)
    print(summary, end="")
    return int("FAILS" in summary)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="SIF or sandbox folder with Python and PyTorch")
    parser.add_argument("--data", required=True, type=Path, help="folder with fineweb10B/")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--record", type=Path, default=starting_record("rehearsal"), help="what is run")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--partition", default="gpu")
    parser.add_argument("--gpus", type=int, default=1, help="that a run has to see; 0 where they are only claimed")
    parser.add_argument("--gres", default="gpu:1", help="srun's")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable of every run")
    return parser.parse_args()


def runs_of(lines: Path) -> list[Run]:
    return [Run(**json.loads(line)) for line in lines.read_text().splitlines()] if lines.exists() else []


def in_turn(number: int, ways: Sequence[str]) -> str:
    """Who begins changes from round to round, so that a card that warms up favours nobody."""
    turn, place = divmod(number, len(ways))
    return ways[(place + turn) % len(ways)]


def measured_on() -> Iterator[str]:
    here = machine.read()
    yield f"{here.date}: {here.line}"
    yield f"{'; '.join(machine.gpus()) or 'no GPU'}; PyTorch {metadata.version('torch')}"


def summarised(runs: Sequence[Run], gpus: int) -> Iterator[str]:
    ways = [way for way in WAYS if sum(run.way == way for run in runs) >= 2]
    if "bare" not in ways:
        yield "too few runs to say anything: two rounds at least, bare ones among them"
        return
    training = {way: [run.training_s for run in runs if run.way == way] for way in ways}
    wall = {way: statistics.mean(run.wall_s for run in runs if run.way == way) for way in ways}
    yield "way          runs  training, mean and deviation  against bare, 95 %            whole run  more than bare"
    for way in ways:
        row = in_a_row(training[way], training["bare"])
        yield f"{way:<12} {row}  {wall[way]:9.2f} s  {wall[way] - wall['bare']:+7.2f} s"
    if "runner" in ways:
        added = wall["runner"] - wall["bare"]
        yield verdict(f"start-up added by the runner: {added:.2f} s, {ALLOWED_S:g} s at most", added <= ALLOWED_S)
        yield agreement(*difference(training["runner"], training["bare"]))
    if "warm caches" in ways:
        empty = wall["bare"] - wall["warm caches"]
        hours = empty * RUNS_OF_A_VERDICT * gpus / 3600
        what = f"{hours:.3f} GPU-hours a verdict of {RUNS_OF_A_VERDICT} runs on {gpus} GPUs"
        yield f"empty compile caches: {empty:.2f} s a run, {what}"


def in_a_row(times: Sequence[float], bare: Sequence[float]) -> str:
    mean, deviation, reference = statistics.mean(times), statistics.stdev(times), statistics.mean(bare)
    low, high = (100 * end for end in difference(times, bare))
    share = f"{mean / reference - 1:+8.3%} [{low:+.3f}, {high:+.3f}]"
    return f"{len(times):4}  {mean:9.4f} s {deviation:7.4f} s ({deviation / mean:.2%})  {share}"


def difference(times: Sequence[float], bare: Sequence[float]) -> tuple[float, float]:
    """Ends of Welch's 95 % interval of how much longer they are, as a share of the bare ones' mean."""
    between = stats.ttest_ind(times, bare, equal_var=False).confidence_interval(0.95)
    return float(between.low) / statistics.mean(bare), float(between.high) / statistics.mean(bare)


def agreement(low: float, high: float) -> str:
    """Whether training time in the runner is that of the bare program, as far as these runs tell."""
    what = f"training time in the runner differs by {low:+.3%} to {high:+.3%}, {ALLOWED_SHARE:.1%} at most"
    if max(abs(low), abs(high)) <= ALLOWED_SHARE:
        return f"holds: {what}"
    if low > ALLOWED_SHARE or high < -ALLOWED_SHARE:
        return f"FAILS: {what}"
    return f"not resolved by these runs: {what}"


def verdict(what: str, holds: bool) -> str:
    return f"{'holds' if holds else 'FAILS'}: {what}"


if __name__ == "__main__":
    sys.exit(main())
