"""The tables of the human records that the package ships (human_baselines/README.md), or others in their form."""

import csv
import hashlib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

from slurm_bench.pure import rewrites
from slurm_bench.pure.contamination import Cutoff
from slurm_bench.pure.human import HumanRecord, HumanRun
from slurm_bench.pure.progress import Published
from slurm_bench.pure.rewrites import UpstreamFile, UpstreamRecord
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import shipped

SHIPPED = shipped("human_baselines")

Row = Mapping[str, str]


def load(tables: Path = SHIPPED) -> list[HumanRecord]:
    """Return all records, oldest first, and in the leaderboard's order where several are of one day.

    Raises:
        UsageError: a record has no row in the table of rules, or an empty one.
    """
    rules = {row["record"]: row for row in _table(tables, "human_rules") if row["warm_up"] and row["objective"]}
    rows = sorted(_table(tables, "human_records"), key=lambda row: (row["date"], int(row["leaderboard_number"])))
    lost = [row["record"] for row in rows if row["record"] not in rules]
    if lost:
        raise UsageError(f"{tables / 'human_rules.tsv'} has no row of {lost[0]}: add its warm-up and its objective")
    return [_record(row, rules[row["record"]]) for row in rows]


def _record(row: Row, rules: Row) -> HumanRecord:
    saved_s = row["mean_seconds_faster_vs_FA3"]
    return HumanRecord(
        name=row["record"],
        date=date.fromisoformat(row["date"]),
        saved_s=float(saved_s) if saved_s else None,
        leaderboard_s=60 * float(row["leaderboard_minutes"]),
        made_by=row["made_by"],
        warm_up=rules["warm_up"],
        objective=rules["objective"],
    )


def check_name(field: str, name: str | None, tables: Path = SHIPPED) -> None:
    """
    Raises:
        UsageError: what a field names is no human record.
    """
    names = [record.name for record in load(tables)]
    if name is not None and name not in names:
        raise UsageError(f"{field}: no human record {name}, only {names[0]} to {names[-1]}")


def runs(tables: Path = SHIPPED) -> list[HumanRun]:
    """All single runs in upstream's logs of the records."""
    return [
        HumanRun(
            record=row["record"],
            loss=float(row["final_val_loss"]),
            time_s=float(row["final_train_time_ms"]) / 1000,
            step_ms=float(row["step_avg_ms"]),
            steps=int(row["n_steps"]),
        )
        for row in _table(tables, "human_runs")
    ]


def published(tables: Path = SHIPPED) -> list[Published]:
    """What others published of agents on the same task."""
    return [
        Published(row["agent"], float(row["percent"]), float(row["h100_hours"]), row["source"])
        for row in _table(tables, "published_agents")
    ]


def cutoffs(tables: Path = SHIPPED) -> dict[str, Cutoff]:
    """Return until when models' training data or knowledge reach, where that is stated, by the model's name."""
    return {row["model"]: Cutoff(**row) for row in _table(tables, "model_cutoffs")}


def upstream(tables: Path = SHIPPED) -> list[UpstreamRecord]:
    """Where the records' files are in upstream's repository, and what the benchmark made of them."""
    results = {(row["record"], row["file"]): row for row in _table(tables, "human_rewrites")}
    return [_upstream_record(row, results) for row in _table(tables, "human_records")]


def _upstream_record(row: Row, results: Mapping[tuple[str, str], Row]) -> UpstreamRecord:
    files = [UpstreamFile(row["upstream_path"], row["sha256"])]
    for extra in filter(None, row["extra_files"].split(",")):
        path, _, hashes = extra.partition("@")
        files.append(UpstreamFile(path, hashes.partition(":")[2]))
    with_results = (_with_result(file, results.get((row["record"], file.name))) for file in files)
    return UpstreamRecord(row["record"], row["upstream_commit"], tuple(with_results))


def _with_result(file: UpstreamFile, row: Row | None) -> UpstreamFile:
    if row is None:
        return file
    return UpstreamFile(file.path, file.sha256, rewrites.parse(row["rules"]), row["result_sha256"])


@cache
def _table(tables: Path, name: str) -> tuple[Row, ...]:
    return rows(name, tables)


def rows(name: str, tables: Path = SHIPPED) -> tuple[Row, ...]:
    """Return the rows of a table as they are now.

    Raises:
        UsageError: the folder does not hold it.
    """
    try:
        with (tables / f"{name}.tsv").open(newline="") as stream:
            return tuple(csv.DictReader(stream, delimiter="\t"))
    except FileNotFoundError:
        raise UsageError(f"{tables} holds no {name}.tsv; name a folder of tables like human_baselines/") from None


def name_of(files: Mapping[str, str], tables: Path = SHIPPED) -> str:
    """Return the human record whose files are among these, as upstream or as the benchmark has them.

    Args:
        files: SHA-256 by path.

    Returns:
        Its name, or the first one's of several with the same files; empty where these are no record's.
    """
    known = (record for record in upstream(tables) if any(file.sha256 for file in record.files))
    same = (record.name for record in known if all(_is_among(file, files) for file in record.files))
    return next(same, "")


def _is_among(file: UpstreamFile, files: Mapping[str, str]) -> bool:
    return files.get(file.name) in (file.sha256, file.final_sha256)


def changed_files(name: str, folder: Path) -> list[str]:
    """Upstream's files of a human record that are not, or no longer, in a folder; none for any other record."""
    files = [file for record in upstream() if record.name == name for file in record.files]
    return [file.name for file in files if not holds(folder / file.name, file.final_sha256)]


def holds(file: Path, sha256: str) -> bool:
    """Whether a file is there, with these bytes."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256
