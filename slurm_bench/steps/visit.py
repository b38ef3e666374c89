"""A job that goes to a node for `command=doctor`, and what its findings mean."""

import logging
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench.effects import locking, store
from slurm_bench.effects.cluster import Job, Queued
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.pure import checkup
from slurm_bench.pure.checkup import fails, unknown
from slurm_bench.pure.plain import one_line
from slurm_bench.steps import examination, site
from slurm_bench.words.checkup import Finding, NodeFacts
from slurm_bench.words.config import ClusterConfig, Config, DoctorCommand
from slurm_bench.words.errors import JobRefused
from slurm_bench.words.paths import CheckupPaths

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_ASK_S = 1.0
"""Between two questions about the job."""
_ENDING_S = 20.0


class _NoFacts(Exception):
    """The job came back without any."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def findings(config: Config, command: DoctorCommand) -> Iterator[Finding]:
    """Send a job to a node, wait for what it finds, and judge that.

    Raises:
        SchedulerError: no answer.
    """
    paths, token = CheckupPaths(_folder(config)), secrets.token_hex(8)
    gpus = config.cluster.trial_gpus if command.gpu else 0
    try:
        facts = _facts(config, paths, examination.job(paths, token, gpus, config), command.minutes)
    except JobRefused as refusal:
        shutil.rmtree(paths.root, ignore_errors=True)
        yield unknown("a job", f"{refusal} (doctor.gpu=true asks for one with GPUs)")
        return
    except _NoFacts as none:
        yield replace(none.finding, remedy=f"{none.finding.remedy} (its files are in {paths.root})".strip())
        return
    except BaseException:
        shutil.rmtree(paths.root, ignore_errors=True)
        raise
    shutil.rmtree(paths.root, ignore_errors=True)
    yield from checkup.of_node(config, facts, datetime.now(UTC))
    if gpus:
        yield from checkup.of_gpus(config, facts)


def _folder(config: Config) -> Path:
    """A folder of its own in that of runs, with what the job needs to know."""
    return Path(tempfile.mkdtemp(prefix="doctor-", dir=config.runs))


def _facts(config: Config, paths: CheckupPaths, job: Job, minutes: float) -> NodeFacts:
    paths.token.write_text(job.command[-2])
    site.save_config(paths, config)
    cluster = SlurmCluster(_seen_from(config.cluster), paths.root / "usage")
    queued = Queued(job.name, datetime.now(UTC), job.tasks)
    try:
        with locking.lock(paths.lock):
            cluster.submit(job)
            log.info("waiting for a job: %s", job.name)
            facts = _awaited(cluster, queued, paths, time.monotonic() + 60 * minutes)
        _let_end(cluster, queued)
        return facts
    finally:
        cluster.cancel(job.name)


def _seen_from(cluster: ClusterConfig) -> ClusterConfig:
    """The cluster for a job that goes where those with GPUs go, and is accounted for without a database."""
    where = {name: value for name in ("reservation", "constraint") if (value := getattr(cluster, name))}
    placed = {**cluster.cpu_sbatch, **where}
    return replace(cluster, accounting="own", poll_seconds=_ASK_S, cpu_partition=None, cpu_sbatch=placed)


def _let_end(cluster: SlurmCluster, job: Queued) -> None:
    """Wait until a job that has said all is over: until then it writes into its folder."""
    deadline = time.monotonic() + _ENDING_S
    while time.monotonic() < deadline:
        state = cluster.look([job])[job.name].states.get(0)
        if state is not None and state.is_terminal:
            return
        time.sleep(_LOOK_S)


def _awaited(cluster: SlurmCluster, job: Queued, paths: CheckupPaths, deadline: float) -> NodeFacts:
    while True:
        seen = cluster.look([job])[job.name]
        state = seen.states.get(0)
        facts = store.read_if_there(paths.facts, NodeFacts)
        if facts is not None:
            return facts
        if state is not None and state.is_terminal:
            raise _NoFacts(checkup.of_no_answer(state.value, _last_words(paths), sys.executable))
        if seen.stuck:
            raise _NoFacts(fails("a job", f"it cannot start: {seen.stuck}", "ask for what that names, or set another"))
        if time.monotonic() > deadline:
            raise _NoFacts(unknown("a job", f"it was still {state or 'unknown to Slurm'} when the time was up"))
        time.sleep(_LOOK_S)


def _last_words(paths: CheckupPaths) -> str | None:
    """The last line of the job's log; None where there is none."""
    logs = sorted(paths.jobs.glob("*.err"))
    if not logs:
        return None
    lines = logs[-1].read_text(errors="replace").split("\n")
    return next((one_line(line) for line in reversed(lines) if line.strip()), "")
