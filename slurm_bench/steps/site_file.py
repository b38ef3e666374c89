"""`command=doctor write=…`: what is particular about a site, as a file for conf/cluster/."""

import logging
import os
from pathlib import Path

from omegaconf import OmegaConf

from slurm_bench.effects import store
from slurm_bench.pure.guard import Association
from slurm_bench.pure.survey import Survey
from slurm_bench.words.config import Config
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import shipped

log = logging.getLogger(__name__)

_OWN = (
    *("qos", "reservation", "constraint", "gpu_type", "gpu_request", "gpu_cores", "node_gpus", "trial_gpus"),
    *("gpu_devices", "session_gpus", "session_hours", "chain", "cpu_partition", "exclusive", "foreign_cores"),
    *("accounting", "parallel", "scratch", "slurm_conf", "modules", "setup", "sbatch", "cpu_sbatch"),
)
"""Fields that a site's file may set; those that are as in slurm.yaml are left out."""


def check(path: Path, config: Config) -> None:
    """
    Raises:
        UsageError: it is there already, Hydra would not find it as a cluster, or there is no Slurm to write about.
    """
    if config.cluster.kind != "slurm":
        raise UsageError(f"command.write is for a Slurm cluster, got cluster.kind={config.cluster.kind}")
    if path.exists():
        raise UsageError(f"command.write: {path} is there already; remove it or name another")
    if path.suffix != ".yaml" or path.absolute().parent.name != "cluster":
        raise UsageError(f"command.write must be a .yaml file in a folder named cluster, got {path}")


def write(path: Path, config: Config, found: Survey, association: Association | None) -> None:
    """Write what was found and configured, and say how to use it."""
    cluster = OmegaConf.to_container(OmegaConf.structured(config.cluster))
    assert isinstance(cluster, dict)
    usual = OmegaConf.to_container(OmegaConf.load(shipped("conf") / "cluster" / "slurm.yaml"), resolve=False)
    assert isinstance(usual, dict)
    own = {name: cluster[name] for name in _OWN if cluster[name] != usual.get(name)}
    if config.agent.experiments:
        own.pop("session_gpus", None)  # of this agent, not of the site
    own = {name: value for name, value in own.items() if usual.get(name) or value not in (None, [], {})}
    account = config.cluster.account or (association.account if association else None)
    placement = {"partition": found.names, **({"account": account} if account else {})}
    modules = {} if config.cluster.modules else _loaded_modules()
    conf = os.environ.get("SLURM_CONF")
    named = {"slurm_conf": conf} if conf and not config.cluster.slurm_conf else {}
    text = OmegaConf.to_yaml({"defaults": ["slurm", "_self_"], **placement, **own, **modules, **named})
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(path, f"# Written by command=doctor; all that is not here is as in slurm.yaml.\n{text}")
    where = (
        "" if path.absolute().parent == shipped("conf") / "cluster" else f"--config-dir {path.absolute().parents[1]} "
    )
    log.info("wrote %s; read it, then use it with: %scluster=%s", path, where, path.stem)


def _loaded_modules() -> dict[str, list[str]]:
    """The environment modules that are loaded now: jobs start without them."""
    loaded = [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name]
    return {"modules": loaded} if loaded else {}
