"""On the node, outside the container: a block of training runs of seals, timed and written down by us.

What the candidate says of itself is only its training log; that it ended, how, when and where is the runner's word.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from slurm_bench.effects import caches, containers, node, processes, scratch, seals, store, trouble
from slurm_bench.effects.containers import Container, Mount, Program
from slurm_bench.effects.scratch import Quota, TooMuchWritten
from slurm_bench.pure import storage, trainlog
from slurm_bench.words import paths
from slurm_bench.words.errors import InfrastructureError, InvalidCandidate, StorageError
from slurm_bench.words.trials import RECORD_LOST, Arm, CacheUse, Gpu, Trial, TrialOutcome, TrialPlan

# What a scheduler tells a job about its own GPUs and cores; all else of the node's environment stays outside.
_PASSED_ON = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS")

_TASK_NUMBERS = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")

_PROBE_S = 60
QUIET_S = 30.0
"""How long a trial waits for the node to come to rest, e.g. for what ended just before it."""
LEAVE_S = 5.0
"""How long the processes of a trial may take to go after it."""
_SCRATCH = "slurm_bench-trial-"
CACHES = "caches"
MAX_OUTPUT = 64 * 2**20
_LITTLE = 2**20
"""Bytes that fill no disk: what honest programs print and log, many times over."""
MAX_FILES = 100_000


def main(plan_path: str, task: str) -> None:
    """What an array task does: its block's trials in turn, whose records it writes even when they fail."""
    plan = store.read(Path(plan_path), TrialPlan)
    try:
        (_run_decoy if plan.is_decoy else _run_block)(plan, plan.indices[int(task)])
    except StorageError as error:
        print(error, file=sys.stderr)
        sys.exit(RECORD_LOST)


def _run_block(plan: TrialPlan, index: int) -> None:
    for arm in in_turn(plan, index):
        if _TrialRun(plan, arm, index).run().outcome is not TrialOutcome.CLEAN:
            return  # a block is whole or nothing: the other run could not be compared


def _run_decoy(plan: TrialPlan, index: int) -> None:
    """The run that compiles, if there is one, then the canary with what that left, as the timed runs will have it."""
    canary, *compiling = plan.arms
    for arm in compiling:
        first = _TrialRun(plan, arm, index).run()
        if first.outcome is not TrialOutcome.COMPILED:
            return
        canary = canary.model_copy(update={"caches": first.kept})
    _TrialRun(plan, canary, index).run()


def in_turn(plan: TrialPlan, index: int) -> Sequence[Arm]:
    """The arms of a block in the order that the plan has drawn for it, so that a node that warms up favours nobody."""
    return plan.arms if index in plan.candidate_first else plan.arms[::-1]


class _TrialRun:
    """One trial. Until the candidate starts, a failure is the site's; from then on it is the candidate's own.

    Otherwise a candidate could make its bad draws void, by starving the runner that would write them down. Two
    exceptions: a run that failed on a node where no container of ours starts either, and a folder of runs that cannot
    be written, unless the candidate may have filled it.
    """

    def __init__(self, plan: TrialPlan, arm: Arm, index: int) -> None:
        self._plan, self._arm = plan, arm
        self._trials = Path(arm.trials_dir)
        self._trial = Trial(
            index=index,
            outcome=TrialOutcome.INFRASTRUCTURE,
            note="",
            started=datetime.now(UTC),
            node=node.name(),
            job="_".join(os.environ[name] for name in _TASK_NUMBERS if name in os.environ),
            seal=arm.seal.sha256,
            image_sha256=plan.image_sha256,
        )

    def run(self) -> Trial:
        self._refuse_restart()
        try:
            seals.verify(Path(self._arm.seal_dir), self._arm.seal)
            folder = fresh_scratch(self._plan)
        except (InfrastructureError, OSError) as error:
            self._keep(note=str(error))
            return self._trial
        try:
            self._in_scratch(folder)
        finally:
            scratch.remove_locked(folder)
        return self._trial

    def _refuse_restart(self) -> None:
        """A trial that the scheduler starts again would be a second draw: it is void, and the first's record stays."""
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
        if restarts != "0" or self._record.exists():
            sys.exit(f"trial {self._trial.index} was started before (Slurm counts {restarts} restarts): it is void")

    @property
    def _record(self) -> Path:
        return paths.trial_record(self._trials, self._trial.index)

    @property
    def _output(self) -> Path:
        return paths.trial_output(self._trials, self._trial.index)

    def _keep(self, **known: object) -> None:
        self._note(**known)
        self._in_runs(lambda: store.write(self._record, self._trial))

    def _in_runs(self, write: Callable[[], object], logged: int = 0) -> None:
        """
        Args:
            logged: bytes of the candidate's that are to be written.

        Raises:
            StorageError: the folder of runs stays in trouble.
            OSError: it is full, and the candidate may have taken the last room.
        """
        try:
            trouble.waited_out(write, self._trials, trouble.Waiting(self._plan.patience_s))
        except StorageError as error:
            if storage.is_of_space(error.__cause__) and self._may_have_filled(logged) and error.__cause__:
                raise error.__cause__ from None
            raise

    def _may_have_filled(self, logged: int) -> bool:
        """Whether the candidate could make its bad draws void by what it writes, there or in its scratch."""
        printed = self._output.stat().st_size if self._output.exists() else 0
        scratch_device = scratch.folder(self._plan.scratch_dir).stat().st_dev
        return printed + logged > _LITTLE or self._trials.stat().st_dev == scratch_device

    def _note(self, **known: object) -> None:
        self._trial = self._trial.model_copy(update=known)

    def _in_scratch(self, folder: Path) -> None:
        plan = self._plan
        try:
            gpus = gpus_inside(plan, self._arm, folder)
            node.wait_until_quiet(gpus, plan.foreign_cores, QUIET_S)
            argv = command_line(plan, self._arm, folder, ["bash", "run.sh"])
            given = give_caches(self._arm, folder)
            quota = scratch.Quota(folder, plan.scratch_bytes, MAX_FILES, alone=plan.foreign_cores is not None)
            self._output.touch()
        except (InfrastructureError, OSError, TooMuchWritten) as error:
            self._keep(note=str(error))
            return
        self._keep(outcome=TrialOutcome.BEGUN, gpus=gpus)
        try:
            self._train(argv, folder, quota)
            self._look_behind(folder)
            self._look_at_caches(folder, given)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the candidate runs: see the class
            self._note(outcome=TrialOutcome.CRASHED, note=f"ended the runner: {error!r}")
        self._keep(ended=datetime.now(UTC))

    def _train(self, argv: Sequence[str], folder: Path, quota: Quota) -> None:
        """Run the seal's run.sh, and find out how it ended."""

        def watch() -> None:
            quota.check()
            if self._arm.keeps and _trains(folder):
                raise _Trains

        began = time.monotonic()
        try:
            exit_code = processes.run_logged(
                argv,
                timeout_s=self._plan.timeout_s,
                output=self._output,
                most_output=MAX_OUTPUT,
                watch=watch,
            )
            self._note(exit_code=exit_code, wall_s=time.monotonic() - began)
            quota.check()
        except processes.TimedOut as limit:
            self._note(outcome=TrialOutcome.TIMED_OUT, note=str(limit), wall_s=time.monotonic() - began)
        except _Trains:
            self._note(outcome=TrialOutcome.COMPILED, note="ended once it trained", wall_s=time.monotonic() - began)
        except TooMuchWritten as excess:
            self._note(outcome=TrialOutcome.CRASHED, note=str(excess), wall_s=time.monotonic() - began)
        else:
            self._read_end(folder, exit_code)

    def _read_end(self, folder: Path, exit_code: int) -> None:
        if exit_code != 0:
            works = _container_works(self._plan, self._arm, folder)
            outcome = TrialOutcome.CRASHED if works else TrialOutcome.INFRASTRUCTURE
            note = self._whether_it_printed_too_much() if works else ", no container starts on this node"
            self._note(outcome=outcome, note=f"exit {exit_code}{note}")
            return
        if self._arm.keeps:
            self._note(outcome=TrialOutcome.COMPILED, note="ended by itself")
            return
        try:
            log = _training_log(folder)
            there = paths.trial_log(self._trials, self._trial.index)
            self._in_runs(lambda: there.write_text(log, encoding="utf-8"), logged=len(log))
            result = trainlog.parse(log)
        except (trainlog.NoResult, InvalidCandidate, OSError) as problem:
            self._note(outcome=TrialOutcome.NO_RESULT, note=str(problem))
            return
        implausible = trainlog.implausible(result, self._trial.wall_s, self._arm.declared_steps)
        outcome = TrialOutcome.IMPLAUSIBLE if implausible else TrialOutcome.CLEAN
        self._note(outcome=outcome, note=implausible, result=result)

    def _whether_it_printed_too_much(self) -> str:
        printed = self._output.stat().st_size
        return f", printed more than {MAX_OUTPUT // 2**20} MiB" if printed >= MAX_OUTPUT else ""

    def _look_behind(self, folder: Path) -> None:
        """What a clean run left behind makes it unclean; what somebody else did meanwhile makes it void."""
        left = node.end_what_is_left(folder, LEAVE_S)
        ended_by_us = self._trial.outcome is TrialOutcome.COMPILED and self._trial.exit_code is None
        if left and not ended_by_us:
            note = f"{len(left)} processes were still there after the trial"
            self._note(outcome=TrialOutcome.LEFT_BEHIND, note=note)
        if self._trial.outcome is TrialOutcome.CLEAN:
            try:
                seals.verify(Path(self._arm.seal_dir), self._arm.seal)
                node.wait_until_quiet(self._trial.gpus, None, QUIET_S)
            except InfrastructureError as error:
                self._note(outcome=TrialOutcome.INFRASTRUCTURE, note=str(error))

    def _look_at_caches(self, folder: Path, given: int) -> None:
        """How the run used its caches; those of a decoy run's compiling half are kept."""
        there = folder / CACHES
        sha256 = self._arm.caches.sha256 if self._arm.caches else None
        added = max(0, scratch.files_in(there) - given)
        self._note(caches=CacheUse(sha256=sha256, given=given, added=added))
        if self._arm.keeps and self._trial.outcome is TrialOutcome.COMPILED:
            try:
                self._note(kept=caches.pack(there, Path(self._arm.keeps), cache_limits(self._plan)))
            except caches.RefusedCaches as refused:
                self._note(note=f"what it compiled is not kept: {refused}")


def fresh_scratch(plan: TrialPlan) -> Path:
    """Return a folder for this node; where the node is ours alone, what killed trials left there goes first."""
    parent = scratch.folder(plan.scratch_dir)
    # Scratch may be a file system of all nodes, whose trials are at work beside this one.
    ours = f"{_SCRATCH}{node.name()}-"
    if plan.foreign_cores is not None:
        for old in parent.glob(f"{ours}*"):
            scratch.remove_locked(old)
    return Path(tempfile.mkdtemp(prefix=ours, dir=parent))


def gpus_inside(plan: TrialPlan, arm: Arm, folder: Path) -> tuple[Gpu, ...]:
    """Return the GPUs that the trial's own container sees: `--nv` succeeds without any."""
    if not plan.gpus:
        return ()
    # nvidia-smi also lists GPUs of the node that belong to other jobs, where Slurm does not hide their devices.
    ours = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    query = [*node.GPU_QUERY, f"--id={ours}"] if ours else list(node.GPU_QUERY)
    seen = node.gpus(_probe(plan, arm, folder, query))
    if len(seen) < plan.gpus:
        raise InfrastructureError(f"{len(seen)} GPUs in the container, {plan.gpus} are allocated")
    return seen


def cache_limits(plan: TrialPlan) -> caches.Limits:
    """Return what a run's caches may come to, so that the next run has room beside them."""
    limits = caches.Limits()
    return replace(limits, bytes=min(limits.bytes, plan.scratch_bytes // 2))


def give_caches(arm: Arm, folder: Path) -> int:
    """Lay out a run's own copy of the caches that it begins with; return how many files and folders it has."""
    there = folder / CACHES
    if arm.caches:
        caches.unpack(arm.caches, there)
    return scratch.files_in(there)


def _container_works(plan: TrialPlan, arm: Arm, folder: Path) -> bool:
    """Whether the same container runs a program of ours: a candidate could imitate any sign of a failed start."""
    for left in ("run", "tmp", "home", CACHES):  # a candidate that filled the disk must not fail the probe
        scratch.remove_locked(folder / left)
    try:
        return processes.run(_probe(plan, arm, folder, ["true"]), timeout_s=_PROBE_S).exit_code == 0
    except processes.TimedOut:
        return False


def _probe(plan: TrialPlan, arm: Arm, folder: Path, command: Sequence[str]) -> list[str]:
    """Argument list that runs a program of ours in the trial's container, in a folder of its own."""
    return command_line(plan, arm, Path(tempfile.mkdtemp(prefix="probe-", dir=folder)), command)


def command_line(plan: TrialPlan, arm: Arm, folder: Path, command: Sequence[str]) -> list[str]:
    """Lay out the scratch folder for one trial and return the argument list that runs a command there.

    The run starts in a folder of its own with links to the read-only seal, the data mounted read-only where no
    link can take its place, an empty home, and a folder for what it compiles.
    """
    container = _container(plan)
    seal, data = Mount(Path(arm.seal_dir), "/seal"), Mount(Path(plan.data_dir), "/trial/data")
    run = Mount(folder / "run", "/trial", writable=True)
    temporary = Mount(folder / "tmp", "/tmp", writable=True)
    home = Mount(folder / "home", "/home/trial", writable=True)
    compiled = Mount(folder / CACHES, "/caches", writable=True)
    for mount in (run, temporary, home, compiled):
        mount.outside.mkdir()
    for name in {PurePosixPath(file.path).parts[0] for file in arm.seal.files}:
        (run.outside / name).symlink_to(f"{container.inside(seal)}/{name}")
    if container.image:
        (run.outside / "data").mkdir()
    else:
        (run.outside / "data").symlink_to(data.outside)
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    named = {variable: f"{container.inside(compiled)}/{name}" for variable, name in plan.cache_variables.items()}
    fixed = {"TMPDIR": container.inside(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    program = Program(
        command=command,
        mounts=[seal, run, data, temporary, compiled],
        home=home,
        directory=run,
        environment={**passed_on, **fixed, **named, **plan.environment},
    )
    return [*plan.step, *container.argv(program)]


def _container(plan: TrialPlan) -> Container:
    if plan.container == "none":
        return containers.NoContainer()
    return containers.Apptainer(Path(str(plan.image)), gpu_devices=plan.gpus > 0)


class _Trains(Exception):
    """The compiling half of a decoy run has done its part."""


def _trains(folder: Path) -> bool:
    try:
        return trainlog.trains(_training_log(folder))
    except (trainlog.NoResult, InvalidCandidate, OSError):
        return False


def _training_log(folder: Path) -> str:
    """The one file in logs/, read as warily as a candidate: the program could have put anything there."""
    logs = seals.read_tree(folder / "run", PurePosixPath("logs"))
    if len(logs) != 1:
        raise trainlog.NoResult(f"{len(logs)} files in logs/, one is expected")
    ((_, data),) = logs.values()
    return data.decode("utf-8", "replace")


if __name__ == "__main__":
    # A cancelled array asks with SIGTERM first: the scratch folder goes before we do.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main(*sys.argv[1:])
