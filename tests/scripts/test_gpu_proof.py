"""scripts/gpu_proof: what it reads off a session, and that its checks can fail. The GPUs themselves are elsewhere."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import gpu_proof
from gpu_proof import Check
from slurm_bench.effects.campaigns import members
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from tests.acceptance.rehearsals import QUICK
from tests.clusters import DEV_CLUSTER
from tests.conftest import REPOSITORY
from tests.waiting import LONG_S

FACTS = {
    "date": "2026-01-01",
    "commit": "abc",
    "user": "root",
    "gpus": ["GPU"],
    "cores": 2,
    "kernel": "6",
    "versions": {"slurm": "22"},
    "command": ["-m", "slurm_bench"],
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionPaths]:
    """A rehearsal on the development cluster, whose GPUs are only claimed."""
    runs = tmp_path_factory.mktemp("runs")
    argv = [
        sys.executable,
        "-m",
        "slurm_bench",
        *QUICK,
        "cluster=dev",
        "campaign=proof",
        "session=rehearsal",
        f"runs={runs}",
    ]
    subprocess.run(argv, cwd=REPOSITORY, capture_output=True, check=True, timeout=LONG_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(DEV_CLUSTER / "slurm.conf"))
        patch.chdir(REPOSITORY)
        yield members(CampaignPaths(runs / "proof")).sessions[0]


def failing(proof: dict[str, Any], gpus: int = 0) -> set[str]:
    return {check.what for check in gpu_proof.proof_checks(proof, gpus) if not check.holds}


@pytest.mark.long
@pytest.mark.slurm
def test_a_rehearsal_holds_and_what_was_changed_fails(session: SessionPaths, tmp_path: Path) -> None:
    proof = gpu_proof.what_came(session)
    checks = list(gpu_proof.checked(session, proof, 0))
    assert [check for check in checks if not check.holds] == []
    assert sum(check.what.startswith("reverify") for check in checks) == 4

    charged = copy.deepcopy(proof)
    charged["jobs"][0]["ledger_gpu_s"] += 1
    assert failing(charged) == {"ledger and sacct agree on every job"}

    decided = copy.deepcopy(proof)
    decided["verdicts"][3]["outcome"] = "rejected"
    assert failing(decided) == {"the four verdicts are the expected ones"}

    lost = copy.deepcopy(proof)
    lost["trials"] = [trial for trial in proof["trials"] if trial["index"] != 4]
    assert failing(lost) == {"ten clean trials of the accepted candidate", "each in an array task of its own"}

    assert failing(proof, gpus=1) == {"each with the UUIDs of its GPUs"}, "no GPU was seen in any"

    said = [{"what": "it holds", "found": "so", "holds": False}]
    gpu_proof.write(tmp_path, {**FACTS, **proof, "checks": said})
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


def test_without_a_gpu_nothing_is_begun(tmp_path: Path) -> None:
    argv = [sys.executable, str(REPOSITORY / "scripts/gpu_proof.py"), "--image=none.sif", f"--out={tmp_path / 'out'}"]
    done = subprocess.run(argv, env={"PATH": "", "SLURM_CONF": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "gpu_proof: no GPU here: nvidia-smi lists none\n")
    assert not (tmp_path / "out").exists()


def test_one_check_that_fails_fails_the_whole() -> None:
    assert gpu_proof.exit_code([Check("a", "b", holds=True)] * 3) == 0
    assert gpu_proof.exit_code([Check("a", "b", holds=True), Check("a", "b", holds=False)]) == 1


def test_a_session_that_was_never_begun_is_a_check_that_fails(tmp_path: Path) -> None:
    proof: dict[str, Any] = {"gpus": ["GPU"]}
    assert gpu_proof.seen(tmp_path, proof) == [Check("a session was begun", "none", holds=False)]


def test_what_fails_on_its_way_is_said_and_written(tmp_path: Path) -> None:
    check = gpu_proof.rehearse([sys.executable, "-c", "raise SystemExit(3)"])
    assert not check.holds and check.found.startswith("exit code 3 after ")
    doctor = gpu_proof.doctor_check([sys.executable, "-c", "import sys; sys.exit('no such site')"])
    assert not doctor.holds and doctor.found == "no such site"
    gpu_proof.write(tmp_path, {**FACTS, "checks": [asdict(doctor)]})
    assert "FAILS: the doctor finds nothing that fails" in (tmp_path / "proof.txt").read_text()
