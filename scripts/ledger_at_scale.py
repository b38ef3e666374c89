"""What the books of a hundred thousand rows of sacct cost: seconds, and MB of memory of a process of its own.

ledger_at_scale.py              makes the rows and prints the figures, as JSON
ledger_at_scale.py FILE PART    prints one of them: `time_and_peak`, or `growth` (traced, which slows it down)
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from random import Random

from slurm_bench.pure import accounts, budget, sacct, usage
from slurm_bench.words.accounting import Attempt, LedgerEntry, Observation
from slurm_bench.words.kinds import KINDS, Kind

ROWS = 100_000
SESSIONS = 12
DAYS = 30
SEED = 1
SHARES: dict[Kind, int] = {
    "session": 5,
    "experiment": 10,
    "retiming": 70,
    "calibration": 5,
    "decoy": 5,
    "confirmation": 5,
}
"""Of each hundred jobs, those of a kind."""
BEGIN = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
LIMIT_H100_HOURS = 512.0
GRACE = timedelta(minutes=5)


def main(arguments: list[str]) -> None:
    if arguments:
        file, part = arguments
        print(json.dumps(PARTS[part](Path(file).read_text())))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "rows"))
        Path(file).write_text("\n".join(["|".join(sacct.FIELDS), *islice(rows(), ROWS)]) + "\n")
        figures: dict[str, float] = {}
        for part in PARTS:
            argv = [sys.executable, __file__, file, part]
            figures |= json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    print(json.dumps(figures))


def time_and_peak(text: str) -> Mapping[str, float]:
    began, computed = time.perf_counter(), time.process_time()
    kept = books(text)
    took, of_cpu = time.perf_counter() - began, time.process_time() - computed
    assert kept
    # Not ru_maxrss, which begins with what the process had before it became Python: its parent's.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return {"seconds": took, "cpu_seconds": of_cpu, "peak_mb": int(peak[1]) / 1024}


def growth(text: str) -> Mapping[str, float]:
    tracemalloc.start()
    kept = books(text)
    assert kept
    return {"growth_mb": tracemalloc.get_traced_memory()[1] / 2**20}


PARTS: Mapping[str, Callable[[str], Mapping[str, float]]] = {"time_and_peak": time_and_peak, "growth": growth}


def books(text: str) -> list[tuple[budget.Balance, tuple[usage.Line, ...]]]:
    """From sacct's text to the balance and the days of each session, entries and all."""
    by_job: dict[str, list[Attempt]] = {}
    for attempt in sacct.attempts(text):
        by_job.setdefault(attempt.job_name, []).append(attempt)
    by_session: dict[str, list[LedgerEntry]] = {}
    for name, attempts in by_job.items():
        by_session.setdefault(name.partition(".")[0], []).append(entry_of(name, attempts))
    return [
        (budget.balance(entries, LIMIT_H100_HOURS, KINDS), usage.lines(entries, {})) for entries in by_session.values()
    ]


def entry_of(name: str, attempts: list[Attempt]) -> LedgerEntry:
    kind = KINDS[int(name.split(".")[1])]
    first = attempts[0]
    tasks = 1 if kind == "session" else 10
    reserved = LedgerEntry(
        job_name=name,
        kind=kind,
        tasks=tasks,
        gpus=first.gpus,
        limit_s=3600,
        overrun_s=90,
        weight=1.0,
        reserved_at=first.submitted,
        job_id=first.job_id,
    )
    seen = Observation(first.submitted, sacct.latest_states(attempts), frozenset(), tuple(attempts))
    return accounts.observed(reserved, seen, GRACE)


def rows() -> Iterator[str]:
    """Rows of the jobs of several sessions without end, the same each time."""
    random, numbers = Random(SEED), count(1000)
    for job in count():
        kind = random.choices(range(len(KINDS)), [SHARES[each] for each in KINDS])[0]
        form = Form(f"session{job % SESSIONS}.{kind}.{job}", "gres/gpu:h100=8,gres/gpu=8" if job % 4 else "gres/gpu=8")
        submitted = BEGIN + random.randrange(86400 * DAYS)
        if KINDS[kind] in ("session", "experiment"):
            number = next(numbers)
            yield form.row(
                str(number), number, "COMPLETED", (submitted, submitted + 60, random.randrange(3600, 90_000))
            )
        else:
            yield from array_rows(form, submitted, numbers, random)


def array_rows(form: "Form", submitted: int, numbers: Iterator[int], random: Random) -> Iterator[str]:
    """Ten tasks, some of them requeued; and sometimes the stale row of those that waited."""
    job_id = next(numbers)
    if random.random() < 0.2:
        yield form.range_row(job_id, submitted)
    for task in range(10):
        number, started, ran = next(numbers), submitted + random.randrange(7200), random.randrange(180, 400)
        state = random.choices(("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED by 1001", "REQUEUED"), (87, 5, 3, 2, 3))[0]
        yield form.row(f"{job_id}_{task}", number, state, (submitted, started, ran))
        if state == "REQUEUED":
            ended = started + ran
            yield form.row(f"{job_id}_{task}", number, "COMPLETED", (ended, ended + 121, ran))


@dataclass(frozen=True)
class Form:
    """What the rows of a job have in common."""

    name: str
    gpus: str

    def row(self, job: str, number: int, state: str, times: tuple[int, int, int]) -> str:
        """
        Args:
            times: when it was submitted and started, and the seconds that it ran.
        """
        submitted, started, ran = times
        tres = f"billing=16,cpu=16,{self.gpus},node=1|{self._requested}"
        dates = f"{submitted}|{started}|{started + ran}"
        return f"{job}|{number}|{self.name}|{state}|0:0|{ran}|{tres}|{dates}|gpu{number % 4 + 1}"

    def range_row(self, number: int, submitted: int) -> str:
        head = f"{number}_[4-9%4]|{number}|{self.name}|PENDING|0:0|0|"
        return f"{head}|{self._requested}|{submitted}|Unknown|Unknown|None assigned"

    @property
    def _requested(self) -> str:
        return f"billing=16,cpu=16,{self.gpus},mem=4000M,node=1"


if __name__ == "__main__":
    main(sys.argv[1:])
