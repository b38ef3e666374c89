"""The whole benchmark, as a user starts it: four candidates, four outcomes, and a budget that agrees."""

import csv
import io
import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.experiments import ExperimentNote
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.trials import Retiming, TrialPlan
from slurm_bench.words.verdicts import Verdict
from tests.acceptance.rehearsals import EXPECTED, QUICK, check_outcomes, slurm_bench
from tests.clusters import DEV_CLUSTER
from tests.conftest import IMAGE


def check_report(campaign: CampaignPaths) -> str:
    """The accepted candidate's seconds saved with their interval, as the report says them."""
    page = campaign.report.page.read_text()
    for name, (outcome, by) in EXPECTED.items():
        assert name in page
        assert f"{outcome} by {by}" if by else outcome in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page, "it is self-contained"
    (summary,) = json.loads(campaign.report.data.read_text())["sessions"]
    runs = [(len(each["runs"]["losses"]), len(each["incumbent_runs"]["losses"])) for each in summary["submissions"]]
    assert runs[:2] == [(0, 0), (0, 0)] and runs[3] == (10, 10)
    assert 3 <= runs[2][0] < 10, "the hopeless candidate was stopped"
    speed = summary["submissions"][3]["verdict"]["speed"]
    interval = f"{speed['saved_s']:.2f} [{speed['saved_low_s']:.2f}, {speed['saved_high_s']:.2f}]"
    assert speed["design"] == "paired" and speed["saved_low_s"] < speed["saved_s"] < speed["saved_high_s"]
    assert interval in page, "seconds saved with an interval, not only a mean"
    assert "Stopped early" in page and "Confirmation 1 of" in page
    assert summary["score"]["state"] == "scored" and f"{summary['score']['saved']['saved_s']:.2f} s [" in page
    return interval


def check_score(verdicts: Sequence[Verdict]) -> Verdict:
    """The accepted candidate's twenty fresh blocks, which are the session's last verdict."""
    score = verdicts[-1]
    assert (score.submission, score.confirms, score.confirmation, score.level) == ("0005", "0004", 1, 0.005)
    assert score.outcome.value == "accepted" and score.speed and score.speed.saved_low_s > 0, score.reason
    return score


def budget(runs: Path, form: str) -> str:
    done = slurm_bench(runs, "command=budget", f"command.format={form}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_on_a_bare_machine(tmp_path: Path) -> None:
    done = slurm_bench(tmp_path, "session=one")
    assert done.returncode == 0, done.stderr
    campaign = CampaignPaths(tmp_path / "rehearsal")
    verdicts = check_outcomes(members(campaign).sessions[0])
    score = check_score(verdicts)
    interval = check_report(campaign)
    for name, (outcome, _) in EXPECTED.items():
        assert name in done.stdout and outcome in done.stdout
    assert interval in done.stdout
    assert str(campaign.report.page) in done.stdout
    total, decoy = json.loads(budget(tmp_path, "json"))["accounts"]
    assert total["gpu_seconds"] == sum(verdict.gpu_seconds for verdict in verdicts) > 0
    assert total["reserved_gpu_seconds"] == 0
    rows = list(csv.DictReader(io.StringIO(budget(tmp_path, "csv"))))
    spent = [row for row in rows if row["figure"] == "spent"]
    assert {row["kind"] for row in spent} == {"retiming", "decoy", "confirmation"}
    both = total["gpu_seconds"] + decoy["gpu_seconds"]
    assert sum(int(row["gpu_seconds"]) for row in spent) == both
    agents = both - score.gpu_seconds
    left = [float(row["h100_hours"]) for row in rows if row["figure"] == "left"]
    assert min(left) == pytest.approx(512 - agents / 3600), "the starting record's decoy run counts, its score does not"
    check_bundles(tmp_path, members(campaign).sessions[0])


def check_bundles(runs: Path, session: SessionPaths) -> None:
    """All four verdicts, exported and verified by their digests; and what is said of one that was tampered with."""
    done = slurm_bench(runs, "command=bundle", "session=one")
    assert done.returncode == 0, done.stderr
    *archives, to_publish = done.stdout.splitlines()
    assert len(archives) == len(EXPECTED) + 1, "the score's too"
    for line in archives:
        said = re.fullmatch(r"(.*): submission (\d{4}), stamp ([0-9a-f]{64})", line)
        assert said, line
        path, number, digest = said.groups()
        assert f"submission {number}: stamp {digest}" in session.log.read_text()
        found = slurm_bench(runs / "elsewhere", "command=reverify", f"bundle={path}", f"digest={digest}")
        assert found.returncode == 0, found.stderr
        assert f"session one, submission {number}" in found.stdout
    assert to_publish.startswith(f"to publish: {digest}, "), "the newest stamp, which serves all of them"
    first = slurm_bench(runs, "command=reverify", f"bundle={session.bundles / 'one-0001.tar'}", f"digest={digest}")
    assert first.returncode == 0, first.stderr
    assert not (runs / "elsewhere").exists(), "it needs nothing but the archive"
    tampered = runs / "tampered.tar"
    tampered.write_bytes(Path(path).read_bytes().replace(b'"outcome": "accepted"', b'"outcome": "ACCEPTED"'))
    found = slurm_bench(runs, "command=reverify", f"bundle={tampered}")
    assert found.returncode == 2, "an outcome that there is not"
    tampered.write_bytes(Path(path).read_bytes().replace(b'"gpu_seconds": ', b'"gpu_seconds":\n'))
    found = slurm_bench(runs, "command=reverify", f"bundle={tampered}")
    assert found.returncode == 1
    assert "submissions/0005/verdict.json is not what SHA256SUMS says" in found.stderr
    check_errors(runs)


def check_errors(runs: Path) -> None:
    for overrides, words in (
        (["command=bundle", "session=two"], "session=NAME of one"),
        (["command=bundle", "session=one", "submission=6"], "there are 0001 to 0005"),
        (["command=reverify", "bundle=nowhere.tar"], "nowhere.tar cannot be read: No such file or directory"),
        (["command=reverify", f"bundle={runs / 'rehearsal' / 'one' / 'config.yaml'}"], "is no bundle, or broken"),
        (["command=reverify"], "command.bundle must be the path of an archive"),
    ):
        done = slurm_bench(runs, *overrides)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert words in done.stderr


def test_an_agent_that_asks_for_its_gpus(tmp_path: Path) -> None:
    """It tries each candidate as a job of its own first; what has no launcher is refused there too."""
    done = slurm_bench(tmp_path, *QUICK, "session=one", "agent.gpus=experiments")
    assert done.returncode == 0, done.stderr
    (session,) = members(CampaignPaths(tmp_path / "rehearsal")).sessions
    check_outcomes(session)
    notes = [store.read(path, ExperimentNote) for path in session.experiments_inbox.glob("*.json")]
    assert sorted((note.number, note.exit_code) for note in notes) == [("", 2), ("0001", 0), ("0002", 0), ("0003", 0)]
    told = session.transcript.trace.read_text()
    assert "tried malformed: exit code 2" in told and "tried honest-speed-up: exit code 0" in told
    kinds = {store.read(path, LedgerEntry).kind for path in session.ledger.glob("*.json")}
    assert kinds >= {"experiment", "retiming"}


@pytest.mark.long
@pytest.mark.slurm
@pytest.mark.apptainer
def test_on_slurm_in_apptainer(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = slurm_bench(tmp_path, "cluster=dev", "container=apptainer", "session=one", f"cluster.scratch={scratch}")
    assert done.returncode == 0, done.stderr
    campaign = CampaignPaths(tmp_path / "rehearsal")
    (session,) = members(campaign).sessions
    check_score(check_outcomes(session))
    check_report(campaign)
    check_trials(session)
    said = session.log.read_text()
    assert "0004: 20/20, " in said and "stopping early: after" in said and "starting the agent" in said
    assert not list(scratch.iterdir()), "cancelled trials too leave nothing"
    check_budget_against_sacct(tmp_path, session)
    check_stop(session)
    check_who_timed_the_score(session)
    done = slurm_bench(tmp_path, "command=bundle", "session=one", "submission=5")
    assert done.returncode == 0, done.stderr
    found = slurm_bench(tmp_path, "command=reverify", f"bundle={session.bundle('0005')}")
    assert found.returncode == 0, found.stderr


def check_trials(session: SessionPaths) -> None:
    image = subprocess.run(["sha256sum", str(IMAGE)], capture_output=True, text=True, check=True).stdout.split()[0]
    where = session.submission("0004").retiming
    blocks = store.read(where.collected, Retiming).blocks
    began = []
    for block in blocks:
        ours, theirs = block.candidate, block.incumbent
        assert theirs and (ours.node, ours.job) == (theirs.node, theirs.job), "both ran in the same allocation"
        assert ours.started and ours.ended and theirs.started and theirs.ended
        assert ours.ended <= theirs.started or theirs.ended <= ours.started, "in turn"
        if ours.started < theirs.started:
            began.append(ours.index)
    drawn = store.read(where.plan, TrialPlan).candidate_first
    assert tuple(began) == drawn and len(drawn) == 5, "half of the blocks are begun by the candidate, as drawn"
    for trials in (store.read(where.collected, Retiming).trials, store.read(where.collected, Retiming).incumbents):
        assert {trial.image_sha256 for trial in trials} == {image}
        assert {trial.node for trial in trials} <= {"gpu1", "gpu2", "gpu3", "gpu4"}
        assert store.read(where.plan, TrialPlan).step[0] == "srun"
        assert len({trial.result.val_loss for trial in trials if trial.result}) > 1, "runs draw their seeds"


def check_stop(session: SessionPaths) -> None:
    """The hopeless candidate's pending tasks went with one scancel, and nobody waited for the grace."""
    verdict = store.read(session.submission("0003").verdict, Verdict)
    stopped = session.submission("0003").retiming.stopped
    assert verdict.stopped and 3 <= len(verdict.stopped.seen) < 10
    assert verdict.decided_at.timestamp() - stopped.stat().st_mtime < 12, "the dev cluster's grace is 15 s"


def check_who_timed_the_score(session: SessionPaths) -> None:
    """The session's own job had ended, with its GPUs, before the blocks of the score were queued."""
    entries = store.read_all(session.ledger, LedgerEntry)
    (link,) = [entry for entry in entries if entry.kind == "session"]
    (score,) = [entry for entry in entries if entry.kind == "confirmation"]
    ended = link.attempts[-1].ended
    assert ended and ended <= score.reserved_at
    assert (score.tasks, len(score.attempts)) == (20, 20)


def check_budget_against_sacct(runs: Path, session: SessionPaths) -> None:
    """The figure of command=budget beside a sum over sacct that shares no code with it."""
    identity = store.read(session.session, Session).id
    total, _ = json.loads(budget(runs, "json"))["accounts"]
    sacct = subprocess.run(
        [
            "sacct",
            "-X",
            "-D",
            "--noheader",
            "--parsable2",
            "--starttime=now-1day",
            "--format=JobName%80,ElapsedRaw,AllocTRES",
        ],
        env={**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = 0
    rows = 0
    for row in sacct.stdout.splitlines():
        name, elapsed, tres = row.split("|")
        if identity in name and "-relay" not in name:
            resources = dict(part.split("=") for part in tres.split(",") if part)
            seconds += int(elapsed) * int(resources.get("gres/gpu", 0))
            rows += 1
    assert rows == sum(line["attempts"] for line in total["lines"])
    assert 1 + 2 + 3 + 10 + 20 <= rows < 1 + 2 + 10 + 10 + 20, (
        "the session, two decoy runs, some blocks of the hopeless candidate, all of the accepted one's and its score's"
    )
    assert total["gpu_seconds"] == seconds
    assert total["reserved_gpu_seconds"] == 0


def test_a_score_can_be_had_later(tmp_path: Path) -> None:
    """Of a session that was to have none, or got none; once it is there, nothing is timed again."""
    quick = slurm_bench(tmp_path, *QUICK, "session=one")
    assert quick.returncode == 0, quick.stderr
    said = " ".join(quick.stdout.split())
    assert (
        "no score yet: not confirmed; submission 0004 is accepted, and left to be confirmed (command=confirm)" in said
    )
    for _ in range(2):
        later = slurm_bench(tmp_path, "command=confirm", "session=one")
        assert later.returncode == 0, later.stderr
        assert "saved, confirmed by 20 fresh blocks" in later.stdout
    (session,) = members(CampaignPaths(tmp_path / "rehearsal")).sessions
    check_score([store.read(path, Verdict) for path in sorted(session.submissions.glob("*/verdict.json"))])
    store.write(
        session.session, store.read(session.session, Session).model_copy(update={"state": SessionState.INTERRUPTED})
    )
    early = slurm_bench(tmp_path, "command=confirm", "session=one")
    assert (early.returncode, early.stdout) == (2, "")
    assert early.stderr == "slurm_bench: session one is not over (interrupted); command=run goes on with it\n"
