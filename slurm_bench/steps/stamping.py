"""The stamp that the desk puts on a verdict: hashes of all that it rests on, chained to the verdicts before it."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.pure import stamps
from slurm_bench.words.bundles import Stamp
from slurm_bench.words.paths import RetimingPaths, SessionPaths, SubmissionPaths
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import EarlyStop
from slurm_bench.words.verdicts import Verdict


def of(paths: SessionPaths, identity: str, verdict: Verdict) -> Stamp:
    """The stamp of a verdict that was given now; those before it have theirs.

    Args:
        identity: the session's id.
    """
    where = paths.submission(verdict.submission)
    found = [path for path in _rests_on(paths, where) if path.exists()]
    return Stamp(
        submission=verdict.submission,
        previous=_previous(paths, identity, verdict.submission),
        confirmation=verdict.confirmation,
        files={str(path.relative_to(paths.root)): sha256(path) for path in found},
        stamped_at=datetime.now(UTC),
    )


def _previous(paths: SessionPaths, identity: str, number: str) -> str:
    before = [path for path in paths.stamps() if path.parent.name < number]
    if before:
        return stamps.digest(store.read(before[-1], Stamp))
    place = paths.campaign.root.name, paths.root.name
    return stamps.origin(identity, place, sha256(paths.config), store.read(paths.incumbent, Seal))


def _rests_on(paths: SessionPaths, where: SubmissionPaths) -> Iterator[Path]:
    """Files that do not change any more; some of them may not be there."""
    retiming = where.retiming
    yield from (paths.calibration, where.submission, where.seal, where.opinion, where.second_opinion, where.turn)
    yield from (where.verdict, retiming.plan, retiming.rerun.plan, retiming.stopped, retiming.collected)
    yield from _of_trials(retiming)
    run = where.decoy_run
    yield from (where.decoy, run.plan, run.rerun.plan, run.collected)
    yield from _of_trials(run)


def _of_trials(retiming: RetimingPaths) -> list[Path]:
    """Those of all trials once they are collected; before, an array may still run: only those that decided."""
    if retiming.collected.exists():
        return retiming.of_trials()
    stopped = store.read_if_there(retiming.stopped, EarlyStop)
    return [path for path in retiming.of_trials() if stopped and int(path.stem) in stopped.seen]


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
