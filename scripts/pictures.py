"""Draws the pictures of the README: the report's figure from generated records, and the status of a real rehearsal.

.venv/bin/python scripts/pictures.py
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from slurm_bench.effects.campaigns import members  # noqa: E402
from slurm_bench.pure.status_facts import CampaignView  # noqa: E402
from slurm_bench.steps import books, report, status, status_formats, summaries  # noqa: E402
from slurm_bench.words.paths import CampaignPaths, ReportPaths  # noqa: E402
from tests import generated_campaign  # noqa: E402

ENOUGH_BLOCKS = 6
"""Over of the array that the picture of a rehearsal shows."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        draw_report(Path(folder))
        draw_status(Path(folder))


def draw_report(folder: Path) -> None:
    campaign = generated_campaign.write(folder)
    where = ReportPaths(folder)
    report.write(summaries.of_campaign(campaign), where)
    (drawn,) = where.files.glob("*-progress.svg")
    shutil.copyfile(drawn, ROOT / "docs" / "report_progress.svg")


def draw_status(folder: Path) -> None:
    runs = folder / "rehearsed"
    rehearsal = subprocess.Popen(
        [sys.executable, "-m", "slurm_bench", f"runs={runs}", "session=first"], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    campaign = CampaignPaths(runs / "rehearsal")
    while rehearsal.poll() is None:
        time.sleep(1)
        view = status.Records(campaign, "", books.open_all).view() if members(campaign).sessions else None
        if view and is_worth_a_picture(view):
            (ROOT / "docs" / "status.svg").write_text(status_formats.picture(view))
            break
    rehearsal.wait()


def is_worth_a_picture(view: CampaignView) -> bool:
    """Two verdicts are there, and an array is well under way."""
    (session,) = view.sessions
    array = session.submission.array if session.submission else None
    return array is not None and array.blocks_over >= ENOUGH_BLOCKS and len(session.verdicts) > 1


if __name__ == "__main__":
    main()
