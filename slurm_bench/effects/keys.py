"""The keys of model APIs: the only reader of them, and what keeps them out of logs, tracebacks and records.

A job's environment travels far (sbatch scripts, scontrol show, every child), so a key may also lie in a file that
only its owner reads.
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from slurm_bench.words.errors import UsageError

_LONGEST = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Key:
    """A secret that shows itself to nobody who does not ask for it by `reveal`."""

    def __init__(self, secret: str) -> None:
        # In a closure: what dumps an object's attributes finds a function.
        self._secret: Callable[[], str] = lambda: secret

    def reveal(self) -> str:
        """The secret itself, for the client that sends it."""
        return self._secret()

    def redact(self, text: str) -> str:
        """The text without the secret."""
        secret = self._secret()
        return text.replace(secret, "<key>") if secret else text

    def redactor(self) -> "Redactor":
        return Redactor(self)

    def __repr__(self) -> str:
        return "<key>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not to be pickled or copied")


class Redactor:
    """Redacts what comes in pieces, any of which may end within the key."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._held = b""
        """The end of what has come, where it may be the beginning of the key."""

    def feed(self, piece: bytes) -> bytes:
        secret = self._key.reveal().encode()
        text = (self._held + piece).replace(secret, b"<key>") if secret else piece
        held = next((size for size in range(len(secret) - 1, 0, -1) if text.endswith(secret[:size])), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def end(self) -> bytes:
        return self._held


def read(variable: str, file: Path | None, environment: Mapping[str, str] = os.environ) -> Key:
    """The key of a file, or where none is named of an environment variable.

    Raises:
        UsageError: there is none, it cannot be one, or others may read or replace the file.
    """
    key = Key("" if file else environment.get(variable, "").strip())
    del environment  # a traceback may show the local variables of this frame
    if file:
        key = Key(_content(file).strip())
    flaw = _flaw(key)
    if flaw and file:
        raise UsageError(f"key_file {file} {flaw}: write the key into it, alone on one line")
    if flaw:
        raise UsageError(f"the environment variable {variable} {flaw}: set it to the key, or name a key_file")
    return key


def _flaw(key: Key) -> str:
    secret = key.reveal()
    if not secret:
        return "is missing or empty"
    if len(secret) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    if len(secret.split()) > 1:
        return "has white space inside the key"
    # A header takes nothing else, and its encoder would quote the key in its error.
    return "" if all("!" <= each <= "~" for each in secret) else "has a character that no key has"


def _content(file: Path) -> str:
    try:
        # A pipe in its place must not keep us waiting.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        what = "is a link, name the file itself" if file.is_symlink() else error.strerror
        raise UsageError(f"key_file {file} cannot be read: {what}") from None
    try:
        _refuse_what_others_reach(file, os.fstat(descriptor))
        return os.read(descriptor, _LONGEST + 2).decode("ascii", errors="replace")
    finally:
        os.close(descriptor)


def _refuse_what_others_reach(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"key_file {file} is not a regular file")
    if status.st_uid != os.geteuid():
        raise UsageError(f"key_file {file} belongs to another user: make one of your own")
    if status.st_mode & _OTHERS:
        raise UsageError(f"key_file {file} is open to others (mode {stat.S_IMODE(status.st_mode):o}): chmod 600 {file}")
