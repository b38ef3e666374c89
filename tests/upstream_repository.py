"""A small git repository of the shapes of upstream's, and the tables that describe it."""

import csv
import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slurm_bench.effects import human_records
from slurm_bench.pure.rewrites import UpstreamRecord

KERNELS = b"def kernel():\n    aux_desc.store([0, 1], first)\n    aux_desc.store([0, 2], second)"
CAST_KERNELS = (
    b"def kernel():\n    aux_desc.store([0, 1], first.to(dtype))\n    aux_desc.store([0, 2], second.to(dtype))"
)
IMPORTING = (
    b"import os\nfrom kernels import get_kernel\n\n"
    b"flash_attn_interface = get_kernel('someone/attention').flash_attn_interface\n\n"
    b"y = flash_attn_interface.flash_attn_varlen_func(q,\n    k)\n"
)
DIRECT = (
    b"import os\nfrom flash_attn_interface import flash_attn_varlen_func\n\n\ny = flash_attn_varlen_func(q,\n    k)\n"
)
LOGGING = b'if main:\n    os.makedirs("logs", exist_ok=True)\n    logfile = f"logs/{run_id}.txt"\n    print(logfile)\n'
LOGGING_OWN = (
    b'if main:\n    logfile = f"logs/{run_id}.txt"\n'
    b"    os.makedirs(os.path.dirname(logfile), exist_ok=True)\n    print(logfile)\n"
)
EXACT = b"# CRLF, odd bytes, no newline at the end\r\n\xff\xfe = 1\r\n\r\nloss = 3"


@dataclass(frozen=True)
class MadeRecord:
    """A record's files in the repository, with the rules that they need and what those make of them."""

    name: str
    program: tuple[bytes, str, bytes]
    kernels: tuple[bytes, str, bytes] | None = None

    @property
    def files(self) -> dict[str, tuple[bytes, str, bytes]]:
        return {"train_gpt.py": self.program} | ({"triton_kernels.py": self.kernels} if self.kernels else {})


RECORDS = (
    MadeRecord("2025-09-03_Exact", (EXACT, "", EXACT)),
    MadeRecord("2025-09-10_Own", (LOGGING, "own", LOGGING_OWN)),
    MadeRecord("2025-09-29_Direct", (IMPORTING, "R1x1+R2x1+R3x1", DIRECT)),
    MadeRecord("2026-01-10_Both", (IMPORTING + KERNELS, "R1x1+R2x1+R3x1+R4x2", DIRECT + CAST_KERNELS)),
    MadeRecord("2026-01-18_TwoFiles", (EXACT * 2, "", EXACT * 2), (KERNELS, "R4x2", CAST_KERNELS)),
)


@dataclass(frozen=True)
class Upstream:
    repository: Path
    tables: Path
    commits: dict[str, str] = field(default_factory=dict)
    """By record."""

    def records(self) -> list[UpstreamRecord]:
        return human_records.upstream(self.tables)


def git(repository: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own = {f"GIT_{whose}_{what}": "test@test" for whose in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    argv = ["git", "-C", str(repository), *arguments]
    return subprocess.run(argv, env=environment | own, check=True, capture_output=True, text=True).stdout.strip()


def make(folder: Path, records: Sequence[MadeRecord] = RECORDS) -> Upstream:
    """One commit a record; later commits change the files again."""
    repository = folder / "upstream"
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet")
    git(repository, "config", "core.autocrlf", "false")
    git(repository, "config", "uploadpack.allowFilter", "true")
    upstream = Upstream(repository, folder / "tables")
    for record in records:
        for name, (data, _, _) in record.files.items():
            (repository / name).write_bytes(data)
        upstream.commits[record.name] = commit_all(repository)
    write_tables(upstream, records)
    return upstream


def commit_all(repository: Path) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message=a record")
    return git(repository, "rev-parse", "HEAD")


def write_tables(upstream: Upstream, records: Sequence[MadeRecord]) -> None:
    upstream.tables.mkdir()
    _write(upstream.tables / "human_records.tsv", [_row(record, upstream.commits[record.name]) for record in records])
    rewritten = [
        {"record": record.name, "file": name, "rules": rules, "result_sha256": sha256(result)}
        for record in records
        for name, (_, rules, result) in record.files.items()
        if rules
    ]
    _write(upstream.tables / "human_rewrites.tsv", rewritten or [{"record": "", "file": ""}])


def _row(record: MadeRecord, commit: str) -> dict[str, str]:
    extra = f"triton_kernels.py@{'0' * 40}:{sha256(record.kernels[0])}" if record.kernels else ""
    return {
        "record": record.name,
        "upstream_commit": commit,
        "upstream_path": "train_gpt.py",
        "sha256": sha256(record.program[0]),
        "extra_files": extra,
    }


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
