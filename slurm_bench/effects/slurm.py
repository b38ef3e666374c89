"""A Slurm cluster. submitit queues; states and usage we read ourselves, from squeue and the accounting: submitit's
own poller warns and goes on where a budget must stop."""

import hashlib
import math
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from slurm_bench.effects import folders, polling, slurm_commands
from slurm_bench.effects.accounting import Accounting, OwnRecord, Sacct
from slurm_bench.effects.cluster import RECOVERY, Job, Queued
from slurm_bench.pure import sacct, slurm_settings
from slurm_bench.words.accounting import Attempt, JobState, Observation
from slurm_bench.words.config import ClusterConfig
from slurm_bench.words.errors import JobRefused, SchedulerError, UsageError

_MARGIN = timedelta(days=1)
"""By which our clock and slurmctld's may differ, time zones too. Names are unique: time only narrows a question."""
_CANCELS, _CANCEL_S = 10, 0.5
_GOES_ON = "PENDING,RUNNING,SUSPENDED,REQUEUED"
"""States of a job that a cancellation did not reach."""
_MOST_NAMES = 1000
"""In one question: Linux takes no argument that is longer than 128 KiB."""

_QUEUED = re.compile(r"^Submitted batch job (\d+)", re.MULTILINE)

# All of the allocation's cores go to the one task.
STEP = ("srun", "--ntasks=1", "--nodes=1", "--export=ALL", "--kill-on-bad-exit=1")


class _CommandExecutor(submitit.SlurmExecutor):
    """submitit's sbatch script around a plain command: where nothing is pickled, no pickle can be forged.

    submitit advises against this because its Job waits for a pickled result; we never ask its Job for anything. Two of
    its steps are done otherwise: sbatch has a time limit and an environment, and only its own line names the job.

    Args:
        environment: of sbatch, and of the job.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder)
        self._environment = environment

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        limit = ["timeout", "--kill-after=5", str(slurm_commands.TIMEOUT_S)]
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        return ["env", "-i", *variables, *limit, *super()._make_submission_command(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        said = string if isinstance(string, str) else string.decode(errors="replace")
        queued = _QUEUED.findall(said)
        if not queued:
            raise FailedSubmissionError(f"no job's number in {said!r}")
        return str(queued[-1])

    def queue(self, command: str, tasks: int) -> str:
        """Queue an array that runs `command TASK`, and return its job id."""
        self.parameters["map_count"] = tasks
        return str(self._submit_command(_of_task(command)).job_id)

    def script(self, command: str, tasks: int) -> str:
        """The text that `queue` gives to sbatch."""
        self.parameters["map_count"] = tasks
        return str(self._make_submission_file_text(_of_task(command), uid=""))


def _of_task(command: str) -> str:
    return f'{command} "$SLURM_ARRAY_TASK_ID"'


class SlurmCluster:
    """
    Args:
        usage: folder for a record of our own, one folder a job; used where the site keeps none.
    """

    def __init__(self, config: ClusterConfig, usage: Path) -> None:
        self._environment = slurm_commands.environment(config.slurm_conf)
        self._accounting = self._accounting_of(config, usage)
        needed = ("sbatch", "squeue", *self._accounting.programs, "scancel", "srun", "scontrol")
        missing = [name for name in needed if not shutil.which(name)]
        if missing:
            raise UsageError(
                f"cluster.kind=slurm needs {', '.join(missing)} on the PATH: "
                "run it on a login node, or take cluster=local"
            )
        self._config = config
        # What our own record says is for the desks that share it.
        shared = usage / "poll" if config.accounting == "own" else Path(config.shared_poll)
        folder = shared / f"{os.getuid()}-{_digest_of_cluster(config)}"
        if not folders.may_write(folder):
            # He may look, or others closed it to him: no desk of his asks the more seldom for it.
            self._alone = tempfile.TemporaryDirectory(prefix="slurm_bench-poll-")
            folder = Path(self._alone.name)
        self._poll = polling.SharedPoll(folder, config.poll_seconds, self._ask_for_all)

    def _accounting_of(self, config: ClusterConfig, usage: Path) -> Accounting:
        if config.accounting == "own":
            return OwnRecord(usage, self._ask, config.absent_grace_seconds, lambda: self.overrun_s)
        return Sacct(self._ask)

    @property
    def accounting(self) -> str:
        return self._accounting.name

    @property
    def step(self) -> tuple[str, ...]:
        return STEP

    def step_beside(self, gpus: int) -> tuple[str, ...]:
        # Since Slurm 22.05 --overlap shares GPUs too; before, such a step waits until the others end.
        return (*self.step, "--overlap", f"--{self._gpu_request(gpus)}")

    def _gpu_request(self, gpus: int) -> str:
        return self._config.gpu_request.format(type=self._config.gpu_type, count=gpus)

    @cached_property
    def overrun_s(self) -> int:
        site = slurm_settings.settings(self._ask("scontrol", "show", "config"))
        self._accounting.check(site)
        partitions = self._ask(*slurm_commands.SHOW_PARTITIONS)
        return slurm_settings.overrun_s(site, slurm_settings.over_time_limits(partitions, self._config.partition))

    def submit(self, job: Job) -> str:
        folders.make(job.folder)
        command = shlex.join(self._accounting.accounted(job))
        try:
            return self._executor(job).queue(command, job.tasks)
        except FailedJobError as error:
            said = f"{job.name}: {slurm_commands.words(str(error))}"
            if slurm_commands.is_refusal(str(error)):
                raise JobRefused(f"sbatch refused {said}") from None
            raise SchedulerError(f"sbatch gave no answer for {said}") from None
        except FailedSubmissionError as error:
            first, *_ = str(error).splitlines()
            raise SchedulerError(f"sbatch answered for {job.name} what cannot be read: {first}") from None

    def try_out(self, job: Job) -> str:
        """What sbatch foresees for a job, which it does not queue: when and where it would start.

        Raises:
            JobRefused: it would not take it; its words.
            SchedulerError: no answer.
        """
        folders.make(job.folder)
        script = job.folder / "try_out.sh"
        script.write_text(self._executor(job).script(shlex.join(job.command), job.tasks))
        return slurm_commands.try_out(self._environment, script)

    def _executor(self, job: Job) -> _CommandExecutor:
        executor = _CommandExecutor(job.folder, slurm_commands.of_jobs(self._environment))
        executor.update_parameters(**self._parameters(job))
        return executor

    def _parameters(self, job: Job) -> dict[str, object]:
        config = self._config
        options = config.cpu_sbatch if job.cpu_only else config.sbatch
        # A requeued trial would be another trial; `of_jobs` says which environment "all" is.
        further: dict[str, object] = {**_placement(config, job), **options, **_start(job)}
        further |= {"no_requeue": True, "export": "ALL"}
        if job.gpus:
            option, _, value = self._gpu_request(job.gpus).partition("=")
            further[option] = value
        if job.gpus and config.gpu_cores and not job.exclusive:
            further["cpus-per-task"] = job.gpus * config.gpu_cores
        return {
            "job_name": job.name,
            "time": job.limit_minutes,
            "nodes": 1,
            "exclusive": job.exclusive or None,
            "array_parallelism": config.parallel,
            "wckey": None,  # submitit's own, which a site that tracks such keys does not know
            "setup": [*self._exports(), *_loading(config.modules), *config.setup],
            # The batch step is the trusted runner, and starts its own steps.
            "use_srun": False,
            # No signal before the limit: our own clocks end what runs too long.
            "signal_delay_s": 0,
            "additional_parameters": further,
        }

    def _exports(self) -> list[str]:
        return [f"export {name}={shlex.quote(value)}" for name, value in self._environment.items()]

    def find(self, name: str, since: datetime) -> str | None:
        queued = self._ask("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%A|%F").split()
        if queued:
            return queued[0].partition("|")[2]
        accounted = self.attempts([name], since)
        return accounted[0].job_id if accounted else None

    def look(self, jobs: Collection[Queued]) -> Mapping[str, Observation]:
        if not jobs:
            return {}
        answer = self._poll.answer(jobs)
        return {job.name: _observation(job, answer) for job in jobs}

    def _ask_for_all(self, names: frozenset[str], since: datetime) -> polling.Answer:
        asked_at, listed = datetime.now(UTC), ",".join(sorted(names))
        # squeue first: a task that ends between the two questions is then in the accounting, not in neither.
        queue = self._ask(
            "squeue", "--noheader", "--array", "--states=all", f"--name={listed}", f"--format={sacct.QUEUE_FORMAT}"
        )
        return polling.Answer(
            asked_at=asked_at,
            names=names,
            live=sacct.live_states(queue),
            attempts=tuple(self.attempts(names, since)),
            cancelled_rests=sacct.cancelled_rests(queue),
            stuck=sacct.stuck(queue),
        )

    def attempts(self, names: Iterable[str], since: datetime) -> list[Attempt]:
        wanted = sorted(set(names))
        parts = [wanted[first : first + _MOST_NAMES] for first in range(0, len(wanted), _MOST_NAMES)]
        rows = sacct.merged(*(self._accounting.attempts(part, since - _MARGIN) for part in parts))
        return [row for row in rows if row.job_name in wanted]

    def is_queued(self, name: str) -> bool:
        """Whether the job of this name waits, runs or comes to its end.

        Raises:
            SchedulerError: no answer.
        """
        return bool(self._ask("squeue", "--noheader", f"--name={name}", "--format=%T").split())

    def ends_at(self, job_id: str) -> float:
        """When a running job meets its time limit (epoch seconds); infinite if it has none.

        Raises:
            SchedulerError: no answer.
        """
        said = self._ask("squeue", "--noheader", f"--jobs={job_id}", "--format=%e").strip()
        return float(said) if said.isdigit() else math.inf

    def expected_starts(self, names: Collection[str]) -> Mapping[str, datetime]:
        if not names:
            return {}
        listed = ",".join(sorted(names))
        rows = self._ask("squeue", "--noheader", "--states=PENDING", f"--name={listed}", "--format=%j|%S")
        found = (row.strip().partition("|") for row in rows.splitlines())
        return {name: datetime.fromtimestamp(int(start), UTC) for name, _, start in found if start.isdigit()}

    def cancel(self, name: str) -> None:
        for _ in range(_CANCELS):
            self._ask("scancel", f"--name={name}")
            left = self._ask("squeue", "--noheader", f"--name={name}", f"--states={_GOES_ON}", "--format=%i|%T")
            if not left:
                return
            time.sleep(_CANCEL_S)
        raise SchedulerError(f"scancel answered, but {name} goes on: {', '.join(left.split())}")

    def _ask(self, *argv: str) -> str:
        return slurm_commands.ask(self._environment, *argv)


def _placement(config: ClusterConfig, job: Job) -> dict[str, object]:
    """Where a job may run, and on whose account."""
    names = ("account", "qos") if job.cpu_only else ("account", "qos", "reservation", "constraint")
    placement = {name: getattr(config, name) for name in names}
    placement["partition"] = (config.cpu_partition if job.cpu_only else None) or config.partition
    return {name: value for name, value in placement.items() if value}


def _loading(modules: Sequence[str]) -> list[str]:
    """Shell lines that load environment modules; a job's shell is no login shell, which alone would know how."""
    if not modules:
        return []
    return ["command -v module >/dev/null || . /etc/profile", f"module load {shlex.join(modules)} || exit 1"]


def _start(job: Job) -> dict[str, object]:
    """What has to come before it."""
    start: dict[str, object] = {"dependency": f"afterany:{job.after}"} if job.after else {}
    if job.begin is not None:
        wait_s = (job.begin - datetime.now(UTC)).total_seconds()
        start["begin"] = f"now+{max(0, math.ceil(wait_s))}"  # whose clock and time zone slurmctld has does not matter
    return start


def _observation(job: Queued, answer: polling.Answer) -> Observation:
    rows = tuple(row for row in answer.attempts if row.job_name == job.name)
    # Of a task that it does not list squeue alone cannot tell whether it waited or ran long ago: the accounting can,
    # unless it is only just back.
    listed = answer.cancelled_rests.get(job.name) if _is_steady(answer) else None
    rest = [task for task in range(job.tasks) if task not in listed] if listed is not None else []
    cancelled = dict.fromkeys(rest, JobState.CANCELLED)
    accounted = sacct.latest_states(rows)
    # A range's row of the accounting can be stale, and so can a task's own beside the queue's word. But where the
    # accounting has an end, a node that cannot be cleaned up holds nothing of ours.
    live = {
        task: state
        for task, state in answer.live.get(job.name, {}).items()
        if state is not JobState.COMPLETING or not (task in accounted and accounted[task].is_terminal)
    }
    states = {**cancelled, **accounted, **live}
    return Observation(answer.asked_at, states, frozenset(live), rows, answer.stuck.get(job.name, ""))


def _is_steady(answer: polling.Answer) -> bool:
    since = answer.answering_since
    return since is not None and answer.asked_at - since >= RECOVERY


def _digest_of_cluster(config: ClusterConfig) -> str:
    """What tells the answers of two clusters apart."""
    named = config.slurm_conf or os.environ.get("SLURM_CONF", "")
    return hashlib.sha256(named.encode()).hexdigest()[:8]
