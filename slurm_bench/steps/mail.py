"""What an agent has asked for and not heard of: `submit` and `experiment` wait only as long as its program runs."""

from collections.abc import Collection

from slurm_bench.effects import store
from slurm_bench.steps import experiments, link
from slurm_bench.words.experiments import ExperimentNote
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.verdicts import Verdict


class Mail:
    def __init__(self, paths: SessionPaths) -> None:
        self._paths = paths

    def unanswered(self) -> set[str]:
        """Return the requests that wait for their verdict, and those for experiments that are not over."""
        return link.unanswered(self._paths) | experiments.waiting_of(self._paths)

    def news(self, requests: Collection[str]) -> str:
        """Return what has come of these so far, in words for the agent; empty where nothing has."""
        given = [store.read_if_there(self._paths.verdict_in_inbox(each), Verdict) for each in requests]
        lines = [f"- {each.candidate}: {each.outcome}: {each.reason}" for each in given if each]
        notes = [store.read_if_there(self._paths.experiment_note(each), ExperimentNote) for each in requests]
        lines += [f"- experiment {each.number}, {each.path}: {_end(each)}" for each in notes if each and _is_over(each)]
        return "\n".join(["What came meanwhile:", *lines]) if lines else ""


def _is_over(note: ExperimentNote) -> bool:
    return note.state == "over"


def _end(note: ExperimentNote) -> str:
    why = f", {note.note}" if note.note else ""
    return f"exit code {note.exit_code}{why} ($BENCHMARK_INBOX/experiments/{note.number})"
