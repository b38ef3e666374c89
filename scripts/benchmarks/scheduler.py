"""How often the scheduler is asked by sessions that wait for their trials: as often as by one.

Each session is what its desk is while an array runs: the ledger that waits for it, and the meter that reads the budget
beside it, on a real SlurmCluster of its own with the poll that all share. They are threads of one process; on a cluster
each is a process on its own node.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figures import Figure, say
from benchmarks.sessions import composed
from benchmarks.stand_in import StandIn
from slurm_bench.effects import polling
from slurm_bench.effects.cluster import Job
from slurm_bench.steps import site
from slurm_bench.steps.ledger import Ledger
from slurm_bench.steps.meter import Meter
from slurm_bench.words.accounting import JobState
from slurm_bench.words.paths import SessionPaths

SESSIONS = (1, 10, 100)
POLL_S = 8.0
SITE_POLL_S = 30
"""As in conf/cluster/slurm.yaml; POLL_S stands for it, so that this takes minutes and not a quarter of an hour."""
INTERVALS = 6
QUESTION = ("squeue", "sacct")


class _Over(Exception):
    """The time to count in."""


def calls_a_minute(folder: Path) -> Iterator[Figure]:
    most = 60 * len(QUESTION) / (polling.SERVES[0] * SITE_POLL_S)
    for count in SESSIONS:
        asked = questions(StandIn(folder / f"slurm{count}"), count, folder / f"runs{count}")
        found = per_minute(asked)
        say(f"{count} sessions: {found:.2f} calls a minute")
        note = (
            f"{len(asked)} times squeue and sacct in {asked[-1] - asked[0]:.1f} s, at {POLL_S:g} s between questions; "
        )
        note += f"scaled to the {SITE_POLL_S} s of cluster=slurm. The limit is what one poll may ask"
        what = f"scheduler calls a minute, {count} session{'s' if count > 1 else ''} waiting for trials"
        yield Figure(what, found, "a minute", round(most, 2), note)


def questions(slurm: StandIn, count: int, runs: Path) -> list[float]:
    """When so many sessions that wait asked the scheduler (epoch seconds).

    Raises:
        RuntimeError: they called for something else.
    """
    before = dict(os.environ)
    os.environ |= slurm.environment
    try:
        sessions = [begin(slurm, runs, number) for number in range(count)]
        waits_since = time.time()
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(wait, sessions, [waits_since + (INTERVALS + 1) * POLL_S] * count))
    finally:
        os.environ.clear()
        os.environ.update(before)
    calls = [call for call in slurm.calls() if call[0] > waits_since]
    if [name for _, name in calls] != len(calls) // len(QUESTION) * list(QUESTION):
        raise RuntimeError(f"a session that only waits called {' '.join(name for _, name in calls)}")
    return [when for when, name in calls if name == QUESTION[0]]


def per_minute(asked: Sequence[float]) -> float:
    """Calls a minute, at the site's interval: from the first question to the last there are whole intervals."""
    interval_s = (asked[-1] - asked[0]) / (len(asked) - 1)
    return 60 * len(QUESTION) / interval_s * POLL_S / SITE_POLL_S


def begin(slurm: StandIn, runs: Path, number: int) -> tuple[Ledger, Meter, str]:
    """A session whose own job runs, and an array of its trials."""
    overrides = [f"runs={runs}", f"session=s{number}", f"cluster.poll_seconds={POLL_S}", *slurm.overrides]
    config = composed(overrides)
    paths = SessionPaths(config.session_dir)
    paths.inbox.mkdir(parents=True)
    ledger = site.ledger_of(config, paths, site.cluster_of(config))
    session, trials = (f"slurm_bench-{number}-{kind}" for kind in ("session", "trials"))
    ledger.run_to_queue("session", Job(session, paths.jobs, ["true"], 1, 8, 8, True, 30))
    ledger.run_to_queue("retiming", Job(trials, paths.jobs, ["true"], 10, 8, 8, True, 30))
    return ledger, Meter(config, paths, ledger), trials


def wait(session: tuple[Ledger, Meter, str], until: float) -> None:
    """Do what a desk does that waits for its array, until then (epoch seconds)."""
    ledger, meter, job_name = session

    def watch(_: Mapping[int, JobState]) -> None:
        meter.read()
        if time.time() > until:
            raise _Over

    try:
        ledger.wait_until_over(job_name, POLL_S, watch)
    except _Over:
        return
    raise RuntimeError(f"{job_name} is over, which nothing ended")
