"""What has to be the same for the runs of two times to be comparable, or for what one left to be of use to another."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from slurm_bench.effects import containers, shards
from slurm_bench.effects.containers import Container
from slurm_bench.words.config import Config
from slurm_bench.words.records import Seal

_NO_CONDITIONS = (
    "poll_seconds",
    "absent_grace_seconds",
    "silence_minutes",
    "shared_poll",
    "accounting",
    "follow",
    "session_gpus",
    "session_hours",
    "chain",
    "cpu_partition",
    "cpu_sbatch",
    "account",
    "reservation",
)
"""What of a cluster's configuration cannot change how long a run takes."""


def digest(config: Config, container: Container, sealed: Sequence[Seal], data: Path) -> str:
    """Return what sets these conditions apart from others, in twelve characters.

    Args:
        data: what is trained on, in the place of task.data.
    """
    cluster = {name: value for name, value in asdict(config.cluster).items() if name not in _NO_CONDITIONS}
    conditions = json.dumps(
        {
            "seals": [each.sha256 for each in sealed],
            "data": shards.identities(data),
            "environment": config.task.environment,
            "where": config.retime.where,
            "container": config.container.kind,
            "gpu_devices": config.container.gpu_devices,
            "image": containers.image_sha256(container),
            "cluster": cluster,
            **({"caches": config.task.caches} if config.retime.caches == "decoy" else {}),
        },
        sort_keys=True,
    )
    return hashlib.sha256(conditions.encode()).hexdigest()[:12]
