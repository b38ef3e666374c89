"""The books of a hundred thousand rows stay quick and small; looser than scripts/bench, for busy machines."""

import json
import subprocess
import sys

from tests.conftest import REPOSITORY


def test_the_books_of_a_hundred_thousand_rows() -> None:
    argv = [sys.executable, str(REPOSITORY / "scripts" / "ledger_at_scale.py")]
    figures = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    assert figures["cpu_seconds"] < 3
    assert figures["peak_mb"] < 200
