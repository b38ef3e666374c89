"""Attacks out of the agent's container, and out of a trial's. Each docstring names the defence it ends in."""

import os
import socket
import sys
import uuid
from pathlib import Path

import pytest

from slurm_bench.effects import processes
from slurm_bench.words.trials import TrialOutcome
from tests.attacks.conftest import Scene
from tests.clusters import DEV_CLUSTER


def shell_in_trial(scene: Scene, script: str) -> str:
    """What a script prints that a candidate runs in its trial."""
    after = f"\nimport subprocess\nsubprocess.run(['bash', '-c', {script!r}], stderr=subprocess.STDOUT)\n"
    trial, where = scene.trial(scene.candidate(after=after))
    assert trial.outcome is TrialOutcome.CLEAN, trial.note
    return scene.printed(where)


@pytest.fixture(params=["agent", "trial"])
def inside(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(scene: Scene, inside: str, script: str) -> str:
    return scene.agent(script).stdout if inside == "agent" else shell_in_trial(scene, script)


def test_changing_what_is_mounted_read_only(scene: Scene) -> None:
    """Attack: remount, unmount or cover the seal and the data, then write to them.

    Defence: never a root inside (no --fakeroot, no capability), and the seal's hash is checked after the trial.
    """
    sealed = {path: path.read_bytes() for path in scene.paths.seals.rglob("*") if path.is_file()}
    printed = shell_in_trial(
        scene,
        """
        for target in /seal /trial/data; do
          mount -o remount,rw,bind $target && echo BROKEN remount
          umount $target && echo BROKEN umount
          mount -t tmpfs none $target && echo BROKEN cover
          mv $target $target-aside && echo BROKEN move
          rm -rf $target && echo BROKEN remove
        done
        unshare -Urm bash -c 'mount -o remount,rw,bind /seal && echo > /seal/train_gpt.py && echo BROKEN unshare'
        echo changed > /seal/train_gpt.py && echo BROKEN seal
        echo changed > /trial/train_gpt.py && echo BROKEN link
        echo changed > /trial/data/validation.bin && echo BROKEN data
        echo tried
        """,
    )
    assert "tried" in printed
    assert "BROKEN" not in printed
    assert {path: path.read_bytes() for path in sealed} == sealed
    assert (Path(scene.config.task.data) / "validation.bin").read_text() == "true tokens"


def test_keys_of_the_host(scene: Scene, inside: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Attack: look for keys in the environment, in /proc and in files.

    Defence: `env -i` before apptainer, an allow-list after it, no process and no folder of the host inside; the
    batch job is queued from an environment of a few names. Canaries lie in all these places; none is found.
    """
    front, back = uuid.uuid4().hex, uuid.uuid4().hex
    for name in (
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "APPTAINERENV_TOKEN",
        "SINGULARITYENV_TOKEN",
        "APPTAINER_DOCKER_PASSWORD",
        "HTTPS_PROXY",
        "http_proxy",
        "HF_TOKEN",
    ):
        monkeypatch.setenv(name, front + back)
    (tmp_path / "key").write_text(front + back)
    (tmp_path / "profile").write_text(f"export HF_TOKEN={front + back} https_proxy={front + back}")
    monkeypatch.setattr(scene.config.cluster, "setup", [f". {tmp_path}/profile"])  # the job's own environment
    script = f"""
        canary={front}; canary=${{canary}}{back}
        canary="[${{canary:0:1}}]${{canary:1}}"  # so that grep does not find itself
        echo "in variables: $(env | grep -c "$canary")"
        echo "in processes: $(cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c "$canary")"
        echo "in files: $(grep -rlsI --exclude-dir={{proc,sys,usr,opt}} "$canary" / 2>/dev/null | wc -l)"
        ls {tmp_path} 2>/dev/null
        echo "names: $(env | cut -d= -f1 | tr '\\n' ' ')"
    """
    counts, _, names = run(scene, inside, script).partition("names: ")
    assert counts.splitlines()[-3:] == ["in variables: 0", "in processes: 0", "in files: 0"]
    allowed = {"HOME", "PATH", "PWD", "SHLVL", "_", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS"}
    allowed |= {"CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "LC_ALL", "LANG", "PS1", "PROMPT_COMMAND", "USER_PATH"}
    allowed |= {"PYTHONHASHSEED", "PYTHONNOUSERSITE", "TZ"}  # the image's own
    allowed.add("DATA_PATH")  # where an agent's copies of the record find the data
    prefixes = ("BENCHMARK_", "APPTAINER_", "SINGULARITY_", "GIT_CONFIG_")
    unknown = {name for name in names.split() if name not in allowed and not name.startswith(prefixes)}
    assert not unknown
    written = processes.run(["grep", "-rl", front + back, str(scene.paths.root)], timeout_s=60)
    assert written.stdout == "", "no key lies in the session's records or batch scripts"


def test_a_key_ring_of_the_host(scene: Scene, inside: str) -> None:
    """Attack: key rings belong to no namespace: read the one of whoever started the container.

    Defence: each container starts with an empty session key ring of its own.
    """
    secret = uuid.uuid4().hex
    search = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nbuffer = ctypes.create_string_buffer(64)\n"
        "key = libc.syscall(250, 10, -3, b'user', b'canary', 0)\n"  # KEYCTL_SEARCH in the session key ring
        "print('found', key > 0 and libc.syscall(250, 11, key, buffer, 64) and buffer.value.decode())\n"
    )
    add = f"libc.syscall(250, 1, None)\nlibc.syscall(248, b'user', b'canary', b'{secret}', 32, -3)\n"
    with_key = f"import ctypes, os\nlibc = ctypes.CDLL(None)\n{add}"
    found = processes.run([sys.executable, "-c", with_key + search], timeout_s=20).stdout
    assert found == f"found {secret}\n", "the canary can be read outside"
    # The container is started by a process that holds the key, as a desk with a Kerberos ticket does.
    script = f"python3 - <<'END'\n{search}END"
    if inside == "agent":
        argv = scene.agent_argv(script)
    else:
        after = f"\nexec(compile({search!r}, 'search', 'exec'))\n"
        candidate = scene.candidate(after=after)
        argv = scene.trial_argv(candidate)
    start = f"{with_key}os.execvp({argv[0]!r}, {argv!r})"
    printed = processes.run([sys.executable, "-c", start], timeout_s=60).stdout
    assert "found False" in printed


def test_the_kernels_files(scene: Scene, inside: str) -> None:
    """Attack: as the user number 0, write the kernel's settings through /proc and /sys, e.g. the core dump's handler.

    Defence: an ordinary user may not; where root starts a container, those folders are read-only in it.
    """
    script = """
        find /proc /sys -path '/proc/[0-9]*' -prune -o -type f -writable -print 2>/dev/null
        echo '|/tmp/x' 2>/dev/null > /proc/sys/kernel/core_pattern && echo BROKEN
        echo END
    """
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    everybodys = {f"/proc/pressure/{name}" for name in ("cpu", "io", "memory")} | {"/proc/sys/kernel/ns_last_pid"}
    assert set(run(scene, inside, script).split()) - everybodys == {"END"}
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_the_network(scene: Scene, inside: str) -> None:
    """Attack: reach the internet, the cluster's controller or database, or a neighbour.

    Defence: `--net --network=none`: there is a loopback of its own and nothing else. The same ports answer outside.
    """
    ports = [port_of("SlurmctldPort"), port_of("AccountingStoragePort")]
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    addresses = [("127.0.0.1", port) for port in ports] + [(host_address(), ports[0]), ("8.8.8.8", 53)]
    script = f"""python3 - <<'END'
import socket
print([name for _, name in socket.if_nameindex()])
for address in {addresses}:
    try:
        socket.create_connection(address, timeout=3)
        print("BROKEN", address)
    except OSError as error:
        print("CLOSED", address, error)
END"""
    printed = run(scene, inside, script)
    assert "['lo']" in printed
    assert printed.count("CLOSED") == len(addresses)
    assert "BROKEN" not in printed


def port_of(setting: str) -> int:
    """Return a port of the development cluster's daemons."""
    lines = (DEV_CLUSTER / "slurm.conf").read_text().splitlines()
    (port,) = [line.partition("=")[2] for line in lines if line.startswith(f"{setting}=")]
    return int(port)


def host_address() -> str:
    return socket.gethostbyname(socket.gethostname())


def test_slurm_from_inside(scene: Scene, inside: str) -> None:
    """Attack: submit, requeue or cancel jobs from inside.

    Defence: no Slurm program, no configuration, no munge socket and no job id in the container.
    """
    script = f"""
        for program in sbatch srun scontrol scancel squeue sacct munge; do command -v $program; done
        ls -d /run/munge /etc/slurm {DEV_CLUSTER} /var/run/munge 2>/dev/null
        env | grep -E '^SLURM'
        find / -path /proc -prune -o -path /sys -prune -o -name 'munge.socket*' -print 2>/dev/null
        echo END
    """
    assert run(scene, inside, script).split() == ["END"]


def test_the_desk_as_a_process(scene: Scene, inside: str) -> None:
    """Attack: signal, stop or read the desk, which runs as the same user.

    Defence: a process namespace of its own (--containall): no process of the host can be named.
    """
    desk = os.getpid()
    script = f"""
        kill -0 {desk} 2>/dev/null && echo BROKEN
        cat /proc/{desk}/environ 2>/dev/null && echo BROKEN
        ls -d /proc/[0-9]* | wc -l
    """
    printed = run(scene, inside, script).split()
    assert "BROKEN" not in printed
    assert int(printed[-1]) < 12


def test_a_pickle_for_the_host(scene: Scene) -> None:
    """Attack: forge the pickled result that a job framework would load, and run as its user.

    Defence: jobs are command lines and results JSON records; no pickle is written, and the job folders are in no
    mount.
    """
    scripts = scene.batch_scripts()
    assert not list(scene.paths.root.rglob("*.pkl"))
    assert all(" -I -m slurm_bench.steps.trial " in script and "#SBATCH --no-requeue" in script for script in scripts)
    search = "find / -path /proc -prune -o -path /sys -prune -o -name '*_submission.sh' -print"
    assert scene.agent(search).stdout == ""


def test_a_forged_result(scene: Scene) -> None:
    """Attack: write the trial's record oneself, wherever a record might be looked for, and crash.

    Defence: the runner outside writes the record, into a folder that is in no mount.
    """
    record = '{"version":1,"index":0,"outcome":"clean","note":"","exit_code":0,"wall_s":1,"node":"gpu1"}'
    after = f"""
import os
import pathlib
import sys
places = ["/trial", "/trial/logs", "/tmp", "/home/trial", "/seal", "/trial/data", "/", {str(scene.paths.root)!r}]
for place in places:
    for name in ("00.json", "collected.json", "trials/00.json"):
        try:
            path = pathlib.Path(place, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text({record!r})
        except OSError:
            pass
print({record!r})
sys.stdout.flush()
os._exit(3)
"""
    trial, _ = scene.trial(scene.candidate(after=after))
    assert (trial.outcome, trial.exit_code) == (TrialOutcome.CRASHED, 3)


_CALLS = """
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
numbers = dict(add_key=248, keyctl=250, request_key=249, io_uring_setup=425, userfaultfd=323, bpf=321,
               perf_event_open=298, open_by_handle_at=304)
for name, number in numbers.items():
    returned = libc.syscall(number, 0, 0, 0, 0, 0)
    print(name, "went through" if returned != -1 else errno.errorcode[ctypes.get_errno()])
for family in range(socket.AF_NETLINK + 30):
    try:
        socket.socket(family, socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_DGRAM).close()
        print("family", family)
    except OSError:
        pass
"""


def test_calls_of_the_kernel_that_lead_out(scene: Scene, inside: str) -> None:
    """Attack: key rings of the host's user, a hypervisor's socket, io_uring, and what else has no namespace.

    Defence: a filter of the kernel's, for the agent's container and for a trial's.
    """
    printed = run(scene, inside, f"python3 - <<'END'\n{_CALLS}\nEND").splitlines()
    names = ("add_key", "keyctl", "request_key", "io_uring_setup", "userfaultfd", "bpf", "perf_event_open")
    for name in (*names, "open_by_handle_at"):
        assert f"{name} EPERM" in printed
    families = {int(line.split()[1]) for line in printed if line.startswith("family")}
    assert families == {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
