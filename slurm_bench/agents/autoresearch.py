"""Autoresearch: Claude Code that follows a program of one file, one branch, a table of results, keep or discard."""

from collections.abc import Sequence

from slurm_bench.agents.claude import Claude


class Autoresearch(Claude):
    first_prompt: Sequence[str] = ("problem", "rules", "execution", "program")
