"""The scheduled report, as a real job: files and a mail that agree with sacct, and the next one queued."""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.test_ledger_on_slurm import Books, slurm, state
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slurm]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A campaign with some usage."""
    made = Books(tmp_path)
    made.queue("array", "sleep for 2", count=3)
    made.settle()
    return made


def queue_report(books: Books, *overrides: str, **variables: str) -> str:
    """The job's number, once it is over."""
    mailer = books.folder / "bin/mail"
    mailer.parent.mkdir(exist_ok=True)
    mailer.write_text(f'#!/bin/sh\n{{ echo "$@"; cat; }} > {books.folder}/mailed\n')
    mailer.chmod(0o755)
    environment = {
        **sacct.ENVIRONMENT,
        "PATH": f"{mailer.parent}:{os.environ['PATH']}",
        "BUDGET_REPORT_DIR": str(books.folder / "reports"),
        "BUDGET_REPORT_MAIL": "professor@example.org",
        **variables,
    }
    argv = ["sbatch", "--parsable", "--account=lab", f"--output={books.folder}/%j.log", "scripts/budget_report.sbatch"]
    done = subprocess.run(
        [*argv, "--config-dir", "conf", f"runs={books.config.runs}", *overrides],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    job_id = done.stdout.strip()
    waiting.until(lambda: state(job_id) in ("COMPLETED", "FAILED"))
    return job_id


def test_it_is_written_and_mailed_and_comes_again(books: Books) -> None:
    job_id = queue_report(books, "campaign=test", BUDGET_REPORT_EVERY="1hour")
    log = (books.folder / f"{job_id}.log").read_text()
    next_one = log.split()[-1]
    assert slurm("squeue", "--noheader", f"--jobs={next_one}", "--format=%T %r").split() == ["PENDING", "BeginTime"]
    slurm("scancel", next_one)
    assert state(job_id) == "COMPLETED", log

    seconds = sacct.gpu_seconds(books.identity)
    table, rows, content = (next((books.folder / "reports").glob(f"*.{kind}")) for kind in ("txt", "csv", "json"))
    (account,) = json.loads(content.read_text())["accounts"]
    assert account["gpu_seconds"] == seconds > 0
    spent = [row for row in csv.DictReader(rows.open()) if row["figure"] == "spent"]
    assert sum(int(row["gpu_seconds"]) for row in spent) == seconds
    assert str(seconds) in table.read_text()
    assert "Counts against the budget: calibration, decoy, experiment, retiming, session." in table.read_text()
    mailed = (books.folder / "mailed").read_text()
    assert mailed.startswith("-s GPU budget, ") and "professor@example.org" in mailed and table.read_text() in mailed
    assert len(list((books.folder / "reports").iterdir())) == 3


def test_a_report_that_fails_says_so_by_mail_too(books: Books) -> None:
    job_id = queue_report(books, "campaign=unknown")
    assert state(job_id) == "FAILED"
    assert "no report" in (books.folder / "mailed").read_text()
    assert "no sessions in" in (books.folder / "mailed").read_text()
    assert "no sessions in" in (books.folder / f"{job_id}.log").read_text()
    assert not list((books.folder / "reports").iterdir())
