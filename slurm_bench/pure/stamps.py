"""Digests of stamps: each commits to its verdict's records and to all verdicts before it."""

import hashlib
import json

from slurm_bench.words.bundles import Stamp
from slurm_bench.words.records import Seal


def origin(identity: str, place: tuple[str, str], config_sha256: str, incumbent: Seal) -> str:
    """Digest of what a session begins with, which its first stamp follows.

    Args:
        identity: the session's id.
        place: its campaign and its name, by which others know it.
        config_sha256: of the bytes of its config.yaml.
        incumbent: the starting record's seal.
    """
    campaign, name = place
    begun = {"session": identity, "campaign": campaign, "name": name}
    return _of({**begun, "config": config_sha256, "incumbent": incumbent.sha256})


def digest(stamp: Stamp) -> str:
    """SHA-256, in 64 hexadecimal digits, over a stamp's canonical JSON: sorted keys, no spaces, ASCII."""
    return _of(stamp.model_dump(mode="json"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _of(content: object) -> str:
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
