"""The only place that starts processes. Commands are argument lists; there is no shell."""

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.records import Record

# What srun and sbatch leave behind for a job's program would steer the next sbatch from inside it; SLURM_CONF
# says where the cluster is and must stay.
_SCHEDULER_PREFIXES = (
    "SLURM_", "SUBMITIT_", "SACCT_", "SACCTMGR_", "SALLOC_", "SATTACH_", "SBATCH_", "SCANCEL_", "SCONTROL_",
    "SCRONTAB_", "SDIAG_", "SINFO_", "SPRIO_", "SQUEUE_", "SREPORT_", "SRUN_", "SSHARE_", "SSTAT_", "STRIGGER_",
)  # fmt: skip
"""Variables by which each of Slurm's commands takes options that its command line does not show."""
_KEPT = frozenset({"SLURM_CONF"})

_WATCH_S = 1.0
_GRACE_S = 5.0
"""For srun to end its step before it is ended itself."""
_PASSED_ON = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
_LATE_S = 0.5
_STOP_S = 30.0
"""For processes that are in the middle of what cannot be interrupted, e.g. on a network file system."""
_ASLEEP_S = 0.5
"""Of processor time that processes which stand still cannot use."""
_STOP_POLL_S = 0.02
_SURE_PASSES = 2
"""Looks at a family in a row that find nobody running: a child may be born during the first of them."""
_AT_REST = "TtZX"
_WAITING = "D"
"""Linux's letters for threads that are stopped, or over."""
_DEAF_IN_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, and that a command expects to end it."""


@dataclass(frozen=True)
class Completed:
    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Captured:
    exit_code: int
    stdout: bytes
    stderr: str


class TimedOut(Exception):
    """A process outlived its limit and was ended with all its children."""


def run(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, text_in: str = "") -> Completed:
    """Run a short command to its end and capture what it says.

    Args:
        text_in: what it reads on its standard input.

    Raises:
        FileNotFoundError: no such program.
        TimedOut: it took longer than timeout_s.
    """
    try:
        done = subprocess.run(
            argv,
            env=env,
            input=text_in,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{argv[0]} gave no answer in {timeout_s:g} s") from None
    return Completed(done.returncode, done.stdout, done.stderr.strip())


def capture(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str], bytes_in: bytes = b"") -> Captured:
    """Run a command that starts others (git) to its end, without a terminal, and capture its bytes.

    Args:
        bytes_in: what it reads on its standard input.

    Raises:
        FileNotFoundError: no such program.
        TimedOut: it took longer than timeout_s; its children are ended with it.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            stdout, stderr = process.communicate(bytes_in, timeout=timeout_s)
        except BaseException as error:
            end_tree(process.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimedOut(f"{argv[0]} gave no answer in {timeout_s:g} s") from None
            raise
    return Captured(_exit_code(process.returncode), stdout, stderr.decode("utf-8", "replace").strip())


def run_logged(
    argv: Sequence[str],
    *,
    timeout_s: float,
    output: Path,
    most_output: int | None = None,
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Run a long command to its end, its output into a file; return its exit code (128+n for signal n).

    Args:
        most_output: bytes that are kept; a command that prints more finds its output closed.
        watch: called every second; what it raises ends the command and is passed on.

    Raises:
        TimedOut: it took longer than timeout_s.
    """
    process = start(argv, output=output, most_output=most_output)
    # A wait without a limit returns at the end itself; one with a limit looks for it twenty times a second.
    waiter = threading.Thread(target=process.wait, daemon=True)
    deadline = time.monotonic() + timeout_s
    try:
        waiter.start()
        while _is_alive_after(waiter, min(_WATCH_S, deadline - time.monotonic())):
            watch()
            if time.monotonic() >= deadline:
                raise TimedOut(f"ended after {timeout_s:g} s")
    except BaseException:
        end_tree(process.pid, grace_s=_GRACE_S)
        raise
    finally:
        end_tree(process.pid)
        code = process.wait()
    return _exit_code(code)


def _is_alive_after(thread: threading.Thread, timeout_s: float) -> bool:
    thread.join(max(0, timeout_s))
    return thread.is_alive()


@dataclass(frozen=True)
class Ended:
    exit_code: int
    """128+n for signal n."""
    by_parent: bool
    """Whether our parent asked for it with SIGTERM."""


def run_in_place(argv: Sequence[str]) -> Ended:
    """Run a command to its end as if it were ourselves: our streams, environment and process group, our signals.

    Our parent's signals are not passed on: where it is the scheduler, every process of the job has them already,
    and a second SIGTERM would disturb one that is tidying up. From here on we outlive those signals.

    Raises:
        OSError: no such program.
    """
    awaited = {signal.SIGCHLD, *_PASSED_ON}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    pid, by_parent = os.posix_spawnp(argv[0], [*argv], os.environ, setsigmask=before, setsigdef=_DEAF_IN_PYTHON), False
    while not (waited := os.waitpid(pid, os.WNOHANG))[0]:
        came = signal.sigwaitinfo(awaited)
        if came.si_pid == os.getppid():
            by_parent |= came.si_signo == signal.SIGTERM
        elif came.si_signo in _PASSED_ON:
            os.kill(pid, came.si_signo)
    code = _exit_code(os.waitstatus_to_exitcode(waited[1]))
    # Slurm signals one process after the other, and the command may have ended of it before it is our turn.
    late = signal.sigtimedwait({signal.SIGTERM}, _LATE_S if code else 0)
    return Ended(code, by_parent or (late is not None and late.si_pid == os.getppid()))


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def start(argv: Sequence[str], *, output: Path, most_output: int | None = None) -> "subprocess.Popen[bytes]":
    """Start a process as the head of a session of its own, so that it can be ended with its children."""
    with output.open("ab") as file, _capped(file, most_output) as stream:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )


def start_piped(argv: Sequence[str], *, errors: Path, most_errors: int) -> "subprocess.Popen[bytes]":
    """The same with its standard output for us to read; what it says otherwise goes into a file."""
    with errors.open("ab") as file, _capped(file, most_errors) as stream:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, start_new_session=True
        )


@contextmanager
def _capped(file: IO[bytes], most: int | None) -> Iterator[IO[bytes]]:
    """The file itself, or a pipe into it that closes after so many bytes (and outlives us, as a file would)."""
    if most is None:
        yield file
        return
    # tee writes what it reads as it comes, and reads on where the file system is full: that is not the command's fault.
    argv = ["tee", "--append", "--", file.name]
    keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    assert keeper.stdin is not None
    size, (_, hard) = file.tell() + most, resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY or size < hard:
        resource.prlimit(keeper.pid, resource.RLIMIT_FSIZE, (size, size))  # the kernel ends what writes beyond it
    resource.prlimit(keeper.pid, resource.RLIMIT_CORE, (0, 0))
    with keeper.stdin as pipe:
        yield pipe


class ProcessIdentity(Record):
    """A process across our own restarts: its host and number, and its start, because numbers come again."""

    host: str
    boot: str = ""
    """Of the host, whose numbers begin anew with each; empty in older records."""
    pid: int
    created: float

    @property
    def is_of_this_host(self) -> bool:
        return self.host == host()


def host() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def _boot() -> str:
    """By which a kernel names the time since it started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessIdentity:
    """Return the identity of a process of this host."""
    return ProcessIdentity(host=host(), boot=_boot(), pid=pid, created=psutil.Process(pid).create_time())


def own_start() -> float:
    """When this process started, and with it the shell that became it (epoch seconds)."""
    since_boot = psutil.Process().create_time() - psutil.boot_time()
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether it runs, as far as this host can know: a process of another host is a stranger here."""
    process = _process(identity)
    try:
        return process is not None and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _process(identity: ProcessIdentity) -> psutil.Process | None:
    """The process of this identity, also if it is a zombie; None where there is none any more."""
    if not identity.is_of_this_host or identity.boot not in ("", _boot()):
        return None
    try:
        process = psutil.Process(identity.pid)
        return process if abs(process.create_time() - identity.created) < 1 else None
    except psutil.NoSuchProcess:
        return None


def terminate(identity: ProcessIdentity) -> None:
    """Ask a process of this host, and no other that has its number by now, to end (SIGTERM)."""
    process = _process(identity)
    if process is not None:
        _signal_all([process], signal.SIGTERM)


def end_tree(pid: int, grace_s: float = 0.0) -> None:
    """End a process that `start` started, and its descendants; with a grace, ask first (SIGTERM)."""
    family = _family(pid)
    if grace_s:
        _signal_all(family, signal.SIGTERM)
        _, family = psutil.wait_procs(family, timeout=grace_s)
    _signal_all(family, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; none if it is gone."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def held(head: ProcessIdentity) -> Iterator[None]:
    """Keep a process and its descendants from running; what ran before goes on afterwards.

    Raises:
        InfrastructureError: one of them cannot be stopped, or woke up meanwhile: a timer can do that.
    """
    stopped: set[psutil.Process] = set()
    try:
        _stop(head, stopped)
        before_s = used_s(head)
        yield
        if used_s(head) - before_s > _ASLEEP_S:
            raise InfrastructureError("the agent used the processor while it had to stand still")
    finally:
        _signal_all(list(stopped), signal.SIGCONT)


def _stop(head: ProcessIdentity, stopped: set[psutil.Process]) -> None:
    """Stop all that run and note them, again and again: until it stands still one of them may fork."""
    deadline = time.monotonic() + _STOP_S
    passes_at_rest = 0
    while passes_at_rest < _SURE_PASSES:
        family = _family(head.pid) if _process(head) else []
        # Who waits in the kernel, e.g. for a FUSE server that stands still already, stops before it goes on.
        running = [each for each in family if _runs(each, _AT_REST + (_WAITING if each in stopped else ""))]
        if running and time.monotonic() > deadline:
            raise InfrastructureError(f"process {running[0].pid} cannot be stopped")
        stopped.update(running)
        _signal_all(running, signal.SIGSTOP)
        passes_at_rest = 0 if running else passes_at_rest + 1
        time.sleep(_STOP_POLL_S)


def used_s(head: ProcessIdentity) -> float:
    """Processor time of a process, its descendants and what they have ended."""
    used = 0.0
    for process in _family(head.pid) if _process(head) else []:
        with suppress(psutil.Error):
            used += sum(process.cpu_times()[:4])
    return used


def is_held(head: ProcessIdentity) -> bool:
    """Whether a process is there and stands still."""
    process = _process(head)
    return process is not None and not _runs(process)


def _runs(process: psutil.Process, at_rest: str = _AT_REST) -> bool:
    """Whether any thread does: a program whose first thread has ended looks like a zombie."""
    try:
        threads = list(Path("/proc", str(process.pid), "task").iterdir())
        states = [(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads]
    except OSError:
        return process.is_running()  # a thread has ended meanwhile: the next look tells
    return any(state not in at_rest for state in states)


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a surrounding job's scheduler put there."""
    return {
        name: value for name, value in environment.items() if name in _KEPT or not name.startswith(_SCHEDULER_PREFIXES)
    }


@contextmanager
def outside_any_job() -> Iterator[None]:
    """Let libraries that start programs themselves (submitit) see the clean environment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(clean_environment(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def shielded_children() -> Iterator[None]:
    """Children started inside are deaf to Ctrl-C and a closed terminal: they are jobs, and outlive the desk.

    They inherit what is blocked here; a signal that comes meanwhile reaches us afterwards.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
