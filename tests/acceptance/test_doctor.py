"""`command=doctor` on the development cluster: nothing wrong with it, and faults that are put into it, each named.

The faults are real: a configuration of Slurm that points at a closed port, an Apptainer that may not open FUSE, a
folder that only the login side's mount namespace has. No daemon is touched.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests import waiting
from tests.clusters import DEV_CLUSTER
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slurm, pytest.mark.apptainer]

CLOSED_PORT = 9  # "discard": nobody listens there
SLURM_PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun", "sacctmgr")


@dataclass(frozen=True)
class Report:
    exit_code: int
    said: str
    findings: dict[str, dict[str, str]]
    """By check; of several the last."""

    def failing(self) -> list[str]:
        return [check for check, finding in self.findings.items() if finding["state"] == "fails"]


@dataclass
class Site:
    """A login node, and what is put wrong with its site."""

    folder: Path

    def doctor(self, *overrides: str, launcher: Sequence[str] = (), python: str | Path = sys.executable) -> Report:
        dev = ["command=doctor", "format=json", "cluster=dev", "container=apptainer", f"runs={self.folder / 'runs'}"]
        dev += ["hashes=false"]  # a second each time
        done = subprocess.run(
            [*launcher, str(python), "-m", "slurm_bench", *dev, *overrides],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=waiting.LONG_S,
        )
        findings = json.loads(done.stdout)["findings"] if done.stdout else []
        return Report(done.returncode, done.stderr, {finding["check"]: finding for finding in findings})

    def with_slurm_conf(self, **changes: object) -> str:
        """The override that names a copy of Slurm's configuration with other settings."""
        kept = [
            line
            for line in (DEV_CLUSTER / "slurm.conf").read_text().splitlines()
            if line.partition("=")[0] not in changes
        ]
        changed = self.folder / "slurm.conf"
        changed.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in changes.items()), ""]))
        return f"cluster.slurm_conf={changed}"

    def with_programs(self, **programs: str | None) -> str:
        """The override by which jobs find other programs of these names on their PATH; None for none at all."""
        folder = self.folder / "programs"
        folder.mkdir()
        slurms = Path(shutil.which("sbatch") or "").parent
        for system in (slurms, Path("/usr/local/bin"), Path("/usr/bin")):
            for program in system.iterdir():
                if program.name not in programs and not (folder / program.name).exists():
                    (folder / program.name).symlink_to(program)
        for name, text in programs.items():
            if text is not None:
                (folder / name).write_text(text)
                (folder / name).chmod(0o755)
        return f"cluster.setup=['export PATH={folder}']"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_nothing_is_wrong_with_the_development_cluster(site: Site) -> None:
    report = site.doctor("hashes=true")
    assert (report.exit_code, report.failing()) == (0, []), report.said
    assert {"accounting database", "sbatch (trials)", "container (container.image)", "jobs from nodes"} <= set(
        report.findings
    )
    time.sleep(3)  # what its job may still write
    assert not list((site.folder / "runs").glob("doctor-*")), "its job's files are gone"


def test_as_a_table_a_line_each(site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slurm_bench", "command=doctor", "cluster=dev", "job=false", f"runs={site.folder}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=waiting.LONG_S,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    slurm = f"Slurm {(DEV_CLUSTER / 'slurm').read_text().strip()}."
    assert any(line.startswith("ok       Slurm  ") and slurm in line for line in lines), done.stdout
    assert any(line.startswith("note     container  ") for line in lines)


# What is wrong, the check that names it, and its words. All of a list are wrong at once: one must not hide another.
WRONG = {
    "the configuration": [
        ("cluster.gpu_type=a100", "GPUs", "none has the 8 a100 of a trial"),
        ("cluster.session_hours=48", "partition gpu", "its time limit is 24 hours"),
        ("cluster.qos=premium", "QOS", "there is no QOS premium"),
        ("task.record=2031-01-01_Unknown", "starting record", "command=baselines brings"),
        ("task.synthetic=null", "data", "get the shards with scripts/fetch_data"),
        ("container.image=nowhere.sif", "container.image", "scripts/build_image nowhere"),
        ("agent.api.key_file=/nowhere/key", "keys", "/nowhere/key cannot be read"),
    ],
    "the account": [("cluster.account=physics", "account", "root has no account physics")],
    "the partition": [("cluster.partition=moon", "partitions", "no partition moon; there are gpu")],
    "the reservation": [("cluster.reservation=monday", "sbatch (session)", "Requested reservation is invalid")],
    "the request": [
        ("cluster.gpu_request='gres=gpu:x{type}:{count}'", "sbatch (trials)", "8 GPUs: Requested node configuration"),
    ],
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_without_a_job(site: Site, what: str) -> None:
    beside = ("agent=claude", "+budget.weights.a100=1", "job=false")
    report = site.doctor(*beside, *(override for override, _, _ in WRONG[what]))
    assert report.exit_code == 1, report.said
    for _, check, said in WRONG[what]:
        assert report.findings[check]["state"] == "fails", check
        assert said in report.findings[check]["found"], check
    assert report.said.splitlines()[-1].startswith("slurm_bench: a session could not run")
    assert "Traceback" not in report.said


def test_the_database_is_down(site: Site) -> None:
    report = site.doctor(site.with_slurm_conf(AccountingStoragePort=CLOSED_PORT))
    assert report.exit_code == 1
    assert "sacct failed" in report.findings["accounting database"]["found"]
    # All the same its job runs, and says what else is true.
    assert report.findings["container (container.image)"]["state"] == "ok"
    assert report.findings["sacct from nodes"]["state"] == "fails"


def test_slurmctld_is_down(site: Site) -> None:
    report = site.doctor(site.with_slurm_conf(SlurmctldPort=CLOSED_PORT))
    assert report.exit_code == 1
    assert report.failing() == ["Slurm"]
    assert "scontrol failed" in report.findings["Slurm"]["found"]


def test_an_image_that_is_not_what_was_built(site: Site) -> None:
    image = site.folder / "changed.sif"
    image.write_bytes(b"an image")
    (site.folder / "changed.sif.sha256").write_text(f"{64 * '0'}  changed.sif\n")
    report = site.doctor(f"container.image={image}", "job=false", "hashes=true")
    assert report.exit_code == 1
    assert "has another SHA-256" in report.findings["container.image"]["found"]


def sacctmgr(*argv: str) -> None:
    named = {**os.environ, "SLURM_CONF": str(DEV_CLUSTER / "slurm.conf")}
    subprocess.run(["sacctmgr", "--immediate", *argv], env=named, capture_output=True, check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is an administrator there")
def test_a_qos_for_jobs_with_many_gpus_alone(site: Site) -> None:
    sacctmgr("add", "qos", "big", "MinTRESPerJob=gres/gpu=4")
    try:
        sacctmgr("modify", "user", "root", "set", "qos+=big")
        report = site.doctor("cluster.qos=big", "job=false")
    finally:
        sacctmgr("modify", "user", "root", "set", "qos-=big")
        sacctmgr("delete", "qos", "big")
    assert report.failing() == ["limits of jobs"], report
    assert "QOS big lets no job have fewer than 4 GPUs" in report.findings["limits of jobs"]["found"]


def apptainer_after(command: str) -> str:
    """An Apptainer in whose mount namespace something was hidden before."""
    return (
        f"""#!/bin/bash\nexec unshare --mount bash -c '{command} && exec {shutil.which("apptainer")} "$@"' - "$@"\n"""
    )


def test_no_fuse_on_the_node(site: Site) -> None:
    hide = "mount --bind /dev/fuse /dev/fuse && mount -o remount,bind,nodev /dev/fuse"
    report = site.doctor(site.with_programs(apptainer=apptainer_after(hide)))
    assert report.failing() == ["container (container.image)"], report
    finding = report.findings["container (container.image)"]
    assert "failed to open /dev/fuse: Permission denied" in finding["found"]
    assert "ask for /dev/fuse to be open to users" in finding["remedy"]


def test_a_node_that_unpacks_images(site: Site) -> None:
    found = (shutil.which(name) for name in ("squashfuse", "squashfuse_ll"))
    hide = " && ".join(f"mount --bind /dev/null {program}" for program in found if program)
    report = site.doctor(site.with_programs(apptainer=apptainer_after(hide)))
    finding = report.findings["container (container.image)"]
    assert finding["state"] in ("note", "fails"), finding  # root of a virtual machine may be refused the unpacking, too
    assert finding["found"].endswith("the node cannot mount images, each start unpacks one in /tmp")
    assert "APPTAINER_TMPDIR" in finding["remedy"]


def test_no_apptainer_on_the_node(site: Site) -> None:
    report = site.doctor(site.with_programs(apptainer=None))
    assert report.failing() == ["container (container.image)"], report
    assert "needs apptainer on the PATH" in report.findings["container (container.image)"]["found"]


def test_nodes_may_not_queue_jobs(site: Site) -> None:
    report = site.doctor(site.with_programs(sbatch="#!/bin/sh\necho 'sbatch: error: not from here' >&2\nexit 1\n"))
    assert report.failing() == ["jobs from nodes"], report
    assert report.findings["jobs from nodes"]["found"] == "not from here"


def test_no_scratch_on_the_node(site: Site) -> None:
    report = site.doctor("cluster.scratch=/nowhere/$SLURM_JOB_ID")
    assert report.failing() == ["scratch"], report
    assert "/nowhere/" in report.findings["scratch"]["found"]
    report = site.doctor("cluster.scratch=$LAB_SCRATCH")
    assert "this job lacks a variable of $LAB_SCRATCH" in report.findings["scratch"]["found"]


def test_a_scratch_that_is_too_small(site: Site) -> None:
    report = site.doctor("task.trial_gigabytes=1e6")
    assert report.failing() == ["scratch"], report
    assert "a trial may write" in report.findings["scratch"]["found"]


def test_a_model_that_no_node_reaches(site: Site) -> None:
    key = site.folder / "key"
    key.touch(mode=0o600)
    key.write_text("secret")
    report = site.doctor(
        "agent=claude", f"agent.api.key_file={key}", f"agent.api.base_url=http://127.0.0.1:{CLOSED_PORT}"
    )
    assert report.failing() == ["models"], report
    assert report.findings["models"]["found"] == f"127.0.0.1:{CLOSED_PORT}: Connection refused"
    assert "secret" not in json.dumps(report.findings) + report.said


def hidden(folder: Path) -> list[str]:
    """What starts a program to whom alone, and to no node, a folder of this name is there."""
    folder.mkdir()
    return ["unshare", "--mount", "bash", "-c", f'mount -t tmpfs none {folder} && exec "$@"', "-"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a mount namespace without a user namespace")
def test_runs_that_nodes_do_not_see(site: Site) -> None:
    folder = site.folder / "local"
    report = site.doctor(f"runs={folder}/runs", launcher=hidden(folder))
    assert report.failing() == ["a job"], report
    assert "left no log" in report.findings["a job"]["found"]
    assert "set it to a folder that all nodes share" in report.findings["a job"]["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a mount namespace without a user namespace")
def test_an_interpreter_that_nodes_cannot_start(site: Site) -> None:
    folder = site.folder / "local"
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    made = f"{sys.executable} -m venv --without-pip --copies {folder}"
    own = f"{folder}/lib/python3.{sys.version_info.minor}/site-packages"
    told = f"echo 'import site; site.addsitedir(\"{packages}\")' > {own}/packages.pth"
    launcher = hidden(folder)
    launcher[4] = launcher[4].replace("&&", f"&& {made} && {told} &&")
    report = site.doctor(launcher=launcher, python=folder / "bin/python3")
    assert report.failing() == ["a job"], report
    assert f"{folder}/bin/python3: No such file" in report.findings["a job"]["found"]
    assert "the interpreter must be there for jobs too" in report.findings["a job"]["remedy"]


def test_a_job_that_does_not_start_in_time_leaves_it_open(site: Site) -> None:
    report = site.doctor("minutes=0.0001")
    assert (report.exit_code, report.failing()) == (3, []), report
    assert "when the time was up" in report.findings["a job"]["found"]
    assert "whether a session could run is not known" in report.said


def test_jobs_without_gpus_are_refused(site: Site) -> None:
    report = site.doctor("cluster.chain=false", "+cluster.cpu_sbatch={account: physics}")
    assert (report.exit_code, report.failing()) == (3, []), report
    assert "doctor.gpu=true asks for one with GPUs" in report.findings["a job"]["found"]
    assert report.findings["a job"]["state"] == "unknown"


def test_a_job_is_too_short_or_too_dear(site: Site) -> None:
    where = ("retime.where=allocation", "cluster.session_gpus=8", "cluster.session_hours=0.3")
    report = site.doctor(*where, "job=false")
    assert "cluster.session_hours must be 3.0 or more" in report.findings["time limits"]["found"]
    report = site.doctor("budget.h100_hours=0.01", "job=false")
    assert report.failing() == ["budget"], report


def test_a_folder_that_slurm_would_misread_gets_no_job(site: Site) -> None:
    report = site.doctor(f"runs={site.folder}/r%j")
    assert "runs" in report.failing()
    assert report.findings["a job"]["found"] == "runs has to be mended first"
    assert not [path for path in site.folder.iterdir() if path.name.startswith("r")]


def test_a_file_for_the_site(site: Site) -> None:
    """What it writes is all that a session needs to be told."""
    written = site.folder / "conf" / "cluster" / "ours.yaml"
    own = ("cluster.gpu_devices=false", "cluster.foreign_cores=null", "cluster.parallel=8")
    report = site.doctor("cluster=slurm", *own, f"doctor.write={written}", launcher=named())
    assert report.exit_code == 0, report.said
    content = OmegaConf.to_container(OmegaConf.load(written))
    assert content == {
        "defaults": ["slurm", "_self_"],
        "partition": "gpu",
        "account": "lab",
        "gpu_type": "h100",
        "gpu_request": "gres=gpu:{type}:{count}",
        "gpu_cores": 2,
        "node_gpus": 8,
        "gpu_devices": False,
        "session_hours": 24.0,
        "foreign_cores": None,
        "parallel": 8,
        "slurm_conf": str(DEV_CLUSTER / "slurm.conf"),
    }
    again = site.doctor("cluster=slurm", f"doctor.write={written}", launcher=named())
    assert again.exit_code == 2
    assert "is there already" in again.said
    used = site.doctor("cluster=ours", "job=false", f"--config-dir={site.folder}/conf")
    assert used.exit_code == 0, used.said
    assert "is a guess" not in used.said


def named() -> list[str]:
    """Slurm is found by its variable, as on a login node."""
    return ["env", f"SLURM_CONF={DEV_CLUSTER / 'slurm.conf'}"]
