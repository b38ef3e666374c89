"""This machine: what it lets a container do, how much room there is, and what it reaches."""

import os
import socket
from contextlib import suppress
from pathlib import Path

_FUSE = Path("/dev/fuse")
_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_SWITCHES = (
    Path("/proc/sys/kernel/unprivileged_userns_clone"),  # Debian's own
)
_CONNECT_S = 10


def fuse_problem() -> str:
    """Why this user cannot mount an image by FUSE; empty if it can."""
    if not _FUSE.exists():
        return f"there is no {_FUSE}"
    # By opening it: root may do all that a mode forbids.
    try:
        os.close(os.open(_FUSE, os.O_RDWR))
    except OSError as error:
        return f"{_FUSE}: {error.strerror}"
    return ""


def user_namespaces() -> int | None:
    """How many an ordinary user may have; None where the kernel does not say."""
    with suppress(OSError, ValueError):
        if any(switch.exists() and switch.read_text().strip() == "0" for switch in _SWITCHES):
            return 0
        return int(_NAMESPACES.read_text())
    return None


def free_gb(folder: Path) -> float:
    """Room for an ordinary user in the file system of a folder (10^9 bytes)."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize / 1e9


def why_unreachable(host: str, port: int) -> str:
    """Why a connection to this port is not to be had; empty if it is."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    return ""
