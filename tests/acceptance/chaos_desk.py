"""One session's desk in a process: chaos_desk.py SESSION SECONDS, until the verdict on its candidate is final.

Its ledger's clock goes SECONDS ahead of Slurm's. An undecided verdict is asked for again, as an agent would.
"""

import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.effects.clock import SystemClock
from slurm_bench.effects.containers import NoContainer
from slurm_bench.steps import site
from slurm_bench.steps.ledger import Ledger, Patience
from slurm_bench.steps.retime import Retimer
from slurm_bench.words.errors import SchedulerError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.scene import BaseScene

POLL_S = 0.2
AGAIN_S = 10
"""Between an undecided verdict and the next request, which count against an agent's 30 an hour."""


@dataclass(frozen=True)
class AheadClock(SystemClock):
    seconds: float

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.seconds)


class Scene(BaseScene):
    clock: AheadClock

    @property
    def books(self) -> Ledger:
        patience = Patience(self.config.cluster.absent_grace_seconds, silence_s=600)
        return Ledger(self.paths, self.cluster, site.terms(self.config), patience, clock=self.clock)

    @property
    def retimer(self) -> Retimer:
        return Retimer(self.config, self.paths.seals, self.identity, self.cluster, self.container, self.books)


def main(folder: str, seconds: str) -> None:
    config = site.load_config(SessionPaths(Path(folder)))
    Scene.clock = AheadClock(float(seconds))
    scene = Scene(config, site.cluster_of(config), NoContainer(), f"{config.campaign}-{config.session}")
    number = 0
    while verdict_on(scene, f"r{number}").outcome is Outcome.UNDECIDED:
        time.sleep(AGAIN_S)
        number += 1
    scene.desk.close()
    settle(scene.books)


def verdict_on(scene: Scene, request: str) -> Verdict:
    (candidate,) = scene.paths.candidates.iterdir()
    answer = scene.paths.verdict_in_inbox(request)
    if not answer.exists():
        scene.request(candidate, request)
    while not answer.exists():
        scene.desk.serve()
        time.sleep(POLL_S)
    return store.read(answer, Verdict)


def settle(ledger: Ledger) -> None:
    """Wait until everything is settled, however often nobody answers."""
    while not all(entry.settled_at for entry in ledger.entries()):
        try:
            ledger.settle_finished()
        except SchedulerError as error:
            print(error, file=sys.stderr)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
