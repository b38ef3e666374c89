"""The tables of the human records that the package ships (human_baselines/README.md)."""

import csv
from collections.abc import Mapping

from slurm_bench.pure.human import HumanRecord
from slurm_bench.words.paths import shipped


def load() -> list[HumanRecord]:
    """All records, oldest first."""
    rules = {row["record"]: row for row in _table("human_rules")}
    return [
        HumanRecord(
            name=row["record"],
            saved_s=float(saved) if (saved := row["mean_seconds_faster_vs_FA3"]) else None,
            keeps_warm_up=rules[row["record"]]["keeps_30_step_warmup"] == "yes",
            plain_next_token=rules[row["record"]]["plain_next_token"] == "yes",
        )
        for row in _table("human_records")
    ]


def _table(name: str) -> list[Mapping[str, str]]:
    with (shipped("human_baselines") / f"{name}.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))
