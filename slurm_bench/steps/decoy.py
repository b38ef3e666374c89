"""The decoy run: a seal's first, on random tokens. It fills the compile caches, and shows who prints what can't be.

It serves all sessions of a campaign that time this seal under the same conditions.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from slurm_bench.effects import caches, decoy_shards, store
from slurm_bench.pure import decoys
from slurm_bench.steps import conditions
from slurm_bench.steps.retime import DecoyRun, Retimer, TimedKind, Timing
from slurm_bench.words.data import DecoySet
from slurm_bench.words.paths import DecoyPaths, SubmissionPaths
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import Caches, Decoy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecoyStep:
    """One seal's, which can be queued before it is waited for, so that two go side by side."""

    retimer: Retimer
    name: str
    """Of what it is for, among the arrays of the retimer."""
    sealed: Seal
    where: SubmissionPaths
    kind: TimedKind = "decoy"
    """Of job, for the ledger."""

    @property
    def is_there(self) -> bool:
        """Whether nothing is left to run."""
        return self.where.decoy.exists() or self._known() is not None

    def begin(self) -> None:
        """Queue it, unless it was, or the campaign has it.

        Raises:
            BudgetExceeded: the worst case does not fit; nothing was queued.
            SchedulerError: the cluster does not answer.
        """
        if not self.is_there:
            self.retimer.begin(self._timing, self.where.decoy_run)

    def wait(self) -> Decoy:
        """Return it, made now if there is none; without caches where they are lost.

        Raises:
            As begin; and InfrastructureError: the site failed it twice.
        """
        decoy = store.once(self.where.decoy, Decoy, lambda: self._known() or self._run())
        if decoy.caches and not caches.is_whole(decoy.caches):
            log.warning("%s is gone or was changed: runs of this seal begin with empty caches", decoy.caches.archive)
            return decoy.model_copy(update={"caches": None})
        return decoy

    def _known(self) -> Decoy | None:
        """That of another session; what was begun here goes on, so that no run is left without anybody who waits."""
        return None if self.where.decoy_run.plan.exists() else store.read_if_there(self._kept.decoy, Decoy)

    def _run(self) -> Decoy:
        retiming, shards = self.retimer.retime(self._timing, self.where.decoy_run), self._shards[0]
        (block,) = retiming.blocks
        trial, compiling = block.candidate, block.incumbent
        decoy = Decoy(
            seal=self.sealed.sha256,
            shards=shards,
            compiling=compiling,
            trial=trial,
            canary=decoys.canary(trial, compiling, decoys.floor(shards)),
            caches=compiling.kept if compiling else None,
        )
        if not decoys.crashed(decoy):  # which may be the site's fault, and is no matter of other sessions
            store.write(self._kept.decoy, decoy)
        return decoy

    @property
    def _timing(self) -> Timing:
        name = f"{self.name}-decoy"
        run = DecoyRun(data=self._shards[1], keeps=self._kept.caches(self.retimer.job_name(name)))
        arms = (self.sealed, self.sealed) if self.retimer.config.task.caches else (self.sealed,)
        return Timing(self.kind, name, arms, decoy=run)

    @cached_property
    def _shards(self) -> tuple[DecoySet, Path]:
        config = self.retimer.config
        return decoy_shards.prepare(Path(config.task.data), Path(config.runs))

    @cached_property
    def _kept(self) -> DecoyPaths:
        config, container = self.retimer.config, self.retimer.container
        digest = conditions.digest(config, container, [self.sealed], self._shards[1])
        return self.retimer.ledger.campaign.decoy(f"{self.sealed.sha256[:12]}-{digest}")


def made(steps: Sequence[DecoyStep]) -> tuple[Decoy, ...]:
    """Return the decoy runs of these steps, made side by side where there is room for two arrays at once.

    Raises:
        As of each.
    """
    for step in steps:
        if step.retimer.has_room_for_two:
            step.begin()
    return tuple(step.wait() for step in steps)


def with_caches(timing: Timing, left: tuple[Decoy, ...]) -> Timing:
    """Return an array whose runs begin with what decoy runs left, or all with empty caches if one left nothing.

    Args:
        left: in the order of the arms, and in the classic design the starting record's after them.
    """
    found: tuple[Caches | None, ...] = tuple(each.caches for each in left)
    return replace(timing, caches=found[: len(timing.arms)]) if all(found) else timing
