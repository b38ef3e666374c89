"""The history of a clone of upstream, and files out of it many at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm_bench.effects import git
from slurm_bench.pure.main_line import Commit, Step, main_line
from slurm_bench.words.errors import UsageError

README = "README.md"


@dataclass(frozen=True)
class Clone:
    """A whole clone or mirror of upstream on this machine; its main branch is what HEAD names."""

    repository: git.Repository

    def main_line(self) -> list[Step]:
        """Return the commits of the main line, oldest first, with what each changed there."""
        listed = git.succeed(self.repository, "log", "--format=%H%x09%P%x09%s", "HEAD").decode("utf-8", "replace")
        cells = (line.split("\t", 2) for line in listed.splitlines())
        line = main_line(Commit(sha, tuple(parents.split()), subject) for sha, parents, subject in cells)
        pairs = "".join(f"{commit.sha} {commit.main_parent}".rstrip() + "\n" for commit in line)
        command = ("diff-tree", "--stdin", "--root", "-r", "-z", "--no-renames")
        changed = git.succeed(self.repository, *command, bytes_in=pairs.encode()).decode("utf-8", "replace")
        return _steps(line, changed)

    def full(self, commit: str) -> str:
        """Return all 40 digits of a commit.

        Raises:
            UsageError: there is none that begins like this.
        """
        if not git.holds(self.repository, commit):
            raise UsageError(f"command.source: {self.repository} has no commit {commit}")
        return git.succeed(self.repository, "rev-parse", f"{commit}^{{commit}}").decode().strip()

    def files(self, commit: str, folder: str = "") -> dict[str, str]:
        """Return the blobs of a commit's plain files by path: those in the top folder alone, or all below a folder."""
        below = ("-r", commit, "--", folder) if folder else (commit,)
        listed = git.succeed(self.repository, "ls-tree", "-z", "--full-tree", *below).decode("utf-8", "replace")
        entries = (entry.partition("\t")[::2] for entry in listed.split("\0") if entry)
        return {path: mode.split()[2] for mode, path in entries if mode.startswith("100")}

    def read(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of blobs.

        Raises:
            UsageError: the clone lacks one, as a partial one does.
        """
        wanted = sorted(set(blobs))
        said = git.succeed(self.repository, "cat-file", "--batch", bytes_in="\n".join([*wanted, ""]).encode())
        found: dict[str, bytes] = {}
        for blob in wanted:
            head, _, said = said.partition(b"\n")
            if head.endswith(b"missing"):
                raise UsageError(f"command.source: {self.repository} lacks the blob {blob}; name a whole clone")
            size = int(head.rpartition(b" ")[2])
            found[blob], said = said[:size], said[size + 1 :]
        return found


def clone(source: str) -> Clone:
    """Return the clone at a path.

    Raises:
        UsageError: there is none, or it does not hold the whole history.
    """
    repository = git.find(Path(source).absolute())
    if git.succeed(repository, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise UsageError(f"command.source: {repository} is a shallow clone; 'git fetch --unshallow' makes it whole")
    return Clone(repository)


def _steps(line: Sequence[Commit], changed: str) -> list[Step]:
    """
    Args:
        changed: what diff-tree said of them: a commit, and for each path what changed and the path.
    """
    paths: Mapping[str, list[tuple[str, str]]] = {commit.sha: [] for commit in line}
    parts = iter(changed.split("\0"))
    sha = ""
    for part in parts:
        if part.startswith(":"):
            paths[sha].append((part, next(parts)))
        elif part:
            sha = part
    return [_step(commit, paths[commit.sha]) for commit in line]


def _step(commit: Commit, changes: Sequence[tuple[str, str]]) -> Step:
    return Step(
        commit,
        added=tuple(path for change, path in changes if change.endswith("A")),
        changes_code=any("/" not in path and path.endswith(".py") for _, path in changes),
        readme=next((change.split()[3] for change, path in changes if path == README), ""),
    )
