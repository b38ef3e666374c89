"""scripts/gpu_proof: what it reads off a session, and that its checks can fail. The GPUs themselves are elsewhere."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpu_proof
from gpu_proof import Check
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from tests.conftest import DEV_CLUSTER, REPOSITORY


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionPaths]:
    """A rehearsal on the development cluster, whose GPUs are only claimed."""
    runs = tmp_path_factory.mktemp("runs")
    argv = [sys.executable, "-m", "slurm_bench", "cluster=dev", "campaign=proof", "session=rehearsal", f"runs={runs}"]
    subprocess.run(argv, cwd=REPOSITORY, capture_output=True, check=True, timeout=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(DEV_CLUSTER / "slurm.conf"))
        patch.chdir(REPOSITORY)
        yield CampaignPaths(runs / "proof").sessions()[0]


def failing(paths: SessionPaths, proof: dict[str, Any], gpus: int = 0) -> set[str]:
    return {check.what for check in gpu_proof.checked(paths, proof, gpus) if not check.holds}


@pytest.mark.slurm
@pytest.mark.timeout(400)
def test_a_rehearsal_holds_and_what_was_changed_fails(session: SessionPaths, tmp_path: Path) -> None:
    proof = gpu_proof.what_came(session)
    checks = list(gpu_proof.checked(session, proof, 0))
    assert [check for check in checks if not check.holds] == []
    assert sum(check.what.startswith("reverify") for check in checks) == 4

    charged = copy.deepcopy(proof)
    charged["jobs"][0]["ledger_gpu_s"] += 1
    assert failing(session, charged) == {"ledger and sacct agree on every job"}

    decided = copy.deepcopy(proof)
    decided["verdicts"][3]["outcome"] = "rejected"
    assert failing(session, decided) == {"the four verdicts are the expected ones"}

    lost = copy.deepcopy(proof)
    lost["trials"] = [trial for trial in proof["trials"] if trial["index"] != 4]
    assert failing(session, lost) == {"ten clean trials of the accepted candidate", "each in an array task of its own"}

    assert failing(session, proof, gpus=1) == {"each with the UUIDs of its GPUs"}, "no GPU was seen in any"

    facts = {"date": "2026-01-01", "commit": "abc", "user": "root", "gpus": ["GPU"], "cores": 2, "kernel": "6"}
    more = {"versions": {"slurm": "22"}, "command": ["-m", "slurm_bench"], "rehearsed_s": 3.0}
    said = [{"what": "it holds", "found": "so", "holds": False}]
    gpu_proof.write(tmp_path, {**facts, **more, **proof, "checks": said})
    assert json.loads((tmp_path / "proof.json").read_text())["trials"] == proof["trials"]
    text = (tmp_path / "proof.txt").read_text()
    assert "honest-speed-up: accepted" in text and "FAILS: it holds: so" in text and "tokens/s" in text


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ("COMPLETED|30|billing=1,cpu=16,gres/gpu:h100=8,gres/gpu=8,node=1", 240),
        ("COMPLETED|30|billing=1,cpu=16,node=1", 0),
        ("CANCELLED by 0|0|", 0),
    ],
)
def test_the_sum_of_its_own(row: str, seconds: int) -> None:
    assert gpu_proof.sacct_gpu_seconds(row) == seconds


def test_a_check_that_fails_fails_the_whole() -> None:
    """By the exit code, without a GPU: of a machine where nothing can be started."""
    argv = [sys.executable, str(REPOSITORY / "scripts" / "gpu_proof.py"), "--image", "none.sif", "--out", "nowhere"]
    done = subprocess.run(argv, env={**os.environ, "SLURM_CONF": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no GPU" in done.stderr and "Traceback" not in done.stderr
    assert not Path("nowhere").exists()
    assert Check("a", "b", holds=False) != Check("a", "b", holds=True)
