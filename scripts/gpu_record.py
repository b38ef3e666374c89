"""A human record and a candidate on real GPUs, at fewer steps: what starts take, cold and warm; see scripts/gpu_record.

Writes what was seen so far at every look, so that a run that is ended anywhere leaves it behind.
"""

import argparse
import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gpu_proof
from benchmarks import machine
from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.pure.settings import Settings
from slurm_bench.pure.shards import DOCUMENT_START, FOLDER, VALIDATION
from slurm_bench.words.paths import CalibrationPaths, CampaignPaths
from slurm_bench.words.trials import Decoy, Trial

TRAINING_TOKENS, VALIDATION_TOKENS = 30_000_000, 10_600_000
"""Of a shard. Newer records begin with two training shards, the second being read ahead."""
MEAN_WORDS = 700
"""Of a document, roughly as in FineWeb."""
LOOK_S = 5.0


def main() -> int:
    options, overrides = parsed()
    gpus = machine.gpus()
    if not gpus or not gpu_proof.gpu_type():
        print("gpu_record: no GPU, or no Slurm with GPUs of a type in a partition gpu: gpu_host up", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="slurm_bench-record-"))
    make_tokens(folder / "data" / FOLDER)
    record = shortened(options.record, folder / "starting", options)
    candidate = shortened(options.candidate, folder / "candidate", options)
    argv = [sys.executable, "-m", "slurm_bench"]
    argv += overrides_for(options, len(gpus), folder, record)
    beside = [f"command.directory={candidate}"] if options.candidate != options.record else []
    timing = [*argv, *overrides, "command=retime", *beside]
    facts = {
        **gpu_proof.host_facts(),
        "gpus": gpus,
        "steps": options.steps,
        "windows": options.windows,
        "command": timing[1:],
    }
    deadline = time.time() + 60 * options.minutes
    process = subprocess.Popen(timing)
    while process.poll() is None and time.time() < deadline:
        time.sleep(LOOK_S)
        write(options.out, facts | seen(folder / "runs"))
    if process.poll() is None:
        process.terminate()
        process.wait()
        subprocess.run([*argv, *overrides, "command=stop", "command.all=true"], check=False)
    write(options.out, facts | seen(folder / "runs") | {"exit_code": process.returncode})
    print((options.out / "record.txt").read_text())
    return 0


def parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="SIF or sandbox folder with Python and PyTorch")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True, help="folder of the starting record")
    parser.add_argument("--candidate", type=Path, required=True, help="folder of what is timed beside it")
    parser.add_argument("--steps", type=int, default=60, help="that both train")
    parser.add_argument("--windows", type=int, help="sizes that both keep of their schedule: each is a graph")
    parser.add_argument("--minutes", type=float, default=18, help="after which what is left is cancelled")
    parser.add_argument("--gpus", type=int, default=1, help="of a trial; the host runs as many at once as fit")
    return parser.parse_known_args()


def overrides_for(options: argparse.Namespace, gpus: int, folder: Path, record: Path) -> list[str]:
    cluster = {
        "partition": "gpu",
        "cpu_partition": "cpu",
        "session_gpus": 0,
        "session_hours": 1,
        "trial_gpus": options.gpus,
        "node_gpus": gpus,
        "parallel": max(1, gpus // options.gpus),
        "exclusive": "false",
        "foreign_cores": "null",
        "poll_seconds": 1,
        "absent_grace_seconds": 15,
        "slurm_conf": os.environ["SLURM_CONF"],
    }
    return [
        "task=nanogpt_speedrun",
        "cluster=slurm",
        "container=apptainer",
        f"container.image={options.image}",
        f"task.record={record}",
        f"task.data={folder / 'data'}",
        *(f"cluster.{name}={value}" for name, value in cluster.items()),
        f"+budget.weights={{{gpu_proof.gpu_type()}: 1}}",
        f"runs={folder / 'runs'}",
        "campaign=record",
    ]


# --- what is run


def make_tokens(folder: Path) -> None:
    """Write shards in FineWeb's form: words by Zipf's law, in documents of random lengths."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    shares = 1 / (np.arange(DOCUMENT_START) + 2.7)
    training = [(f"fineweb_train_{number:06d}.bin", TRAINING_TOKENS) for number in (1, 2)]
    for name, count in (*training, (VALIDATION, VALIDATION_TOKENS)):
        places = np.searchsorted(np.cumsum(shares / shares.sum()), rng.random(count, dtype=np.float32))
        tokens = np.minimum(places, DOCUMENT_START - 1).astype("<u2")
        tokens[rng.random(count, dtype=np.float32) < 1 / MEAN_WORDS] = DOCUMENT_START
        tokens[0] = DOCUMENT_START
        header = np.zeros(256, "<i4")
        header[:3] = 20240520, 1, count
        (folder / name).write_bytes(header.tobytes() + tokens.tobytes())


def shortened(record: Path, folder: Path, options: argparse.Namespace) -> Path:
    """Return a copy of a record that declares fewer steps and, where asked, fewer window sizes."""
    shutil.copytree(record, folder, ignore=shutil.ignore_patterns("provenance*"))
    program = folder / "train_gpt.py"
    text = program.read_text()
    in_stages = "TRAINING_STAGES = [" in text  # of steps, windows, batches and losses, as newer records declare them
    text = (of_fewer_steps if in_stages else of_steps)(text, options.steps)
    if options.windows:
        text = (of_fewer_stages if in_stages else of_fewer_windows)(text, options.windows)
    program.write_text(text)
    return folder


def of_steps(text: str, steps: int) -> str:
    return declared(text, "num_iterations: int", str(steps))


def of_fewer_steps(text: str, steps: int) -> str:
    """Return a newer record's program with fewer steps in its schedule; what it adds at the end stays."""
    added = Settings(text).numbers("num_extension_iterations")
    if len(added) != 1 or steps <= max(added):
        sys.exit(f"gpu_record: --steps has to be more than the {sorted(added)} that a record adds to its schedule")
    return declared(text, "num_scheduled_iterations: int", str(steps - max(added)))


def of_fewer_windows(text: str, count: int) -> str:
    sizes = re.findall(r"ws_schedule: tuple = \((.*)\)", text)[0].split(",")[:count]
    return declared(text, "ws_schedule: tuple", f"({', '.join(sizes)},)")


def of_fewer_stages(text: str, count: int) -> str:
    """Return a newer record's program with later stages as long as ever, but else like the last that stays."""
    found = (node for node in ast.parse(text).body if ast.unparse(node).startswith("TRAINING_STAGES = ["))
    assigned = next(node for node in found if isinstance(node, ast.Assign))
    stages = [node for node in ast.iter_child_nodes(assigned.value) if isinstance(node, ast.Call)]
    like = [each for each in stages[count - 1].keywords if each.arg != "duration"]
    for stage in stages[count:]:
        stage.keywords = [each for each in stage.keywords if each.arg == "duration"] + like
    lines = text.splitlines(keepends=True)
    lines[assigned.lineno - 1 : assigned.end_lineno] = [ast.unparse(assigned) + "\n"]
    return "".join(lines)


def declared(text: str, name: str, value: str) -> str:
    """Return the program with another value of a setting, which it declares in one place."""
    text, count = re.subn(rf"({re.escape(name)} = )(\d+|\(.*\))", rf"\g<1>{value}", text)
    if count != 1:
        sys.exit(f"gpu_record: {name} is declared in {count} places, not in one")
    return text


# --- what was seen


def seen(runs: Path) -> dict[str, Any]:
    calibrations = members(CampaignPaths(runs / "record")).calibrations
    decoys, trials, jobs = [], [], []
    for paths in calibrations:
        decoys += [decoy_facts(paths)] if paths.timing.decoy.exists() else []
        trials += list(trials_of(paths))
        jobs += list(gpu_proof.jobs(paths))
    return {"decoys": decoys, "trials": trials, "jobs": jobs}


def decoy_facts(paths: CalibrationPaths) -> dict[str, Any]:
    decoy = store.read(paths.timing.decoy, Decoy)
    kept = decoy.caches
    archive = Path(kept.archive) if kept else None
    return {
        "seal": decoy.seal[:12],
        "compiling": facts_of(decoy.compiling) if decoy.compiling else None,
        **facts_of(decoy.trial),
        "floor": round(decoy.canary.floor, 4),
        "files": kept.files if kept else None,
        "megabytes": round(kept.bytes / 1e6, 1) if kept else None,
        "packed_megabytes": round(archive.stat().st_size / 1e6, 1) if archive and archive.exists() else None,
    }


def trials_of(paths: CalibrationPaths) -> Iterator[dict[str, Any]]:
    """Yield every run's facts, those of a retiming that was stopped too."""
    for where in paths.timing.retimings():
        for name, folder in (("candidate", where.trials), ("starting record", where.incumbents)):
            for file in sorted(folder.glob("[!.]*.json")):
                trial = store.read(file, Trial)
                yield {"arm": name, "index": trial.index, **facts_of(trial)}


def facts_of(trial: Trial) -> dict[str, Any]:
    took = (trial.ended - trial.started).total_seconds() if trial.ended and trial.started else None
    return {
        "outcome": trial.outcome.value,
        "note": trial.note,
        "loss": trial.result.val_loss if trial.result else None,
        "training_s": trial.result.train_time_s if trial.result else None,
        "wall_s": round(trial.wall_s, 1),
        "runner_s": round(took, 1) if took is not None else None,
        "off_clock_s": round(trial.off_clock_s, 1) if trial.off_clock_s is not None else None,
        "added_files": trial.caches.added if trial.caches else None,
        "gpus": [gpu.uuid for gpu in trial.gpus],
        "job": trial.job,
    }


# --- what is written


def write(out: Path, facts: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "record.json").write_text(json.dumps(facts, indent=1) + "\n")
    (out / "record.txt").write_text("\n".join(as_text(facts)) + "\n")


def as_text(facts: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield f"{facts['date']}, commit {facts['commit']}, as {facts['user']}"
    yield f"{len(facts['gpus'])} GPUs: {'; '.join(facts['gpus'])}; {facts['cores']} cores, kernel {facts['kernel']}"
    yield versions
    yield f"{facts['steps']} steps, {facts['windows'] or 'all'} window sizes"
    yield f"python {' '.join(facts['command'])}"
    yield ""
    yield "decoy runs, on random tokens: one that compiles until it trains, then the canary"
    for decoy in facts["decoys"]:
        yield f"{decoy['seal']}: {decoy['outcome']} {decoy['note']}: {said_of(decoy)}, floor {decoy['floor']}"
        compiling = decoy["compiling"] or {"outcome": "no run", "note": "no caches are named", "wall_s": 0}
        yield f"  {compiling['outcome']} ({compiling['note']}) after {compiling['wall_s']} s"
        yield f"  left {decoy['files']} files, {decoy['megabytes']} MB, packed {decoy['packed_megabytes']} MB"
    yield ""
    yield "timed runs, each with its own copy of what its seal's decoy run had compiled"
    for trial in facts["trials"]:
        yield f"{trial['arm']} {trial['index']}: {trial['outcome']} {trial['note']}: {said_of(trial)}"
    for arm in ("candidate", "starting record"):
        yield from summary(arm, [each for each in facts["trials"] if each["arm"] == arm and each["outcome"] == "clean"])
    yield ""
    yield "GPU-seconds by ledger and by sacct"
    for job in facts["jobs"]:
        yield f"{job['ledger_gpu_s']:6} {job['sacct_gpu_s']:6}  {job['tasks']} tasks of {job['job']} ({job['kind']})"


def said_of(run: dict[str, Any]) -> str:
    return (
        f"loss {run['loss']}, {run['training_s']} s of training, {run['off_clock_s']} s off the clock, "
        f"{run['wall_s']} s in all ({run['runner_s']} s with the runner's own), {run['added_files']} files added"
    )


def summary(arm: str, clean: Sequence[dict[str, Any]]) -> Iterator[str]:
    if clean:
        means = (statistics.fmean(each[name] for each in clean) for name in ("training_s", "off_clock_s", "wall_s"))
        training, off, wall = means
        yield f"{arm}: {len(clean)} clean, means {training:.2f} s of training, {off:.1f} s off the clock, {wall:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
