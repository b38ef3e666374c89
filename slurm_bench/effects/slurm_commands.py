"""Slurm's own commands, asked one question at a time: in a clean environment, with a limit, failures told apart."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from slurm_bench.effects import processes
from slurm_bench.words.errors import JobRefused, SchedulerError, UsageError

_TIMEOUT_S = 60
SHOW_PARTITIONS = ("scontrol", "--all", "--oneliner", "show", "partition")
"""Hidden ones too: whoever names one may use it."""
NO_ANSWER = re.compile(
    r"contact|connect|timed out|zero bytes|communication|interrupted|temporar|header lengths|message", re.IGNORECASE
)
"""In what sbatch says where slurmctld did not: the job may have been queued all the same."""


def environment(slurm_conf: str | None) -> dict[str, str]:
    """What names the cluster to its commands, and to the jobs that call them.

    Raises:
        UsageError: there is no such file.
    """
    if slurm_conf and not Path(slurm_conf).exists():
        raise UsageError(f"cluster.slurm_conf: no file {slurm_conf} (scripts/dev_cluster up makes that of cluster=dev)")
    return {"SLURM_CONF": slurm_conf} if slurm_conf else {}


def ask(named: Mapping[str, str], *argv: str) -> str:
    """Output of one of Slurm's commands; times in it are epoch seconds.

    Args:
        named: the cluster's `environment`.

    Raises:
        SchedulerError: it failed, or gave no answer. No answer is never an empty answer.
    """
    env = {**processes.clean_environment(os.environ), **named, "SLURM_TIME_FORMAT": "%s"}
    try:
        done = processes.run(argv, timeout_s=_TIMEOUT_S, env=env)
    except (processes.TimedOut, OSError) as error:
        raise SchedulerError(str(error)) from None
    if done.exit_code != 0:
        raise SchedulerError(f"{argv[0]} failed ({done.exit_code}): {last_line(done.stderr)}")
    return done.stdout


def try_out(named: Mapping[str, str], script: Path) -> str:
    """What sbatch foresees for a script, without queueing it.

    Raises:
        JobRefused: why it would not take it.
        SchedulerError: no answer.
    """
    env = {**processes.clean_environment(os.environ), **named}
    try:
        done = processes.run(["sbatch", "--test-only", str(script)], timeout_s=_TIMEOUT_S, env=env)
    except (processes.TimedOut, OSError) as error:
        raise SchedulerError(str(error)) from None
    said = last_line(done.stderr).removeprefix("sbatch: ")
    if done.exit_code == 0:
        return said
    kind = SchedulerError if NO_ANSWER.search(said) else JobRefused
    raise kind(said.removeprefix("error: ").removeprefix("allocation failure: "))


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Try ")]
    return lines[-1] if lines else "no message"
