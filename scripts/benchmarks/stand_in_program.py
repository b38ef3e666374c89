"""Slurm's commands as desks call them, answered from files: copies of this file stand on the PATH under their names.

Beside SLURM_CONF lie `jobs/ID.json`, one a queued array, `ended/ID` of each that is over, and `calls`, a line for each
call. A job runs from when it is queued until somebody writes `ended/ID`; scripts/benchmarks/stand_in.py is that
somebody. Standard library only, so that a call costs about what one of Slurm's own does.
"""

import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HOME = Path(os.environ["SLURM_CONF"]).parent
CONFIG = """\
AccountingStorageTRES   = cpu,mem,energy,node,billing,fs/disk,vmem,pages,gres/gpu,gres/gpu:h100
AccountingStorageType   = accounting_storage/slurmdbd
KillWait                = 30 sec
OverTimeLimit           = 0 min
"""
PARTITION = "PartitionName=gpu Default=YES MaxTime=1-00:00:00 OverTimeLimit=NONE State=UP\n"
TRES = "billing=8,cpu=8,gres/gpu:h100=8,gres/gpu=8,node=1"


Job = dict[str, Any]


def main(name: str, arguments: Sequence[str]) -> None:
    note_call(name)
    sys.stdout.write(ANSWERS[name](arguments))


def note_call(name: str) -> None:
    """One short write to the end of a file is whole, whoever else writes."""
    with (HOME / "calls").open("a") as calls:
        calls.write(f"{time.time():.3f} {name}\n")


def sbatch(arguments: Sequence[str]) -> str:
    script = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
    last = re.match(r"0-(\d+)", options.get("array", ""))
    job = {
        "name": options["job-name"].strip("'\""),
        "tasks": int(last[1]) + 1 if last else 1,
        "submitted": int(time.time()),
        "script": script,
    }
    number = next_number()
    beside = HOME / "jobs" / f".{number}"
    beside.write_text(json.dumps(job))
    beside.rename(HOME / "jobs" / f"{number}.json")
    return f"Submitted batch job {number}\n"


def next_number() -> int:
    with (HOME / "number").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        number = int(stream.read() or 0) + 1
        stream.truncate(0)
        stream.write(str(number))
    return number


def squeue(arguments: Sequence[str]) -> str:
    running = [(number, job) for number, job, ended in asked_for(arguments) if not ended]
    if "--format=%A|%F" in arguments:
        return "".join(f"{number}|{number}\n" for number, _ in running)
    return "".join(
        f"{job['name']}|{number}_{task}|RUNNING|0:10|None\n" for number, job in running for task in tasks(job)
    )


def sacct(arguments: Sequence[str]) -> str:
    (header,) = values(arguments, "format")
    rows = [header.replace(",", "|")]
    for number, job, ended in asked_for(arguments):
        state, end = ("COMPLETED", str(ended)) if ended else ("RUNNING", "Unknown")
        submitted = job["submitted"]
        for task in tasks(job):
            lasted = f"{(ended or int(time.time())) - submitted}|{TRES}|{TRES}|{submitted}|{submitted}|{end}"
            rows.append(f"{number}_{task}|{1000 * number + task}|{job['name']}|{state}|0:0|{lasted}|gpu1")
    return "\n".join(rows) + "\n"


def scontrol(arguments: Sequence[str]) -> str:
    return CONFIG if "config" in arguments else PARTITION


def nothing(_: Sequence[str]) -> str:
    return ""


def asked_for(arguments: Sequence[str]) -> Iterator[tuple[int, Job, int]]:
    """Number, record and end (epoch seconds, or 0) of each job of the names that are asked for."""
    names = {name for value in values(arguments, "name") for name in value.split(",")}
    for record in (HOME / "jobs").glob("[!.]*.json"):
        job = json.loads(record.read_text())
        if job["name"] in names:
            end = HOME / "ended" / record.stem
            yield int(record.stem), job, int(end.stat().st_mtime) if end.exists() else 0


def values(arguments: Sequence[str], option: str) -> list[str]:
    return [each.partition("=")[2] for each in arguments if each.startswith(f"--{option}=")]


def tasks(job: Job) -> range:
    return range(job["tasks"])


ANSWERS = {
    "sbatch": sbatch,
    "squeue": squeue,
    "sacct": sacct,
    "scontrol": scontrol,
    "scancel": nothing,
    "srun": nothing,
}

if __name__ == "__main__":
    main(Path(sys.argv[0]).name, sys.argv[1:])
