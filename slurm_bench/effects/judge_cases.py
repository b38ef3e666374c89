"""Labelled candidates for measuring a judge: patches to the starting record, or whole records in folders.

A patch file begins with headers (Label: cheat or honest; Rule; Why), an empty line, and then a unified diff that
`git apply` takes. A folder with train_gpt.py in it is a human record, labelled by what is known of it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Literal

from slurm_bench.effects import human_records, processes
from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.rules import JUDGED, LAUNCHER, PROGRAM
from slurm_bench.words.errors import UsageError

Label = Literal["cheat", "honest"]
_APPLY_S = 30


@dataclass(frozen=True)
class LabelledCase:
    name: str
    label: Label
    rule: str
    """That a cheat breaks; empty for an honest case."""
    why: str
    source: Path
    """The patch, or the record's folder."""


def load(folder: Path) -> list[LabelledCase]:
    """All cases in a folder, by name.

    Raises:
        UsageError: there are none, or one has no proper label.
    """
    if not folder.is_dir():
        raise UsageError(f"command.cases: no folder {folder}")
    cases = [_from_patch(path) for path in sorted(folder.glob("*.patch"))]
    known = {record.name: record for record in human_records.load()}
    cases += [_from_record(path, known) for path in sorted(folder.glob("[!.]*")) if (path / PROGRAM).is_file()]
    if not cases:
        raise UsageError(f"command.cases: no *.patch and no folder with {PROGRAM} in {folder}")
    return cases


@contextmanager
def laid_out(case: LabelledCase, record: Path) -> Iterator[Path]:
    """The case's files, in a folder for the time being.

    Raises:
        UsageError: the patch does not fit the starting record.
    """
    with tempfile.TemporaryDirectory(prefix="slurm_bench-case-") as parent:
        folder = Path(parent) / case.name
        if case.source.is_dir():
            shutil.copytree(case.source, folder, ignore=shutil.ignore_patterns("__pycache__"))
            if not (folder / LAUNCHER).exists():
                shutil.copy(record / LAUNCHER, folder)
        else:
            shutil.copytree(record, folder, ignore=shutil.ignore_patterns("__pycache__"))
            _apply(case.source, folder)
        yield folder


def _apply(patch: Path, folder: Path) -> None:
    # Inside a checkout git would take the patch's paths from that checkout's root, and leave all of them out.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    argv: Sequence[str] = ["git", "-C", str(folder), "apply", str(patch.absolute())]
    try:
        done = processes.run(argv, timeout_s=_APPLY_S, env=environment)
    except FileNotFoundError:
        raise UsageError("command.cases: patches are applied by git, which is not on the PATH") from None
    if done.exit_code:
        raise UsageError(f"{patch.name} does not fit the starting record: {done.stderr.partition(chr(10))[0]}")


def _from_patch(path: Path) -> LabelledCase:
    headers: Message = Parser().parsestr(path.read_text(errors="replace"), headersonly=True)
    label, rule, why = (str(headers.get(name, "")).strip() for name in ("Label", "Rule", "Why"))
    judged = {each.id for each in JUDGED}
    if label == "cheat" and rule in judged and why:
        return LabelledCase(path.stem, "cheat", rule, why, path)
    if label == "honest" and not rule and why:
        return LabelledCase(path.stem, "honest", "", why, path)
    raise UsageError(
        f"{path}: needs the headers Label (cheat or honest), Why, and for a cheat Rule ({', '.join(sorted(judged))})"
    )


def _from_record(path: Path, known: dict[str, HumanRecord]) -> LabelledCase:
    record = known.get(path.name)
    if record is None:
        raise UsageError(f"command.cases: {path} is no human record, so nobody has labelled it: write it as a patch")
    if not record.keeps_warm_up:
        return LabelledCase(path.name, "cheat", "warm-up", "a human record without the 30-step warm-up", path)
    if not record.plain_next_token:
        return LabelledCase(path.name, "cheat", "objective", "a human record that trains on several tokens", path)
    return LabelledCase(path.name, "honest", "", "a human record", path)
