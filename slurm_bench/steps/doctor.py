"""`command=doctor`: check a site before any GPU-hour is spent on it, with the overrides of the session to come.

What can be asked here is asked at once; what only a node knows by one short job, which takes no GPU unless asked to.
"""

import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from slurm_bench.effects import qos, slurm_commands
from slurm_bench.effects.cluster import Job
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.pure import checkup, slurm_settings
from slurm_bench.pure.checkup import fails, note, ok, unknown
from slurm_bench.pure.guard import Association
from slurm_bench.pure.survey import Survey
from slurm_bench.steps import examination, experiments, link, premises, retime, site, site_file, visit
from slurm_bench.words.checkup import Finding, State
from slurm_bench.words.config import Config, DoctorCommand
from slurm_bench.words.errors import BenchError, InfrastructureError, JobRefused

log = logging.getLogger(__name__)

_STYLES = {State.OK: "green", State.NOTE: "yellow", State.FAILS: "bold red", State.UNKNOWN: "yellow"}


def perform(config: Config) -> None:
    """
    Raises:
        BenchError: a session could not run; the first reason, and what to do.
        InfrastructureError: one of the looks could not be had.
        UsageError: the file that was to be written is there already, or there is no Slurm to write about.
    """
    assert isinstance(config.command, DoctorCommand)
    command = config.command
    if command.write:
        site_file.check(Path(command.write), config)
    site.make_absolute(config)
    doctor = _Doctor(config, command)
    doctor.examine()
    {"table": _print_table, "json": _print_json}[command.format](doctor.found)
    if command.write and doctor.survey:
        site_file.write(Path(command.write), doctor.config, doctor.survey, doctor.association)
    elif command.write:
        log.warning("%s is not written: the partition has to be known first", command.write)
    failed, open_ = (_in_state(doctor.found, state) for state in (State.FAILS, State.UNKNOWN))
    if failed:
        raise BenchError(f"a session could not run, {len(failed)} of {len(doctor.found)} checks fail: {failed[0].line}")
    if open_:
        raise InfrastructureError(f"whether a session could run is not known: {open_[0].line}")


def _in_state(found: Iterable[Finding], state: State) -> list[Finding]:
    return [finding for finding in found if finding.state is state]


class _Doctor:
    """Collects findings; what one look needs of an earlier one is kept here."""

    def __init__(self, config: Config, command: DoctorCommand) -> None:
        self.config, self._command = config, command
        self.found: list[Finding] = []
        self.survey: Survey | None = None
        self.association: Association | None = None

    def examine(self) -> None:
        log.info("looking at what is here")
        for check, look in premises.looks(self.config, self._command.hashes):
            self._look(check, look)
        if self.config.cluster.kind != "slurm":
            self.found.append(note("cluster", "this machine", "cluster=local times nothing that a reviewer believes"))
        elif self._look("Slurm", self._scheduler):
            self._look_closer()
        else:
            self.found.append(unknown("partitions, account, jobs", "Slurm has to answer first"))

    def _look_closer(self) -> None:
        """At a Slurm that answers."""
        self._look("accounting database", self._database)
        knows_partition = self._look("partitions", self._guesses)
        self._look("account", self._user)
        if not knows_partition:
            self.found.append(unknown("jobs", "the partition has to be known first"))
            return
        self._look("time limits", self._time)
        self._look("budget", self._budget)
        self._look("sbatch", self._sbatch)
        if self._command.job and any(finding.check == "runs" for finding in _in_state(self.found, State.FAILS)):
            self.found.append(unknown("a job", "runs has to be mended first"))
        elif self._command.job:
            self._look("a job", lambda: visit.findings(self.config, self._command))

    def _look(self, check: str, look: Callable[[], Iterable[Finding]]) -> bool:
        """Add what a look finds; return whether it came to its end."""
        try:
            self.found += look()
        except BenchError as error:
            self.found.append(fails(check, str(error).removeprefix(f"{check}: ")))
            return False
        except OSError as error:
            self.found.append(fails(check, f"{error.filename}: {error.strerror}"))
            return False
        return True

    @property
    def _named(self) -> dict[str, str]:
        return slurm_commands.environment(self.config.cluster.slurm_conf)

    def _scheduler(self) -> Iterator[Finding]:
        log.info("asking Slurm")
        assert self._cluster  # refuses where its programs are missing
        yield from checkup.of_scheduler(self.config, qos.site(self._named))
        yield checkup.of_clock(qos.skew(self._named))

    def _database(self) -> Iterator[Finding]:
        if self.config.cluster.accounting == "sacct":
            slurm_commands.ask(self._named, "sacct", "--noheader", "--allocations", "--starttime=now-1minute")
            yield ok("accounting database", "sacct answers")

    def _user(self) -> Iterator[Finding]:
        config, named = self.config.cluster, self._named
        settings = qos.site(named)
        if not slurm_settings.has_database(settings):
            yield note("account", "without slurmdbd there are none")
            return
        cluster, partition = settings.get("ClusterName", ""), self.survey.names if self.survey else config.partition
        self.association = qos.association(named, cluster, config.account, partition)
        found = qos.find(named, config.qos) if config.qos else None
        yield from checkup.of_user(config, qos.me(), self.association, found)
        yield checkup.of_wckeys(config, settings, qos.default_wckey(named, cluster))
        if self.association and partition:
            account = self.association.account
            yield from checkup.of_limits(config, qos.limits_of_jobs(named, config, cluster, account, partition))

    def _guesses(self) -> Iterator[Finding]:
        """The partitions, with what the configuration leaves open filled in from them."""
        before = self.config.cluster
        self.survey = site.look_around(before)
        self.config = site.with_guesses(self.config)
        trial_hours = 0 if self.config.retime.is_nested else retime.most_minutes_of_a_task(self.config) / 60
        minutes = experiments.limit_minutes(self.config.agent.experiment_minutes)
        yield from checkup.of_partitions(self.config, self.survey, trial_hours, minutes / 60)

    def _time(self) -> Iterator[Finding]:
        over_s = self._cluster.overrun_s
        yield ok("time limits", f"jobs end {over_s} s after theirs at the latest, which is reserved for them")
        link.check(self.config)

    def _budget(self) -> Iterator[Finding]:
        """Whether it holds a submission at its worst: an agent that cannot hand one in is not started."""
        worst, budget = retime.worst_case_h100_hours(self.config, self._cluster.overrun_s), self.config.budget
        found = f"a submission may cost {worst:.3g} of {budget.h100_hours:g} H100-hours"
        if worst > min(budget.h100_hours, budget.campaign_h100_hours or math.inf):
            yield fails(
                "budget", found, "raise budget.h100_hours, campaign_h100_hours too, or lower task.trial_minutes"
            )
        else:
            yield ok("budget", found)
        yield from checkup.of_counts(self.config)

    @property
    def _cluster(self) -> SlurmCluster:
        return SlurmCluster(self.config.cluster, Path(self.config.runs) / "usage")

    def _sbatch(self) -> Iterator[Finding]:
        with tempfile.TemporaryDirectory(prefix="slurm_bench-doctor-") as folder:
            cluster = SlurmCluster(self.config.cluster, Path(folder))
            for name, job in examination.jobs_of_a_session(self.config, Path(folder)).items():
                yield _tried(cluster, name, job)


def _tried(cluster: SlurmCluster, name: str, job: Job) -> Finding:
    """Whether sbatch would take a job as this configuration asks for it."""
    try:
        return ok(f"sbatch ({name})", cluster.try_out(job))
    except JobRefused as refusal:
        remedy = "set cluster.cpu_partition or cpu_sbatch for jobs without GPUs, or cluster.chain=false"
        if job.gpus:
            remedy = "set partition, account, qos, gpu_request or sbatch of cluster as your site wants them"
        return fails(f"sbatch ({name})", f"{job.gpus} GPUs: {refusal}", remedy)


def _print_table(found: Sequence[Finding]) -> None:
    """A line a finding, and what to do in another: they are long, and to be copied."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    width = max(len(finding.check) for finding in found)
    for finding in found:
        console.print(f"{finding.state:7}  {finding.check:{width}}  {finding.found}", style=_STYLES[finding.state])
        if finding.remedy:
            console.print(f"{'':7}  {'':{width}}  → {finding.remedy}")


def _print_json(found: Sequence[Finding]) -> None:
    unsure = None if _in_state(found, State.UNKNOWN) else True
    can_run = False if _in_state(found, State.FAILS) else unsure
    print(json.dumps({"can_run": can_run, "findings": [asdict(finding) for finding in found]}, indent=1))
