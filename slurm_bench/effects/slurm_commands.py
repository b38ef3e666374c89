"""Slurm's own commands, asked one question at a time: in a clean environment, with a limit, failures told apart."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from slurm_bench.effects import processes
from slurm_bench.words.errors import JobRefused, SchedulerError, UsageError

TIMEOUT_S = 60
"""After which a command gives no answer."""
SHOW_PARTITIONS = ("scontrol", "--all", "--oneliner", "show", "partition")
"""Hidden ones too: whoever names one may use it."""
_INHERITED = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LD_LIBRARY_PATH", "SLURM_CONF")
"""What a job has of whoever queues it: it finds programs and folders by them, and none of them holds a key."""
_SLURMS_OWN = re.compile(r"(?:Batch job submission failed|allocation failure): (.*)")
"""The one line in which sbatch says what came of its question. Lines before it may be a site's own words."""
_NO_ANSWER = re.compile(
    r"contact|connect|timed out|zero bytes|communication|interrupted|temporar|header lengths|message", re.IGNORECASE
)
"""In that line where slurmctld did not answer: the job may have been queued all the same."""
_SPEAKER = re.compile(r"^(?:sbatch: )?(?:error: |fatal: )?(?:allocation failure: )?")


def environment(slurm_conf: str | None) -> dict[str, str]:
    """What names the cluster to its commands, and to the jobs that call them.

    Raises:
        UsageError: there is no such file.
    """
    if slurm_conf and not Path(slurm_conf).exists():
        raise UsageError(f"cluster.slurm_conf: no file {slurm_conf} (scripts/dev_cluster up makes that of cluster=dev)")
    return {"SLURM_CONF": slurm_conf} if slurm_conf else {}


def of_jobs(named: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that sbatch has and, with `--export=ALL`, a job.

    With NONE or a list of names the node would load the user's login environment; where that fails or
    hangs, a job of Slurm 25.05 or newer is cancelled before it begins.

    Args:
        named: the cluster's `environment`.
    """
    return {**{name: os.environ[name] for name in _INHERITED if name in os.environ}, **named}


def ask(named: Mapping[str, str], *argv: str) -> str:
    """Output of one of Slurm's commands; times in it are epoch seconds.

    Args:
        named: the cluster's `environment`.

    Raises:
        SchedulerError: it failed, or gave no answer. No answer is never an empty answer.
    """
    env = {**processes.clean_environment(os.environ), **named, "SLURM_TIME_FORMAT": "%s"}
    try:
        done = processes.run(argv, timeout_s=TIMEOUT_S, env=env)
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
    try:
        done = processes.run(["sbatch", "--test-only", str(script)], timeout_s=TIMEOUT_S, env=of_jobs(named))
    except (processes.TimedOut, OSError) as error:
        raise SchedulerError(str(error)) from None
    if done.exit_code == 0:
        return last_line(done.stderr).removeprefix("sbatch: ")
    raise (JobRefused if is_refusal(done.stderr) else SchedulerError)(words(done.stderr))


def is_refusal(said: str) -> bool:
    """Return whether sbatch says that it queued nothing; silence, as of one that was killed, is no refusal."""
    answers = _SLURMS_OWN.findall(said)
    if answers:
        return not _NO_ANSWER.search(answers[-1])
    return "error:" in said and not _NO_ANSWER.search(said)


def words(said: str) -> str:
    """Return in one line all that a failed command said, a site's own words too."""
    lines = (_SPEAKER.sub("", line.strip()) for line in said.splitlines() if not line.startswith("Try "))
    return "; ".join(dict.fromkeys(filter(None, lines))) or "no message"


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Try ")]
    return lines[-1] if lines else "no message"
