"""A real bash completes the choices of our groups, by Hydra's own script."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import LONG_S

BIN = Path(sys.executable).parent
COMPLETE = """
eval "$({install} -sc install=bash)" || exit
complete -p slurm_bench >&2 || exit
COMP_LINE={line} COMP_POINT={point} COMP_CWORD={word}
hydra_bash_completion
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completions(line: str, folder: Path, install: str = "slurm_bench") -> list[str]:
    script = COMPLETE.format(
        install=install, line=shlex.quote(line), point=len(line), word=len(line.split()) - (not line.endswith(" "))
    )
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    argv = ["bash", "--norc", "-c", script]
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.split()[-3:] == ["-F", "hydra_bash_completion", "slurm_bench"]
    assert len(done.stderr.splitlines()) == 1
    assert not list(folder.iterdir())
    return done.stdout.split()


@pytest.mark.parametrize("install", ["slurm_bench", "python -m slurm_bench"])
@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("slurm_bench agent=", {"agent=claude", "agent=codex", "agent=codex_azure", "agent=scripted"}),
        ("slurm_bench agent=cl", {"agent=claude"}),
        ("slurm_bench command=", {"command=run", "command=budget", "command=report", "command=doctor"}),
        ("slurm_bench command=budget command.", {"command.format=", "command.guard="}),
        (f"{BIN}/slurm_bench -m cluster=", {"cluster=dev", "cluster=local", "cluster=slurm"}),
    ],
)
def test_bash_offers(line: str, choices: set[str], install: str, tmp_path: Path) -> None:
    offered = completions(line, tmp_path, install)
    assert choices <= set(offered)
    assert all(each.startswith(line.rsplit(maxsplit=1)[-1]) for each in offered)


def test_a_word_that_begins_no_choice_offers_none(tmp_path: Path) -> None:
    assert completions("slurm_bench agent=nobody", tmp_path) == []
