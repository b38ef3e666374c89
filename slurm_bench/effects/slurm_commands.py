"""Slurm's own commands, asked one question at a time: in a clean environment, with a limit, failures told apart."""

import os
from collections.abc import Mapping
from pathlib import Path

from slurm_bench.effects import processes
from slurm_bench.words.errors import SchedulerError, UsageError

_TIMEOUT_S = 60


def environment(slurm_conf: str | None) -> dict[str, str]:
    """What names the cluster to its commands, and to the jobs that call them.

    Raises:
        UsageError: there is no such file.
    """
    if slurm_conf and not Path(slurm_conf).exists():
        raise UsageError(f"cluster.slurm_conf: no file {slurm_conf}; is the cluster up? (scripts/dev_cluster up)")
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


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
