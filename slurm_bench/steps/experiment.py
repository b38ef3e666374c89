"""On the node, outside the container: one experiment of an agent, run as a trial is, and then forgotten.

Nothing of it is measured and no verdict rests on it: its agent gets what it printed, what it wrote and its exit code.
"""

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import caches, leftovers, node, processes, scratch, seals, store
from slurm_bench.effects.caches import RefusedCaches
from slurm_bench.effects.leftovers import Copied
from slurm_bench.effects.scratch import Quota, TooMuchWritten
from slurm_bench.pure.experiments import SITE_FAILED, TIMED_OUT
from slurm_bench.pure.rules import LAUNCHER
from slurm_bench.steps import trial
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.experiments import ExperimentPlan, ExperimentRun
from slurm_bench.words.trials import Caches


def main(plan_path: str, _task: str) -> None:
    """What its job does."""
    _Run(store.read(Path(plan_path), ExperimentPlan)).run()


class _Run:
    def __init__(self, plan: ExperimentPlan) -> None:
        self._plan, self._trial = plan, plan.run
        (self._arm,) = plan.run.arms
        self._record = Path(plan.record)
        job = os.environ.get("SLURM_JOB_ID", "")
        self._run = ExperimentRun(started=datetime.now(UTC), node=node.name(), job=job)

    def run(self) -> None:
        if self._record.exists():
            sys.exit("this experiment was started before: it is not run twice")
        self._keep()
        try:
            seals.verify(Path(self._arm.seal_dir), self._arm.seal)
            folder = trial.fresh_scratch(self._trial)
        except (InfrastructureError, OSError) as error:
            self._keep(exit_code=SITE_FAILED, note=str(error), ended=datetime.now(UTC))
            return
        try:
            self._in_scratch(folder)
        finally:
            scratch.remove_locked(folder)

    def _keep(self, **known: object) -> None:
        self._run = self._run.model_copy(update=known)
        store.write(self._record, self._run)

    def _in_scratch(self, folder: Path) -> None:
        try:
            trial.gpus_inside(self._trial, self._arm, folder)
            argv = trial.command_line(self._trial, self._arm, folder, ["bash", LAUNCHER])
            given = trial.give_caches(self._arm, folder)
            quota = Quota(folder, self._trial.scratch_bytes, trial.MAX_FILES, alone=False)
        except (InfrastructureError, OSError, TooMuchWritten) as error:
            self._keep(exit_code=SITE_FAILED, note=str(error), ended=datetime.now(UTC))
            return
        exit_code, note = self._exit(argv, quota)
        self._keep(exit_code=exit_code, note=note)  # what comes now can take longer than its job may
        node.end_what_is_left(folder, trial.LEAVE_S)
        kept, not_kept = self._compiled(folder, given)
        left, not_left = self._left(folder)
        self._keep(
            note="; ".join(filter(None, (note, not_kept, not_left))),
            caches=kept,
            left=left.files,
            passed_over=left.passed_over,
            ended=datetime.now(UTC),
        )

    def _exit(self, argv: Sequence[str], quota: Quota) -> tuple[int, str]:
        """Run its launcher to the end; return the exit code, and why it was ended if it was."""
        try:
            code = processes.run_logged(
                argv,
                timeout_s=self._trial.timeout_s,
                output=Path(self._plan.output),
                most_output=trial.MAX_OUTPUT,
                watch=quota.check,
            )
        except processes.TimedOut as limit:
            return TIMED_OUT, str(limit)
        except TooMuchWritten as excess:
            return 1, str(excess)
        return code, ""

    def _compiled(self, folder: Path, given: int) -> tuple[Caches | None, str]:
        """What its next experiments begin with, where it compiled or removed something; else why not."""
        there = folder / trial.CACHES
        try:
            if not self._trial.cache_variables or scratch.files_in(there) == given:
                return None, ""
            return caches.pack(there, Path(self._plan.keeps), trial.cache_limits(self._trial)), ""
        except (RefusedCaches, TooMuchWritten) as refused:
            return None, f"what it compiled is not kept: {refused}"

    def _left(self, folder: Path) -> tuple[Copied, str]:
        """What it wrote beside its caches, copied for its agent; else why not."""
        ours = {"data", *(Path(file.path).parts[0] for file in self._arm.seal.files)}
        try:
            return leftovers.copy(folder / "run", Path(self._plan.left), without=ours), ""
        except OSError as error:
            return Copied(0, 0), f"what it wrote is not kept: {error.strerror}"


if __name__ == "__main__":
    # A cancelled job asks with SIGTERM first: the scratch folder goes before we do.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    main(*sys.argv[1:])
