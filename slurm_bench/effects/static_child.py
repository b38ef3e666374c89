"""The process that reads a candidate: {"baseline": …, "candidate": …} on standard input, remarks on standard output.

It imports the standard library and the rules only: a submission waits for its start.
"""

import json
import resource
import sys
from dataclasses import asdict
from typing import Final

from slurm_bench.pure import static_rules

CPU_S: Final = 60
MEMORY: Final = 4 * 2**30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.set_int_max_str_digits(0)  # a long number is text to us
    question = json.load(sys.stdin)
    found = static_rules.remarks(question["baseline"], question["candidate"])
    print(json.dumps([asdict(remark) for remark in found]))


if __name__ == "__main__":
    main()
