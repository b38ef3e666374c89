"""Files of the hub that go into an image, by the pins of one of its variants; see scripts/fetch_kernels."""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

CONTAINERS = Path(__file__).parents[1] / "containers"
KINDS = ("kernel", "model")
"""What a repository may be for the hub: kernels were models until it gave them a place of their own."""


class Refused(Exception):
    """The hub does not have what the pins or the lock say."""


@dataclass(frozen=True)
class Wanted:
    """A line of the pins."""

    repository: str
    revision: str
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """What was fetched the first time: in the file, comments that `sha256sum --check` leaves out, and its lines."""

    commits: Mapping[str, str]
    """By repository."""
    files: Mapping[str, str]
    """SHA-256 by path below the folder, which begins with the repository."""


def main(variant: str) -> int:
    folder, lock_file = CONTAINERS / f"{variant}.hub", CONTAINERS / f"{variant}.lock"
    lock = read_lock(lock_file)
    wanted = list(lines_of(CONTAINERS / f"{variant}.pins"))
    api, part = HfApi(), folder.with_suffix(".part.hub")
    try:
        commits = {each.repository: fetch(api, each, lock.commits, part) for each in wanted}
        files = hashes(part)
        compare(lock.files, files, part)
    except (Refused, HfHubHTTPError, OSError) as problem:
        print(f"fetch_kernels: {str(problem).splitlines()[0]}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    write_lock(lock_file, Lock(commits, files))
    print(f"{len(files)} files in {folder}, as {lock_file.name} says: keep that with the pins")
    return 0


def lines_of(pins: Path) -> Iterator[Wanted]:
    for line in pins.read_text().splitlines():
        if line.startswith("hub: "):
            repository, revision, *patterns = line.split()[1:]
            yield Wanted(repository, revision, tuple(patterns))


def fetch(api: HfApi, wanted: Wanted, commits: Mapping[str, str], into: Path) -> str:
    """Bring a repository's files and return its commit: the locked one, or else what its revision stands for now.

    Raises:
        Refused: no such repository or revision, or none of its files fits a pattern.
    """
    kind, commit = found(api, wanted.repository, commits.get(wanted.repository, wanted.revision))
    target = into / wanted.repository
    api.snapshot_download(
        wanted.repository,
        repo_type=kind,
        revision=commit,
        allow_patterns=list(wanted.patterns),
        local_dir=target,
    )
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the library's own notes
    if not any(target.rglob("*")):
        raise Refused(f"{wanted.repository} at {commit} has no file {' or '.join(wanted.patterns)}")
    return commit


def found(api: HfApi, repository: str, revision: str) -> tuple[str, str]:
    """Return what kind of repository it is, and the commit of a revision.

    Raises:
        Refused: there is none.
    """
    for kind in KINDS:
        try:
            return kind, str(api.repo_info(repository, repo_type=kind, revision=revision).sha)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            continue
    raise Refused(f"{api.endpoint} has no {repository} with a revision {revision}")


def hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def compare(locked: Mapping[str, str], files: Mapping[str, str], where: Path) -> None:
    """
    Raises:
        Refused: a locked file is missing or another.
    """
    wrong = [path for path, sha256 in locked.items() if files.get(path) != sha256]
    if wrong:
        raise Refused(f"{wrong[0]} is missing or not what the lock says; what came is in {where}")


def read_lock(file: Path) -> Lock:
    lines = [line.split() for line in (file.read_text().splitlines() if file.exists() else [])]
    commits = {repository: commit for mark, repository, commit in (line for line in lines if line[0] == "#")}
    return Lock(commits, {path: sha256 for sha256, path in (line for line in lines if line[0] != "#")})


def write_lock(file: Path, lock: Lock) -> None:
    commits: Sequence[str] = [f"# {repository} {commit}" for repository, commit in sorted(lock.commits.items())]
    files = [f"{sha256}  {path}" for path, sha256 in sorted(lock.files.items())]
    file.write_text("\n".join([*commits, *files]) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (CONTAINERS / f"{sys.argv[1]}.pins").exists():
        sys.exit("usage: fetch_kernels VARIANT, for containers/VARIANT.pins")
    sys.exit(main(sys.argv[1]))
