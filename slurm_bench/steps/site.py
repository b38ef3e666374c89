"""From a session's configuration to the site that it runs on."""

import shutil
from pathlib import Path

from omegaconf import OmegaConf

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.effects.containers import Apptainer, Container, NoContainer
from slurm_bench.effects.local import LocalCluster
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words.config import Config, ContainerConfig
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import SessionPaths


def save_config(paths: SessionPaths, config: Config) -> None:
    store.write_text(paths.config, OmegaConf.to_yaml(OmegaConf.structured(config)))


def load_config(paths: SessionPaths) -> Config:
    """The configuration that a session began with."""
    loaded = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(paths.config))
    config = OmegaConf.to_object(loaded)
    assert isinstance(config, Config)
    return config


def cluster_of(config: Config) -> Cluster:
    """The cluster that the configuration names.

    Raises:
        UsageError: it cannot be reached from this machine.
    """
    if config.cluster.kind == "slurm":
        return SlurmCluster(config.cluster, Path(config.runs) / "poll")
    return LocalCluster(config.cluster, Path(config.runs) / "usage")


def ledger_of(config: Config, paths: SessionPaths, cluster: Cluster) -> Ledger:
    grace_s = config.cluster.absent_grace_seconds
    return Ledger(paths.ledger, cluster, config.budget.h100_hours, config.h100_weight, grace_s)


def container_of(config: ContainerConfig) -> Container:
    """The container that the configuration names.

    Raises:
        UsageError: the program or the image is not there.
    """
    if config.kind == "none":
        return NoContainer()
    if not shutil.which("apptainer"):
        raise UsageError("container.kind=apptainer needs apptainer on the PATH: load its module, or container=none")
    image = Path(str(config.image))
    if not image.is_file():
        raise UsageError(f"container.image: no file {image}; build it with scripts/build_image {image.stem}")
    return Apptainer(image.resolve(), config.gpu_devices)
