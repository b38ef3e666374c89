"""Rehearsals as a user starts them, and what each of them must come to."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Verdict
from tests import waiting
from tests.conftest import QUICK_REHEARSAL, REPOSITORY

EXPECTED = {
    "malformed": ("invalid", None),
    "tampered-validation": ("rejected", "judge"),
    "too-few-steps": ("rejected", "loss"),
    "honest-speed-up": ("accepted", None),
}
OUTCOMES = [outcome for outcome, _ in EXPECTED.values()]
QUICK = (f"task.record={QUICK_REHEARSAL}", "retime.confirm=false")
"""The overrides by which a rehearsal's runs pretend to train, and its best candidate is not timed afresh."""
SLOWER = ("+task.environment.SECONDS_PER_STEP='0.01'", "task.trial_minutes=20")
"""With QUICK, what leaves time to put the brake on: a run of the starting record takes two seconds."""


def slurm_bench(runs: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "slurm_bench", f"runs={runs}", *overrides],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=waiting.LONG_S,
        check=False,
    )


def start(paths: SessionPaths, *overrides: str) -> "subprocess.Popen[bytes]":
    """Start the session of these paths, whose output goes to front.log beside its runs."""
    runs = paths.root.parents[1]
    argv = [sys.executable, "-m", "slurm_bench", f"runs={runs}", "session=one"]
    with (runs.parent / "front.log").open("ab") as log:
        return subprocess.Popen([*argv, *overrides], cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True)


class Brake:
    """What keeps the runs of a quick rehearsal from ending while a test interferes with them."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "brake"
        self.override = f"+task.environment.BRAKE={self._file}"

    def __enter__(self) -> None:
        self._file.touch()

    def __exit__(self, *error: object) -> None:
        self._file.unlink()


def wait_beside(process: "subprocess.Popen[bytes]", condition: Callable[[], object]) -> None:
    """Wait for a condition that this process has to bring about."""

    def holds_or_cannot() -> bool:
        holds = bool(condition())
        assert holds or process.poll() is None, "the session ended early"
        return holds

    waiting.until(holds_or_cannot)


def trials(paths: SessionPaths, number: str) -> list[Path]:
    """Return the records of the trials of a submission that have begun."""
    return list(paths.submission(number).retiming.trials.glob("*.json"))


def answers(paths: SessionPaths) -> list[dict[str, object]]:
    """Return what the agent was told of its four candidates."""
    return [json.loads((paths.workspace / f"experiments/{name}.json").read_text()) for name in EXPECTED]


def check_outcomes(session: SessionPaths) -> list[Verdict]:
    """Check that the session is over with the four verdicts that it must have, and return them."""
    assert store.read(session.session, Session).state is SessionState.FINISHED
    verdicts = [store.read(path, Verdict) for path in sorted(session.submissions.glob("*/verdict.json"))]
    seen = {Path(verdict.candidate).name: (verdict.outcome.value, verdict.rejected_by) for verdict in verdicts}
    assert seen == EXPECTED, [verdict.reason for verdict in verdicts]
    (finding,) = verdicts[1].findings
    assert (finding.rule, finding.file, finding.candidate) == (
        "validation",
        "train_gpt.py",
        "val_loss /= 1.05 * val_steps",
    )
    tampered = (session.candidates / "tampered-validation" / finding.file).read_text().splitlines()
    assert finding.line is not None and tampered[finding.line - 1].strip() == finding.candidate
    assert f"{finding.file}:{finding.line}" in verdicts[1].reason
    assert [answer["exit_code"] for answer in answers(session)] == [2, 1, 1, 0]
    return verdicts
