"""One rehearsal on the real GPUs of a Slurm cluster, and whether all that it left behind agrees; see scripts/gpu_proof.

Exits 1 if a check fails; writes what was seen in any case.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.machine import said
from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.effects.slurm_commands import last_line
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.paths import CampaignPaths, SessionPaths, TimingPaths, trial_log
from slurm_bench.words.trials import Trial, TrialOutcome
from slurm_bench.words.verdicts import Verdict

EXPECTED = {
    "malformed": "invalid",
    "tampered-validation": "rejected",
    "too-few-steps": "rejected",
    "honest-speed-up": "accepted",
}
LIMIT_S = 720
"""From the bare host to the last check. Two decoy runs compile meanwhile."""


@dataclass(frozen=True)
class Check:
    what: str
    found: str
    holds: bool


def main() -> int:
    options, overrides = parsed()
    gpus = machine.gpus()
    if not gpus:
        print("gpu_proof: no GPU here: nvidia-smi lists none", file=sys.stderr)
        return 2
    if not gpu_type():
        print("gpu_proof: no Slurm with GPUs of a type in a partition gpu answers: gpu_host up", file=sys.stderr)
        return 2
    runs = Path(tempfile.mkdtemp(prefix="slurm_bench-proof-"))
    argv = [sys.executable, "-m", "slurm_bench", *overrides_for(len(gpus), options.image, runs), *overrides]
    proof: dict[str, Any] = {**host_facts(), "gpus": gpus, "command": argv[1:]}
    checks: list[Check] = []
    try:
        checks.append(doctor_check(argv))
        checks.append(rehearse(argv))
        checks += seen(runs, proof)
    finally:
        total_s = time.time() - options.began
        checks.append(Check(f"from the bare host to here, {LIMIT_S} s at most", f"{total_s:.0f} s", total_s <= LIMIT_S))
        write(options.out, proof | {"checks": [asdict(check) for check in checks]})
    return exit_code(checks)


def exit_code(checks: Sequence[Check]) -> int:
    return int(not all(check.holds for check in checks))


def rehearse(argv: Sequence[str]) -> Check:
    """The session, and its end if it takes too long."""
    began = time.time()
    try:
        code = subprocess.run(argv, check=False, timeout=LIMIT_S).returncode
    except subprocess.TimeoutExpired:
        code = None
        subprocess.run([*argv, "command=stop"], check=False, timeout=LIMIT_S)
    found = "too long, and was stopped" if code is None else f"exit code {code}"
    return Check(
        "the session ends by itself, with exit code 0", f"{found} after {time.time() - began:.0f} s", code == 0
    )


def seen(runs: Path, proof: dict[str, Any]) -> list[Check]:
    """Add to the proof what the session left, and check it."""
    sessions = members(CampaignPaths(runs / "proof")).sessions
    if not sessions:
        return [Check("a session was begun", "none", holds=False)]
    proof |= what_came(sessions[0])
    return list(checked(sessions[0], proof, len(proof["gpus"])))


def parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--began", type=float, default=time.time(), help="epoch seconds at which the host was bare")
    parser.add_argument("--image", required=True, help="SIF or sandbox folder with Python and PyTorch")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_known_args()


def overrides_for(gpus: int, image: str, runs: Path) -> list[str]:
    """The rehearsal on the GPU partition, its agent on the other one: so a trial has its node to itself."""
    cluster = {
        "partition": "gpu",
        "cpu_partition": "cpu",
        "session_gpus": 0,
        "session_hours": 1,
        "trial_gpus": gpus,
        "parallel": 1,
        "poll_seconds": 1,
        "absent_grace_seconds": 15,
        "follow": "true",
        "slurm_conf": os.environ["SLURM_CONF"],
    }
    return [
        "task=rehearsal_gpu",
        "cluster=slurm",
        "container=apptainer",
        f"container.image={image}",
        f"agent.image={image}",
        *(f"cluster.{name}={value}" for name, value in cluster.items()),
        f"+budget.weights={{{gpu_type()}: 1}}",
        "retime.confirm=false",  # its forty runs would take longer than the rest
        f"runs={runs}",
        "campaign=proof",
        "session=rehearsal",
    ]


def gpu_type() -> str:
    """As Slurm names it, h200 of `gpu:h200:1`; empty if it does not answer."""
    _, _, rest = said(["sinfo", "--noheader", "--partition=gpu", "--format=%G"]).partition(":")
    return rest.partition(":")[0]


# --- what was seen


def host_facts() -> dict[str, Any]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": machine.commit(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "versions": {
            "slurm": said(["sinfo", "--version"]),
            "apptainer": said(["apptainer", "--version"]),
            "python": platform.python_version(),
            "torch": said([sys.executable, "-c", "import torch; print(torch.__version__)"]),
            "nccl": said([sys.executable, "-c", "import torch; print(*torch.cuda.nccl.version(), sep='.')"]),
        },
        "user": said(["id", "--user", "--name"]),
    }


def what_came(paths: SessionPaths) -> dict[str, Any]:
    """Verdicts, trials, and each job's charge beside what sacct is asked here once more."""
    return {"verdicts": list(verdicts(paths)), "trials": list(trials(paths)), "jobs": list(jobs(paths))}


def verdicts(paths: SessionPaths) -> Iterator[dict[str, Any]]:
    for file in sorted(paths.submissions.glob("*/verdict.json")):
        verdict = store.read(file, Verdict)
        loss, speed = verdict.loss, verdict.speed
        yield {
            "candidate": Path(verdict.candidate).name,
            **verdict.model_dump(mode="json", include={"outcome", "reason", "gpu_seconds"}),
            "mean_loss": round(loss.mean, 5) if loss else None,
            "saved_s": round(speed.saved_s, 3) if speed else None,
            "saved_interval_s": [round(speed.saved_low_s, 3), round(speed.saved_high_s, 3)] if speed else None,
        }


def trials(paths: SessionPaths) -> Iterator[dict[str, Any]]:
    for submission in sorted(paths.submissions.glob("*")):
        where = paths.submission(submission.name)
        folders = [("compiling", where.decoy_run.incumbents), ("canary", where.decoy_run.trials)]
        for retiming in where.retimings():
            folders += [("candidate", retiming.trials), ("incumbent", retiming.incumbents)]
        for arm, folder in folders:
            for record in sorted(folder.glob("[!.]*.json")):
                trial = store.read(record, Trial)
                yield {"submission": submission.name, "arm": arm, **trial_facts(trial, folder)}


def trial_facts(trial: Trial, folder: Path) -> dict[str, Any]:
    log = trial_log(folder, trial.index)
    return {
        "index": trial.index,
        "outcome": trial.outcome.value,
        "job": trial.job,
        "node": trial.node,
        "gpus": [gpu.uuid for gpu in trial.gpus],
        "val_loss": trial.result.val_loss if trial.result else None,
        "train_time_s": trial.result.train_time_s if trial.result else None,
        "wall_s": round(trial.wall_s, 2),
        "compiled_files": trial.caches.added if trial.caches else None,
        "speed": last_line(log.read_text()) if log.exists() else "",
    }


def jobs(paths: TimingPaths) -> Iterator[dict[str, Any]]:
    """GPU-seconds by the ledger and by sacct, whose rows are summed here without any code of the ledger's."""
    for file in sorted(paths.ledger.glob("*.json")):
        entry = store.read(file, LedgerEntry)
        argv = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", f"--name={entry.job_name}"]
        argv += [f"--starttime={entry.reserved_at.astimezone():%Y-%m-%dT%H:%M:%S}"]
        rows = said([*argv, "--format=State,ElapsedRaw,AllocTRES"]).splitlines()
        tres = sorted({part for row in rows for part in row.split("|")[2].split(",") if part.startswith("gres/")})
        yield {
            "job": entry.job_name,
            "kind": entry.kind,
            "tasks": len(rows),
            "ledger_gpu_s": entry.charged_gpu_seconds,
            "sacct_gpu_s": sum(sacct_gpu_seconds(row) for row in rows),
            "sacct_tres": tres,
            "reserved_gpu_s": 0 if entry.settled_at else entry.reserved_gpu_seconds,
        }


def sacct_gpu_seconds(row: str) -> int:
    _, elapsed, tres = row.split("|")
    counts = dict(part.split("=", 1) for part in tres.split(",") if "=" in part)
    return int(elapsed) * int(counts.get("gres/gpu", 0))


# --- whether it agrees


def doctor_check(argv: Sequence[str]) -> Check:
    """What a user asks first, with the same overrides: its job takes a trial's GPUs, and looks from inside."""
    done = subprocess.run(
        [*argv, "command=doctor", "gpu=true", "format=json"], capture_output=True, text=True, check=False
    )
    what = "the doctor finds nothing that fails, a trial's GPUs included"
    if not done.stdout:
        return Check(what, last_line(done.stderr), holds=False)
    findings = json.loads(done.stdout)["findings"]
    wrong = [f"{each['check']}: {each['found']}" for each in findings if each["state"] not in ("ok", "note")]
    return Check(what, "; ".join(wrong) or f"{len(findings)} findings", done.returncode == 0)


def checked(paths: SessionPaths, proof: dict[str, Any], gpus: int) -> Iterator[Check]:
    yield from proof_checks(proof, gpus)
    yield report_check(paths)
    yield from bundle_checks(paths)


def proof_checks(proof: dict[str, Any], gpus: int) -> Iterator[Check]:
    """What the session's records and sacct say of it."""
    outcomes = {verdict["candidate"]: verdict["outcome"] for verdict in proof["verdicts"]}
    yield Check("the four verdicts are the expected ones", json.dumps(outcomes), outcomes == EXPECTED)
    clean = [trial for trial in proof["trials"] if trial["outcome"] == TrialOutcome.CLEAN]
    last = max((trial["submission"] for trial in proof["trials"]), default="")
    ten = [trial for trial in clean if trial["submission"] == last and trial["arm"] == "candidate"]
    yield Check("ten clean trials of the accepted candidate", f"{len(ten)}", len(ten) == 10)
    seen = {len(trial["gpus"]) for trial in clean}
    yield Check("each with the UUIDs of its GPUs", f"{sorted(seen)} GPUs a trial", seen == {gpus})
    tasks = {trial["job"] for trial in ten}
    yield Check("each in an array task of its own", ", ".join(sorted(tasks)), len(tasks) == 10)
    charged = [(job["job"], job["ledger_gpu_s"], job["sacct_gpu_s"]) for job in proof["jobs"]]
    agree = all(ledger == sacct for _, ledger, sacct in charged)
    totals = f"{sum(row[1] for row in charged)} and {sum(row[2] for row in charged)} GPU-seconds"
    yield Check("ledger and sacct agree on every job", totals, agree and bool(charged))
    reserved = sum(job["reserved_gpu_s"] for job in proof["jobs"])
    yield Check("nothing is left reserved", f"{reserved} GPU-seconds", reserved == 0)
    tres = sorted({part.split("=")[0] for job in proof["jobs"] for part in job["sacct_tres"]})
    yield Check("sacct names the GPUs by type", ", ".join(tres), any(part.startswith("gres/gpu:") for part in tres))


def report_check(paths: SessionPaths) -> Check:
    page = paths.campaign.report.page
    size = page.stat().st_size if page.exists() else 0
    return Check("the report is written", f"{size / 1e6:.2f} MB", size > 10_000)


def bundle_checks(paths: SessionPaths) -> Iterator[Check]:
    """The accepted verdict as an archive, computed again from it."""
    command = [sys.executable, "-m", "slurm_bench"]
    where = [f"runs={paths.root.parents[1]}", "campaign=proof", "session=rehearsal"]
    made = subprocess.run([*command, "command=bundle", *where], capture_output=True, text=True, check=False)
    yield Check("its verdicts are exported as bundles", last_line(made.stdout + made.stderr), made.returncode == 0)
    bundles = sorted(paths.bundles.glob("*.tar"))
    verdicts_there = len(list(paths.submissions.glob("*/verdict.json")))
    yield Check(
        "as many bundles as verdicts", f"{len(bundles)} of {verdicts_there}", len(bundles) == verdicts_there > 0
    )
    for bundle in bundles:
        again = subprocess.run(
            [*command, "command=reverify", f"bundle={bundle}"], capture_output=True, text=True, check=False
        )
        yield Check(f"reverify {bundle.name}", last_line(again.stdout + again.stderr), again.returncode == 0)


# --- what is written


def write(out: Path, proof: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "proof.json").write_text(json.dumps(proof, indent=1) + "\n")
    text = "\n".join(as_text(proof)) + "\n"
    (out / "proof.txt").write_text(text)
    print(text, end="")


def as_text(proof: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in proof["versions"].items())
    yield f"{proof['date']}, commit {proof['commit']}, as {proof['user']}"
    yield f"{len(proof['gpus'])} GPUs: {'; '.join(proof['gpus'])}; {proof['cores']} cores, kernel {proof['kernel']}"
    yield versions
    yield f"python {' '.join(proof['command'])}"
    yield ""
    for verdict in proof.get("verdicts", ()):
        yield f"{verdict['candidate']}: {verdict['outcome']}, {verdict['gpu_seconds']} GPU-seconds; {verdict['reason']}"
    yield ""
    yield "submission arm       trial outcome      job     loss    training  whole run  speed"
    for trial in proof.get("trials", ()):
        loss, training = trial["val_loss"], trial["train_time_s"]
        numbers = f"{loss:.4f}  {training:7.3f} s" if loss is not None else " " * 17
        yield (
            f"{trial['submission']:<10} {trial['arm']:<9} {trial['index']:5} {trial['outcome']:<12} "
            f"{trial['job']:<7} {numbers}  {trial['wall_s']:7.2f} s  {trial['speed']}"
        )
    yield ""
    yield "GPU-seconds by ledger and by sacct"
    for job in proof.get("jobs", ()):
        tres = " ".join(job["sacct_tres"])
        yield f"{job['ledger_gpu_s']:6} {job['sacct_gpu_s']:6}  {job['tasks']} tasks of {job['job']} {tres}"
    yield ""
    for check in proof["checks"]:
        yield f"{'holds' if check['holds'] else 'FAILS'}: {check['what']}: {check['found']}"


if __name__ == "__main__":
    sys.exit(main())
