"""The static rules in a process of their own: the candidate's text is hostile, and must not take the desk along.

python -I -m slurm_bench.effects.static_checker < {"baseline": …, "candidate": …}
"""

import json
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Final

from slurm_bench.effects import processes
from slurm_bench.pure import static_rules
from slurm_bench.pure.static_rules import Review
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.opinions import Finding

CPU_S: Final = 60
MEMORY: Final = 4 * 2**30
_WALL_S: Final = 10 * CPU_S
_OWN_FAULT: Final = (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT)
"""How a process ends that read more than it may."""


def review(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Review:
    """static_rules.review, within limits; what cannot be read within them breaks the rule that it can be.

    Raises:
        InfrastructureError: the checker failed for another reason.
    """
    question = json.dumps({"baseline": dict(baseline), "candidate": dict(candidate)})
    argv = [sys.executable, "-I", "-m", __name__]
    try:
        done = processes.run(argv, timeout_s=_WALL_S, text_in=question)
    except processes.TimedOut as error:
        raise InfrastructureError(f"the static checker: {error}") from None
    if done.exit_code in _OWN_FAULT:
        message = f"cannot be read within {CPU_S} s and {MEMORY // 2**30} GiB"
        return Review(findings=(Finding(rule="readable", message=message, file=static_rules.longest(candidate)),))
    if done.exit_code:
        raise InfrastructureError(f"the static checker failed: {done.stderr.rpartition(chr(10))[2]}")
    return Review.model_validate_json(done.stdout)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    question = json.load(sys.stdin)
    print(static_rules.review(question["baseline"], question["candidate"]).model_dump_json())


if __name__ == "__main__":
    main()
