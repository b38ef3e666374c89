"""The books of a hundred thousand rows stay quick and small; how quick is for scripts/bench to say."""

import json
import subprocess
import sys
import time
from itertools import islice

import pytest

from ledger_at_scale import books, rows
from slurm_bench.pure import sacct
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.whole


def test_the_books_of_a_hundred_thousand_rows() -> None:
    argv = [sys.executable, str(REPOSITORY / "scripts" / "ledger_at_scale.py")]
    figures = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    assert figures["peak_mb"] < 200


def test_four_times_as_many_rows_take_about_four_times_as_long() -> None:
    """By the quickest of three, since others compute beside us; a quadratic step would make it sixteen times."""
    few, many = (min(cpu_seconds(count) for _ in range(3)) for count in (5_000, 20_000))
    assert many < 10 * few


def cpu_seconds(count: int) -> float:
    text = "\n".join(["|".join(sacct.FIELDS), *islice(rows(), count)]) + "\n"
    began = time.process_time()
    books(text)
    return time.process_time() - began
