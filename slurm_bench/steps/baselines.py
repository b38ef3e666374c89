"""`command=baselines`: the human records' code, out of upstream's repository by commit, checked by hash."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import Progress

from slurm_bench.effects import git, human_records, locking, store
from slurm_bench.effects.git import Reader
from slurm_bench.pure import rewrites
from slurm_bench.pure.rewrites import UpstreamFile, UpstreamRecord, WrongBytes
from slurm_bench.pure.rules import LAUNCHER
from slurm_bench.words.config import UPSTREAM, BaselinesCommand, Config
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError
from slurm_bench.words.paths import BaselinesPaths, shipped

PROVENANCE = "provenance.yaml"

_RUN = b"""\
#!/usr/bin/env bash
# Train once in this directory, which holds train_gpt.py and data/, on all GPUs that are visible.
set -euo pipefail
exec torchrun --standalone --nproc_per_node=gpu train_gpt.py
"""


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: an unknown record, a source that does not hold it, or a folder that is in its place.
        InfrastructureError: git failed, what it gave is not the record, or the folder cannot be written.
    """
    assert isinstance(config.command, BaselinesCommand)
    tables = Path(config.command.tables) if config.command.tables else human_records.SHIPPED
    records = wanted(human_records.upstream(tables), config.command.only)
    paths = BaselinesPaths(shipped("human_baselines").absolute())
    fetched = fetch(records, config.command.source, paths)
    there = f"{len(records) - len(fetched)} were there and are verified"
    print(f"{len(records)} human records in {paths.root}: {len(fetched)} fetched, {there}")


def wanted(records: Sequence[UpstreamRecord], only: Sequence[str]) -> list[UpstreamRecord]:
    """
    Raises:
        UsageError: a name that no record has.
    """
    unknown = sorted(set(only) - {record.name for record in records})
    if unknown:
        known = f"{records[0].name} to {records[-1].name}"
        raise UsageError(f"command.only: no human record {unknown[0]}; human_records.tsv names them, {known}")
    return [record for record in records if not only or record.name in only]


def fetch(records: Sequence[UpstreamRecord], source: str, paths: BaselinesPaths) -> list[str]:
    """Bring the records that are not there yet, each whole or not at all; return their names."""
    if not _missing(records, paths):
        return []
    with _written_to(paths.root), locking.lock(paths.lock):
        missing = _missing(records, paths)  # another process may have brought some meanwhile
        read = git.reader(source, paths.upstream)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            shown = progress.add_task("fetching", total=len(missing))
            for record in missing:
                progress.update(shown, description=record.name)
                with _written_to(paths.record(record.name)):
                    store.write_folder(paths.record(record.name), _contents(record, read))
                progress.advance(shown)
    return [record.name for record in missing]


@contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfrastructureError(
            f"{folder} cannot be written ({error.filename}: {error.strerror}); mend that, or use a checkout of your own"
        ) from None


def _missing(records: Sequence[UpstreamRecord], paths: BaselinesPaths) -> list[UpstreamRecord]:
    """Records without a folder.

    Raises:
        UsageError: a folder is there that does not hold its record.
    """
    return [record for record in records if not is_there(record, paths.record(record.name))]


def is_there(record: UpstreamRecord, folder: Path) -> bool:
    """Whether a folder holds a record, every file of it by its hash, and no other: a session seals all that is there.

    Raises:
        UsageError: it holds something else.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    expected = {file.name: file.final_sha256 for file in record.files}
    expected |= {name: hashlib.sha256(data).hexdigest() for name, (_, data) in _own_files(record).items()}
    wrong = sorted(name for name, sha256 in expected.items() if not human_records.holds(folder / name, sha256))
    if wrong:
        raise UsageError(f"{record.name}: {folder / wrong[0]} is missing or was changed; move {folder} away, ask again")
    extra = sorted(path for path in folder.iterdir() if path.name not in expected and not _is_overlooked(path.name))
    if extra:
        raise UsageError(f"{record.name}: {extra[0]} is no part of the record; move it away, ask again")
    return True


def _is_overlooked(name: str) -> bool:
    """What Python leaves, which no seal takes, and hidden files; not a run's logs and data, which a seal refuses."""
    return name == "__pycache__" or name.startswith(".")


def _contents(record: UpstreamRecord, read: Reader) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of a record's files by name."""
    try:
        theirs = {
            file.name: (0o644, rewrites.benchmark_bytes(file, read(record.commit, file.path))) for file in record.files
        }
    except BenchError as error:
        raise type(error)(f"{record.name}: {error}") from None
    except WrongBytes as error:
        raise InfrastructureError(f"{record.name}: {error}; take another command.source") from None
    return theirs | _own_files(record)


def _own_files(record: UpstreamRecord) -> dict[str, tuple[int, bytes]]:
    """What we put beside upstream's files."""
    return {LAUNCHER: (0o755, _RUN), PROVENANCE: (0o644, _provenance(record).encode())}


def _provenance(record: UpstreamRecord) -> str:
    """Where a record's files are from, the same whatever source they were fetched from."""
    content = {
        "record": record.name,
        "upstream": UPSTREAM,
        "commit": record.commit,
        "files": {file.name: _origin(file) for file in record.files},
    }
    about = f"# Under upstream's licence. {LAUNCHER} is ours.\n"
    return about + yaml.safe_dump(content, sort_keys=False)


def _origin(file: UpstreamFile) -> dict[str, object]:
    return {
        "path": file.path,
        "upstream_sha256": file.sha256,
        "rewrites": {each.rule: each.places for each in file.rewrites},
        "sha256": file.final_sha256,
    }
