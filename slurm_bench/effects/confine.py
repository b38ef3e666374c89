"""confine COMMAND…: the last step before a container, for what its namespaces leave open.

Key rings belong to no namespace, so the command gets an empty session key ring of its own; and no core dumps, whose
handler would run on the host. Standard library only, since it runs once for each container.
"""

import ctypes
import errno
import os
import platform
import resource
import sys

_KEYCTL = {"x86_64": 250, "aarch64": 219, "ppc64le": 271}
_JOIN_SESSION_KEYRING = 1
_NO_KEY_RINGS = (errno.ENOSYS, errno.EPERM)
"""A kernel or a filter that has none, for us as for the command."""


def join_empty_keyring() -> None:
    """
    Raises:
        OSError: there are key rings, and none of our own can be had.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_KEYCTL[platform.machine()], _JOIN_SESSION_KEYRING, None) == -1:
        number = ctypes.get_errno()
        if number not in _NO_KEY_RINGS:
            raise OSError(number, os.strerror(number), "session key ring")


def main(command: list[str]) -> None:
    join_empty_keyring()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
