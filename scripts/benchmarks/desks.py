"""What fifty desks at once can handle, and what each submission costs them.

Each desk is a process of its own, as on a cluster, where it runs in its session's job; here they share two cores, one
file system, their campaign's ledger lock and one shared poll, as fifty sessions of one user on one host would. They do
all that a desk does, static judge included, on a Slurm of stand-ins whose trials take no time: what is measured is the
desks. Each agent hands in its next candidate when it has the verdict on the last.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure, say
from benchmarks.sessions import composed, waits_for_queue, waits_for_verdict
from benchmarks.stand_in import StandIn
from slurm_bench.effects import store
from slurm_bench.steps import site
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.verdicts import Outcome, Verdict

SESSIONS = 50
EACH = 3
"""Submissions of a session."""
POLL_S = 2.0
"""Stands for the 30 s of conf/cluster/slurm.yaml, which no desk computes in."""
PROGRAM = Path(__file__).with_name("one_desk.py")
_LOOK_S = 0.05
_PATIENCE_S = 300


def both(folder: Path) -> Iterator[Figure]:
    yield from throughput(folder / "at_once")
    yield from within_a_minute(folder / "in_turn")


def throughput(folder: Path, count: int = SESSIONS, each: int = EACH) -> Iterator[Figure]:
    """Measure desks that are all asked at once, and again as soon as they have answered.

    Args:
        count: of sessions.
        each: submissions of each.
    """
    slurm = StandIn(folder / "slurm")
    sessions, took = run(slurm, folder, count, each, spread_s=0)
    yield from figures(slurm, sessions, count * each, took)


def within_a_minute(folder: Path, count: int = SESSIONS, spread_s: float = 60) -> Iterator[Figure]:
    """Measure desks that are asked once each, one after the other."""
    sessions, _ = run(StandIn(folder / "slurm"), folder, count, each=1, spread_s=spread_s)
    queued = [wait for paths in sessions for wait in waits_for_queue(paths)]
    what = f"{count} desks on this machine, asked one after the other: request to queued array, median"
    note = f"within {spread_s:g} s; worst {max(queued):.1f} s"
    yield Figure(what, statistics.median(queued), "s", limit=2, note=note)


def run(slurm: StandIn, folder: Path, count: int, each: int, spread_s: float) -> tuple[Sequence[SessionPaths], float]:
    """Return the sessions, and the seconds from the first request to the last desk's end.

    Args:
        spread_s: from the first desk's first request to the last one's.
    """
    sessions, desks = [], []
    try:
        for number in range(count):
            paths, desk = begin(slurm, folder, f"s{number}", each, spread_s * number / count)
            sessions.append(paths)
            desks.append(desk)
        await_ready(sessions)
        say(f"{count} desks are ready")
        (folder / "go").touch()
        took = seconds_until_over(slurm, desks)
    finally:
        for desk in desks:
            desk.kill()
    check(sessions, each)
    return sessions, took


def seconds_until_over(slurm: StandIn, desks: Sequence[subprocess.Popen[bytes]]) -> float:
    began = time.perf_counter()
    while any(desk.poll() is None for desk in desks):
        slurm.run_trials()
        time.sleep(_LOOK_S)
        if time.perf_counter() - began > _PATIENCE_S:
            raise RuntimeError(f"the desks are not done after {_PATIENCE_S} s")
    return time.perf_counter() - began


def begin(
    slurm: StandIn, folder: Path, name: str, each: int, seconds: float
) -> tuple[SessionPaths, subprocess.Popen[bytes]]:
    """A session with its folders, and its desk as a process that says when it is ready."""
    overrides = [f"runs={folder / 'runs'}", f"session={name}", f"cluster.poll_seconds={POLL_S}", *slurm.overrides]
    config = composed(overrides)
    paths = SessionPaths(config.session_dir)
    for made in (paths.candidates, paths.outbox, paths.inbox):
        made.mkdir(parents=True)
    site.save_config(paths, config)
    argv = [sys.executable, str(PROGRAM), str(paths.root), str(each), str(folder / "go"), str(seconds)]
    return paths, subprocess.Popen(argv, env=slurm.environment)


def await_ready(sessions: Sequence[SessionPaths]) -> None:
    until = time.perf_counter() + _PATIENCE_S
    while not all((paths.root / "ready").exists() for paths in sessions):
        if time.perf_counter() > until:
            raise RuntimeError(f"not every desk is ready after {_PATIENCE_S} s")
        time.sleep(_LOOK_S)


def check(sessions: Sequence[SessionPaths], each: int) -> None:
    """A desk that failed would have been quick."""
    for paths in sessions:
        given = [store.read(record, Verdict) for record in paths.submissions.glob("*/verdict.json")]
        if [verdict.outcome for verdict in given] != each * [Outcome.ACCEPTED]:
            raise RuntimeError(f"{paths.root.name}: {'; '.join(verdict.reason for verdict in given)}")


def figures(slurm: StandIn, sessions: Sequence[SessionPaths], submissions: int, took: float) -> Iterator[Figure]:
    what = f"{len(sessions)} desks on this machine"
    note = f"{submissions} verdicts in {took:.1f} s; trials of no length, {POLL_S:g} s between polls"
    yield Figure(f"{what}: submissions a minute", 60 * submissions / took, "a minute", note=note)
    used = [json.loads((paths.root / "used").read_text()) for paths in sessions]
    own, children = (sum(each[part] for each in used) / submissions for part in ("own", "children"))
    note = f"{own:.2f} s of the desk, {children:.2f} s of what it starts: the static judge, Slurm's commands"
    yield Figure(f"{what}: CPU time a submission", own + children, "s", note=note)
    verdicts = [wait for paths in sessions for wait in waits_for_verdict(paths)]
    yield Figure(f"{what}: request to verdict, worst", max(verdicts), "s", note=median(verdicts))
    queued = [wait for paths in sessions for wait in waits_for_queue(paths)]
    yield Figure(f"{what}: request to queued array, worst", max(queued), "s", note=median(queued))
    called = slurm.called()
    note = f"polls included: {', '.join(f'{count} {name}' for name, count in called.most_common())}"
    yield Figure(f"{what}: scheduler calls a submission", called.total() / submissions, "calls", note=note)


def median(waits: Sequence[float]) -> str:
    return f"of {len(waits)}, each session's first at once; median {statistics.median(waits):.1f} s"
