"""One session's desk and the agent that it serves, in a process: one_desk.py SESSION SUBMISSIONS GO SECONDS

Writes SESSION/ready, waits for the file GO and so many seconds more, hands in so many candidates one after the
other, and writes what it used into SESSION/used.
"""

import json
import resource
import shutil
import sys
import time
from pathlib import Path

from slurm_bench.effects.containers import NoContainer
from slurm_bench.steps import judge, site, workspace
from slurm_bench.steps.desk import Desk
from slurm_bench.steps.meter import Meter
from slurm_bench.steps.retime import Retimer
from slurm_bench.words.paths import CampaignPaths, SessionPaths, starting_record

_DESK_POLL_S = 0.1
"""As a session's."""


def main(folder: str, submissions: str, go: str, seconds: str) -> None:
    paths = SessionPaths(Path(folder))
    config = site.load_config(paths)
    record = starting_record(config.task.record)
    cluster = site.cluster_of(config)
    ledger = site.ledger_of(config, paths, cluster)
    meter = Meter(config, paths, ledger)

    def watch() -> None:
        meter.read()

    retimer = Retimer(config, paths.seals, f"bench-{paths.root.name}", cluster, NoContainer(), ledger, watch=watch)
    judged_by = judge.of(config, CampaignPaths(paths.root.parent).opinions, watch=watch)
    desk = Desk(config, paths, retimer, judged_by, workspace.mount(paths))
    desk.take_incumbent(record)
    (paths.root / "ready").touch()
    while not Path(go).exists() and paths.root.exists():
        time.sleep(_DESK_POLL_S)
    time.sleep(float(seconds))
    before = used()
    for number in range(int(submissions)):
        hand_in(paths, record, number)
        while not paths.verdict_in_inbox(f"r{number}").exists():
            desk.serve()
            watch()
            time.sleep(_DESK_POLL_S)
    desk.close()
    (paths.root / "used").write_text(json.dumps({part: used()[part] - before[part] for part in before}))


def hand_in(paths: SessionPaths, record: Path, number: int) -> None:
    """A copy of the starting record with fewer steps, different each time, and the request to judge it."""
    candidate = paths.candidates / f"fewer-{number}"
    shutil.copytree(record, candidate)
    program = candidate / "train_gpt.py"
    text = program.read_text()
    steps = "num_iterations: int = 200"
    assert steps in text
    program.write_text(text.replace(steps, f"num_iterations: int = {190 - number}"))
    request = {"version": 1, "id": f"r{number}", "path": str(candidate)}
    beside = paths.outbox / f".r{number}"
    beside.write_text(json.dumps(request))
    beside.rename(paths.outbox / f"r{number}.json")


def used() -> dict[str, float]:
    """CPU seconds of this process, and of those that it started and that are over."""
    parts = {"own": resource.RUSAGE_SELF, "children": resource.RUSAGE_CHILDREN}
    return {name: sum(resource.getrusage(who)[:2]) for name, who in parts.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
