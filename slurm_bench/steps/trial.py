"""On the node, outside the container: one training run of a seal, timed and written down by us.

What the candidate says of itself is only its training log; that it ended, how, when and where is the runner's word.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from slurm_bench.effects import containers, processes, seals, store
from slurm_bench.effects.containers import Container, Mount, Program
from slurm_bench.pure import trainlog
from slurm_bench.words import paths
from slurm_bench.words.errors import InfrastructureError, InvalidCandidate
from slurm_bench.words.records import TrainResult, Trial, TrialOutcome, TrialPlan

# What a scheduler tells a job about its own GPUs and cores; all else of the node's environment stays outside.
_PASSED_ON = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS")

_PROBE_S = 60


def run_task(plan_path: str, task: int) -> None:
    """What an array task does: its trial, whose record it writes even when the trial fails."""
    plan = store.read(Path(plan_path), TrialPlan)
    store.write(paths.trial_record(Path(plan.trials_dir), task), _run_trial(plan, task))


def _run_trial(plan: TrialPlan, index: int) -> Trial:
    started, began = datetime.now(UTC), time.monotonic()
    try:
        seals.verify(Path(plan.seal_dir), plan.seal)
        with _scratch(plan) as scratch:
            began = time.monotonic()
            exit_code = _train(plan, index, scratch)
            wall_s = time.monotonic() - began
            outcome, note, result = _read_result(plan, index, scratch, exit_code, wall_s)
        seals.verify(Path(plan.seal_dir), plan.seal)
    except processes.TimedOut as limit:
        exit_code, wall_s = None, time.monotonic() - began
        outcome, note, result = TrialOutcome.TIMED_OUT, str(limit), None
    except (InfrastructureError, OSError) as error:
        exit_code, wall_s = None, time.monotonic() - began
        outcome, note, result = TrialOutcome.INFRASTRUCTURE, str(error), None
    return Trial(
        index=index,
        outcome=outcome,
        note=note,
        exit_code=exit_code,
        result=result,
        wall_s=wall_s,
        started=started,
        node=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        seal=plan.seal.sha256,
        image_sha256=plan.image_sha256,
    )


@contextmanager
def _scratch(plan: TrialPlan) -> Iterator[Path]:
    """A fresh folder on the node, removed afterwards as far as our rights reach."""
    folder = Path(tempfile.mkdtemp(prefix="slurm_bench-trial-", dir=plan.scratch_dir))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train(plan: TrialPlan, index: int, scratch: Path) -> int:
    """Run the seal's run.sh and return its exit code."""
    output = paths.trial_output(Path(plan.trials_dir), index)
    argv = command_line(plan, scratch, ["bash", "run.sh"])
    return processes.run_logged(argv, timeout_s=plan.timeout_s, output=output)


def _container_works(plan: TrialPlan, index: int, scratch: Path) -> bool:
    """Whether the same container runs a program of ours: a candidate could imitate any sign of a failed start."""
    for left in ("run", "tmp", "home"):  # a candidate that filled the disk must not fail the probe
        shutil.rmtree(scratch / left, ignore_errors=True)
    probe = scratch / "probe"
    probe.mkdir()
    output = paths.trial_output(Path(plan.trials_dir), index)
    try:
        return processes.run_logged(command_line(plan, probe, ["true"]), timeout_s=_PROBE_S, output=output) == 0
    except processes.TimedOut:
        return False


def command_line(plan: TrialPlan, scratch: Path, command: Sequence[str]) -> list[str]:
    """Lay out the scratch folder for one trial and return the argument list that runs a command there.

    The run starts in a folder of its own with links to the read-only seal and data, an empty home and empty
    caches.
    """
    container = _container(plan)
    seal, data = Mount(Path(plan.seal_dir), "/seal"), Mount(Path(plan.data_dir), "/data")
    run = Mount(scratch / "run", "/trial", writable=True)
    temporary = Mount(scratch / "tmp", "/tmp", writable=True)
    home = Mount(scratch / "home", "/home/trial", writable=True)
    for mount in (run, temporary, home):
        mount.outside.mkdir()
    for name in {PurePosixPath(file.path).parts[0] for file in plan.seal.files}:
        (run.outside / name).symlink_to(f"{container.inside(seal)}/{name}")
    (run.outside / "data").symlink_to(container.inside(data))
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    fixed = {"TMPDIR": container.inside(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    program = Program(
        command=command,
        mounts=[seal, data, run, temporary],
        home=home,
        directory=run,
        environment={**passed_on, **fixed, **plan.environment},
    )
    return [*plan.step, *container.argv(program)]


def _container(plan: TrialPlan) -> Container:
    if plan.container == "none":
        return containers.NoContainer()
    return containers.Apptainer(Path(str(plan.image)), plan.gpu_devices)


def _read_result(
    plan: TrialPlan, index: int, scratch: Path, exit_code: int, wall_s: float
) -> tuple[TrialOutcome, str, TrainResult | None]:
    if exit_code != 0 and not _container_works(plan, index, scratch):
        return TrialOutcome.INFRASTRUCTURE, f"no container starts on this node (exit {exit_code})", None
    if exit_code != 0:
        return TrialOutcome.CRASHED, f"exit {exit_code}", None
    try:
        log = _training_log(scratch)
    except (trainlog.NoResult, InvalidCandidate, OSError) as problem:
        return TrialOutcome.NO_RESULT, str(problem), None
    paths.trial_log(Path(plan.trials_dir), index).write_text(log)
    try:
        result = trainlog.parse(log)
    except trainlog.NoResult as problem:
        return TrialOutcome.NO_RESULT, str(problem), None
    if result.train_time_s > wall_s:
        claim = f"claims {result.train_time_s:.2f} s of training in {wall_s:.2f} s"
        return TrialOutcome.IMPLAUSIBLE, claim, result
    return TrialOutcome.CLEAN, "", result


def _training_log(scratch: Path) -> str:
    """The one file in logs/, read as warily as a candidate: the program could have put anything there."""
    logs = seals.read_tree(scratch / "run", PurePosixPath("logs"))
    if len(logs) != 1:
        raise trainlog.NoResult(f"{len(logs)} files in logs/, one is expected")
    ((_, data),) = logs.values()
    return data.decode("utf-8", "replace")
