"""What an agent has handed in and not heard of: `submit` waits for a verdict only as long as its program runs."""

from collections.abc import Collection

from slurm_bench.effects import store
from slurm_bench.steps import link
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.verdicts import Verdict


class Mail:
    def __init__(self, paths: SessionPaths) -> None:
        self._paths = paths

    def unanswered(self) -> set[str]:
        """Requests that wait for their verdict."""
        return link.unanswered(self._paths)

    def verdicts(self, requests: Collection[str]) -> str:
        """The verdicts on these as far as they have come, in words for the agent; empty where none has."""
        found = [store.read_if_there(self._paths.verdict_in_inbox(each), Verdict) for each in requests]
        lines = [f"- {each.candidate}: {each.outcome}: {each.reason}" for each in found if each]
        return "\n".join(["Verdicts that came meanwhile:", *lines]) if lines else ""
