"""Every failure that a person is told of, and the exit code that goes with it.

    BenchError                 1
    ├── UsageError             2   the command line, a config value, a file the caller named
    │   └── InvalidCandidate   2   a candidate that cannot be sealed
    ├── InfrastructureError    3   the site failed, nobody is to blame: ask again
    │   ├── SchedulerError     3   sbatch, squeue, sacct
    │   │   └── JobRefused     3   sbatch said no
    │   ├── Unsettled          3   a doubt that nobody has settled
    │   └── StorageError       3   the folder of runs cannot be read or written, and that does not pass
    ├── BudgetExceeded         4   the next job's worst case does not fit
    └── AgentFailed            5   the agent's program ended with an error

A message is one line: what happened, where, what to do.
"""


class BenchError(Exception):
    exit_code = 1


class UsageError(BenchError):
    exit_code = 2


class InvalidCandidate(UsageError):
    pass


class InfrastructureError(BenchError):
    exit_code = 3


class SchedulerError(InfrastructureError):
    pass


class JobRefused(SchedulerError):
    pass


class Unsettled(InfrastructureError):
    pass


class StorageError(InfrastructureError):
    pass


class BudgetExceeded(BenchError):
    """The worst case of a job does not fit what is left of the budget (all in H100-hours)."""

    exit_code = 4

    def __init__(self, what: str, worst_case: float, left: float, limit: float, *, spent: float) -> None:
        self.worst_case, self.left, self.limit = worst_case, left, limit
        self.for_good = worst_case > limit - spent
        """Whether it would not fit either if nothing of what is reserved came to be used."""
        reserved = limit - spent - left
        beside = f" ({reserved:.3f} are reserved for what is not over: ask again then)" if not self.for_good else ""
        super().__init__(f"{what} may cost {worst_case:.3f} H100-hours, but {left:.3f} of {limit:g} are left{beside}")


class AgentFailed(BenchError):
    exit_code = 5
