"""Which of the operating system's errors are a file system's own trouble, whoever asked it for whatever."""

import errno
from typing import TypeGuard

_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_ACCESS = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.EROFS, errno.EREMOTEIO, errno.ENOTCONN, errno.ESHUTDOWN, errno.ETIMEDOUT,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOLINK,
    }
)  # fmt: skip


def is_trouble(error: BaseException) -> TypeGuard[OSError]:
    """Return whether it may pass: no room, or a server that is away; nothing of it says that the question was wrong."""
    return isinstance(error, OSError) and error.errno in _OF_SPACE | _OF_ACCESS


def is_of_space(error: BaseException | None) -> bool:
    """Return whether there was no room, which whoever writes there may have taken."""
    return isinstance(error, OSError) and error.errno in _OF_SPACE
