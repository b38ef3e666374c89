"""On the node, outside the container: one training run of a seal, timed and written down by us.

What the candidate says of itself is only its training log; that it ended, how, when and where is the runner's word.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from slurm_bench.effects import containers, node, processes, scratch, seals, store
from slurm_bench.effects.containers import Container, Mount, Program
from slurm_bench.effects.scratch import TooMuchWritten
from slurm_bench.pure import trainlog
from slurm_bench.pure.static_rules import PROGRAM
from slurm_bench.words import paths
from slurm_bench.words.errors import InfrastructureError, InvalidCandidate
from slurm_bench.words.records import Gpu, TrainResult, Trial, TrialOutcome, TrialPlan

# What a scheduler tells a job about its own GPUs and cores; all else of the node's environment stays outside.
_PASSED_ON = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS")

_PROBE_S = 60
_QUIET_S = 30.0
"""How long a trial waits for the node to come to rest, e.g. for what ended just before it."""
_LEAVE_S = 5.0
"""How long the processes of a trial may take to go after it."""
_MAX_OUTPUT = 64 * 2**20
_MAX_FILES = 100_000


def main(plan_path: str, task: str) -> None:
    """What an array task does: its trial, whose record it writes even when the trial fails."""
    plan = store.read(Path(plan_path), TrialPlan)
    index = plan.indices[int(task)]
    store.write(paths.trial_record(Path(plan.trials_dir), index), _run_trial(plan, index))


@dataclass
class _Run:
    """What is known of a trial so far; the candidate's failure unless something says otherwise."""

    outcome: TrialOutcome = TrialOutcome.CRASHED
    note: str = ""
    exit_code: int | None = None
    result: TrainResult | None = None
    wall_s: float = 0.0
    gpus: tuple[Gpu, ...] = ()

    def end(self, outcome: TrialOutcome, note: object = "") -> None:
        self.outcome, self.note = outcome, str(note)


def _run_trial(plan: TrialPlan, index: int) -> Trial:
    started, run = datetime.now(UTC), _Run()
    try:
        _refuse_restart(plan, index)
        seals.verify(Path(plan.seal_dir), plan.seal)
        with _scratch(plan) as folder:
            _train(plan, index, folder, run)
        seals.verify(Path(plan.seal_dir), plan.seal)
        node.wait_until_quiet(run.gpus, None, _QUIET_S)
    except (InfrastructureError, OSError) as error:
        run.end(TrialOutcome.INFRASTRUCTURE, error)
    return Trial(
        index=index,
        outcome=run.outcome,
        note=run.note,
        exit_code=run.exit_code,
        result=run.result,
        wall_s=run.wall_s,
        started=started,
        node=node.name(),
        gpus=run.gpus,
        seal=plan.seal.sha256,
        image_sha256=plan.image_sha256,
    )


def _refuse_restart(plan: TrialPlan, index: int) -> None:
    """A trial that the scheduler starts again would be a second draw."""
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    if restarts != "0" or paths.trial_output(Path(plan.trials_dir), index).exists():
        raise InfrastructureError(f"the scheduler started trial {index} again (restart {restarts})")


@contextmanager
def _scratch(plan: TrialPlan) -> Iterator[Path]:
    """A fresh folder on the node, removed afterwards as far as our rights reach."""
    folder = Path(tempfile.mkdtemp(prefix="slurm_bench-trial-", dir=plan.scratch_dir))
    try:
        yield folder
    finally:
        scratch.remove(folder)


def _train(plan: TrialPlan, index: int, folder: Path, run: _Run) -> None:
    """Run the seal's run.sh on a quiet node, and find out how it ended."""
    run.gpus = _gpus_inside(plan, folder)
    node.wait_until_quiet(run.gpus, plan.foreign_cores, _QUIET_S)
    output = paths.trial_output(Path(plan.trials_dir), index)
    argv = command_line(plan, folder, ["bash", "run.sh"])
    began = time.monotonic()
    try:
        run.exit_code = processes.run_logged(
            argv, timeout_s=plan.timeout_s, output=output, watch=lambda: _check_written(plan, folder, output)
        )
        run.wall_s = time.monotonic() - began
        _judge_end(plan, index, folder, run)
    except processes.TimedOut as limit:
        run.end(TrialOutcome.TIMED_OUT, limit)
    except TooMuchWritten as excess:
        run.end(TrialOutcome.CRASHED, excess)
    run.wall_s = run.wall_s or time.monotonic() - began
    if output.stat().st_size > _MAX_OUTPUT:
        os.truncate(output, _MAX_OUTPUT)
    left = node.end_what_is_left(folder, _LEAVE_S)
    if left:
        run.end(TrialOutcome.LEFT_BEHIND, f"{len(left)} processes were still there after the trial")


def _gpus_inside(plan: TrialPlan, folder: Path) -> tuple[Gpu, ...]:
    """The GPUs that the trial's own container sees: `--nv` succeeds without any."""
    if not plan.gpus:
        return ()
    seen = node.gpus(_probe(plan, folder, node.GPU_QUERY))
    if len(seen) < plan.gpus:
        raise InfrastructureError(f"{len(seen)} GPUs in the container, {plan.gpus} are allocated")
    return seen


def _check_written(plan: TrialPlan, folder: Path, output: Path) -> None:
    scratch.check_written(folder, plan.scratch_bytes, _MAX_FILES)
    if output.stat().st_size > _MAX_OUTPUT:
        raise TooMuchWritten(f"printed more than {_MAX_OUTPUT // 2**20} MiB")


def _judge_end(plan: TrialPlan, index: int, folder: Path, run: _Run) -> None:
    if run.exit_code != 0:
        if _container_works(plan, folder):
            return run.end(TrialOutcome.CRASHED, f"exit {run.exit_code}")
        raise InfrastructureError(f"no container starts on this node (exit {run.exit_code})")
    try:
        log = _training_log(folder)
        paths.trial_log(Path(plan.trials_dir), index).write_text(log)
        run.result = trainlog.parse(log)
    except (trainlog.NoResult, InvalidCandidate, OSError) as problem:
        return run.end(TrialOutcome.NO_RESULT, problem)
    implausible = _implausible(plan, run.result, run.wall_s)
    return run.end(TrialOutcome.IMPLAUSIBLE if implausible else TrialOutcome.CLEAN, implausible)


def _implausible(plan: TrialPlan, result: TrainResult, wall_s: float) -> str:
    """Why a result cannot be true, by what we know without the candidate; empty if it can."""
    if result.train_time_s > wall_s:
        return f"claims {result.train_time_s:.2f} s of training in {wall_s:.2f} s"
    declared = trainlog.declared_steps(Path(plan.seal_dir, PROGRAM).read_text("utf-8", "replace"))
    if declared and result.steps not in declared:
        return f"logs {result.steps} steps, its program declares {' or '.join(map(str, sorted(declared)))}"
    return ""


def _container_works(plan: TrialPlan, folder: Path) -> bool:
    """Whether the same container runs a program of ours: a candidate could imitate any sign of a failed start."""
    for left in ("run", "tmp", "home"):  # a candidate that filled the disk must not fail the probe
        scratch.remove(folder / left)
    try:
        return processes.run(_probe(plan, folder, ["true"]), timeout_s=_PROBE_S).exit_code == 0
    except processes.TimedOut:
        return False


def _probe(plan: TrialPlan, folder: Path, command: Sequence[str]) -> list[str]:
    """Argument list that runs a program of ours in the trial's container, in a folder of its own."""
    return command_line(plan, Path(tempfile.mkdtemp(prefix="probe-", dir=folder)), command)


def command_line(plan: TrialPlan, folder: Path, command: Sequence[str]) -> list[str]:
    """Lay out the scratch folder for one trial and return the argument list that runs a command there.

    The run starts in a folder of its own with links to the read-only seal, the data mounted read-only where no
    link can take its place, an empty home and empty caches.
    """
    container = _container(plan)
    seal, data = Mount(Path(plan.seal_dir), "/seal"), Mount(Path(plan.data_dir), "/trial/data")
    run = Mount(folder / "run", "/trial", writable=True)
    temporary = Mount(folder / "tmp", "/tmp", writable=True)
    home = Mount(folder / "home", "/home/trial", writable=True)
    for mount in (run, temporary, home):
        mount.outside.mkdir()
    for name in {PurePosixPath(file.path).parts[0] for file in plan.seal.files}:
        (run.outside / name).symlink_to(f"{container.inside(seal)}/{name}")
    if container.image:
        (run.outside / "data").mkdir()
    else:
        (run.outside / "data").symlink_to(data.outside)
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    fixed = {"TMPDIR": container.inside(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    program = Program(
        command=command,
        mounts=[seal, run, data, temporary],
        home=home,
        directory=run,
        environment={**passed_on, **fixed, **plan.environment},
    )
    return [*plan.step, *container.argv(program)]


def _container(plan: TrialPlan) -> Container:
    if plan.container == "none":
        return containers.NoContainer()
    return containers.Apptainer(Path(str(plan.image)), gpu_devices=plan.gpus > 0)


def _training_log(folder: Path) -> str:
    """The one file in logs/, read as warily as a candidate: the program could have put anything there."""
    logs = seals.read_tree(folder / "run", PurePosixPath("logs"))
    if len(logs) != 1:
        raise trainlog.NoResult(f"{len(logs)} files in logs/, one is expected")
    ((_, data),) = logs.values()
    return data.decode("utf-8", "replace")


if __name__ == "__main__":
    main(*sys.argv[1:])
