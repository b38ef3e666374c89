"""A copy of the human records' tables, for tests that change something in it."""

import shutil
from pathlib import Path

from slurm_bench.effects import human_records


def write(folder: Path) -> Path:
    """Write the shipped tables into a folder, and return it."""
    folder.mkdir(exist_ok=True)
    for table in human_records.SHIPPED.glob("*.tsv"):
        shutil.copyfile(table, folder / table.name)
    return folder
