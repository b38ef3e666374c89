"""The static rules in a process of their own: the candidate's text is hostile, and must not take the desk along."""

import json
import signal
import sys
from collections.abc import Mapping
from typing import Final

from slurm_bench.effects import processes
from slurm_bench.effects.static_child import CPU_S, MEMORY
from slurm_bench.pure import review
from slurm_bench.pure.remarks import Remark, unreadable
from slurm_bench.pure.review import Review
from slurm_bench.pure.static_rules import longest
from slurm_bench.words.errors import InfrastructureError

_WALL_S: Final = 10 * CPU_S
_OWN_FAULT: Final = (-signal.SIGXCPU, -signal.SIGSEGV, -signal.SIGABRT)
"""How a process ends that read more than it may; SIGKILL is the node's, for its own memory or its operator."""


def check(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> Review:
    """The review of a candidate, within limits; what cannot be read within them breaks the rule that it can be.

    Raises:
        InfrastructureError: the checker failed for another reason.
    """
    question = json.dumps({"baseline": dict(baseline), "candidate": dict(candidate)})
    argv = [sys.executable, "-I", "-m", "slurm_bench.effects.static_child"]
    try:
        done = processes.run(argv, timeout_s=_WALL_S, text_in=question)
    except processes.TimedOut as error:
        raise InfrastructureError(f"the static checker: {error}") from None
    if done.exit_code in _OWN_FAULT:
        message = f"cannot be read within {CPU_S} s and {MEMORY // 2**30} GiB"
        return review.of([unreadable(longest(candidate), message)])
    if done.exit_code == -signal.SIGKILL:
        raise InfrastructureError("the static checker was killed, as a node does whose memory is full: ask again")
    if done.exit_code:
        raise InfrastructureError(f"the static checker failed: {done.stderr.rpartition(chr(10))[2]}")
    return review.of(Remark(**remark) for remark in json.loads(done.stdout))
