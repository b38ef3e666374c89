"""Files out of a git repository by commit and path: of a clone or mirror on this machine, or fetched into a cache.

What is read is whatever the repository holds: whoever asks checks it by its hash.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from slurm_bench.effects import processes, store
from slurm_bench.effects.processes import Captured, TimedOut
from slurm_bench.words.errors import InfrastructureError, UsageError

MAX_BYTES = 4 * 2**20
"""Of one file."""

Reader = Callable[[str, str], bytes]
"""The bytes of a plain file by commit and path.

Raises:
    UsageError: there is no such commit, or no plain file at the path.
    InfrastructureError: git failed.
"""

_TIMEOUT_S = 600.0
"""A file that a partial clone lacks is fetched when it is read."""
_PLAIN_MODES = ("100644", "100755")
_LACKING = "BAD"
"""What ls-tree says instead of a size."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|\w[\w.@-]*:")
_INHERITED = ("GIT_SSL_", "GIT_SSH")
"""Prefixes of git's variables that say how to reach a server; all others say which repository and files it means."""
_SETTINGS = {
    "safe.directory": "*",  # mirrors belong to others: objects are checked, and nothing of them is executed
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_TRANSPORTS = "file:git:http:https:ssh"
_NONE = "none"
_REMEDY = "ask again to go on, or name a clone on this machine by command.source"


@dataclass(frozen=True)
class Repository:
    """A git repository on this machine, without a need for a work tree."""

    folder: Path
    """As it was named."""
    git_dir: Path
    """Where git finds it, which searches upwards and goes where a file .git leads."""
    transports: str = _NONE
    """By which git may get what the repository lacks, as GIT_ALLOW_PROTOCOL has them."""

    def __str__(self) -> str:
        return str(self.folder)


def reader(source: str, cache: Path) -> Reader:
    """
    Args:
        source: a URL, or the path of a clone or mirror.
        cache: folder for what is fetched from a URL; nobody else uses it meanwhile.

    Raises:
        UsageError: there is no git, or no such repository.
    """
    if _URL.match(source) and not Path(source).exists():
        fetched = Repository(cache, cache, _TRANSPORTS)
        _prepare(fetched, source)
        return partial(_read_fetched, fetched)
    return partial(_read, find(Path(source).absolute()))


def find(folder: Path) -> Repository:
    """Return the repository at a folder.

    Raises:
        UsageError: there is none.
    """
    found = _run(["-C", str(folder), "rev-parse", "--absolute-git-dir"], _NONE) if folder.is_dir() else None
    if found is None or found.exit_code:
        raise UsageError(f"command.source: {folder} is no git repository; name a clone or mirror of upstream, or a URL")
    repository = Repository(folder, _path(found.stdout))
    # A stranger's configuration may name programs that fetching would start.
    return replace(repository, transports=_TRANSPORTS) if _is_trusted(repository) else repository


def _is_trusted(repository: Repository) -> bool:
    """Whether its configuration, with all that this includes, is ours or the administrator's."""
    common = _git(repository, "rev-parse", "--git-common-dir")  # a worktree's is elsewhere
    listed = _git(repository, "config", "--list", "--show-origin", "--name-only", "-z")
    if common.exit_code or listed.exit_code:
        return False
    origins = listed.stdout.split(b"\0")[::2]
    read = [_path(each.removeprefix(b"file:")) for each in origins if each.startswith(b"file:")]
    owned = (repository.git_dir, _path(common.stdout), *read)
    return {(repository.folder / each).stat().st_uid for each in owned} <= {0, os.geteuid()}


def _path(said: bytes) -> Path:
    return Path(os.fsdecode(said.removesuffix(b"\n")))


def _prepare(cache: Repository, url: str) -> None:
    """An empty repository that takes from a URL what it is asked for; one that is there goes on."""
    if cache.folder.exists() and _git(cache, "rev-parse", "--git-dir").exit_code:  # e.g. after a loss of power
        store.remove(cache.folder)
    cache.folder.mkdir(parents=True, exist_ok=True)
    for left in cache.folder.rglob("*.lock"):  # by a git that was killed
        left.unlink()
    succeed(cache, "init", "--quiet", "--bare", "--template=")
    for name, value in {
        "url": url,
        "promisor": "true",
        "partialclonefilter": "blob:none",
        "uploadpack": "git -c safe.directory=* upload-pack" if url.startswith("file://") else "git-upload-pack",
    }.items():
        succeed(cache, "config", f"remote.origin.{name}", value)


def _read_fetched(cache: Repository, commit: str, path: str) -> bytes:
    kept = f"refs/fetched/{commit}"
    if _git(cache, "rev-parse", "--verify", "--quiet", kept).exit_code:
        succeed(cache, "fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", "origin", f"{commit}:{kept}")
    return _read(cache, commit, path)


def holds(repository: Repository, commit: str) -> bool:
    """Return whether a repository has a commit."""
    return _git(repository, "cat-file", "-e", f"{commit}^{{commit}}").exit_code == 0


def _read(repository: Repository, commit: str, path: str) -> bytes:
    if not holds(repository, commit):
        raise UsageError(
            f"command.source: {repository} has no commit {commit}; fetch all of upstream's branches into it, "
            "or let command.source be upstream itself"
        )
    entry = succeed(repository, "ls-tree", "-z", "--long", "--full-tree", commit, "--", path).decode()
    mode, _, _, size = entry.partition("\t")[0].split() if entry else ("", "", "", "")
    if mode not in _PLAIN_MODES:
        raise UsageError(f"command.source: commit {commit} of {repository} has no plain file {path}")
    if size == _LACKING:
        raise UsageError(
            f"command.source: {repository} lacks the file {path} of commit {commit}; name a whole clone or mirror, "
            "or let command.source be upstream itself"
        )
    if int(size) > MAX_BYTES:
        raise UsageError(f"command.source: {path} at commit {commit} of {repository} has {size} bytes")
    return succeed(repository, "cat-file", "blob", f"{commit}:{path}")


def succeed(repository: Repository, *arguments: str, bytes_in: bytes = b"") -> bytes:
    """Return what a git command says.

    Args:
        bytes_in: what it reads on its standard input.

    Raises:
        InfrastructureError: it failed.
    """
    done = _git(repository, *arguments, bytes_in=bytes_in)
    if done.exit_code:
        lines = [line for line in done.stderr.splitlines() if line and not line.startswith("warning:")]
        said = lines[0] if lines else f"exit {done.exit_code}"
        raise InfrastructureError(f"git {arguments[0]} in {repository}: {said}; {_REMEDY}")
    return done.stdout


def _git(repository: Repository, *arguments: str, bytes_in: bytes = b"") -> Captured:
    where = ["-C", str(repository.folder), "--git-dir", str(repository.git_dir)]
    try:
        return _run([*where, *arguments], repository.transports, bytes_in)
    except TimedOut as error:
        raise InfrastructureError(f"{arguments[0]} in {repository}: {error}; {_REMEDY}") from None


def _run(arguments: Sequence[str], transports: str, bytes_in: bytes = b"") -> Captured:
    try:
        environment = _environment(transports)
        return processes.capture(["git", *arguments], timeout_s=_TIMEOUT_S, env=environment, bytes_in=bytes_in)
    except FileNotFoundError:
        raise UsageError("this command needs git, which is not on the PATH") from None


def _environment(transports: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ours |= {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}
    for number, (name, value) in enumerate(_SETTINGS.items()):
        ours |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return ours | {
        "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": transports,
        "LC_ALL": "C",
    }
