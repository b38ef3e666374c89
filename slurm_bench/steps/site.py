"""From a session's configuration to the site that it runs on."""

import logging
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from slurm_bench.effects import folders, human_records, keys, slurm_commands, store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.effects.containers import Apptainer, Container, NoContainer
from slurm_bench.effects.local import LocalCluster
from slurm_bench.effects.nested import NestingCluster
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.pure import survey
from slurm_bench.pure.budget import Terms
from slurm_bench.pure.rules import PROGRAM
from slurm_bench.pure.survey import Survey
from slurm_bench.rehearsal import corpus
from slurm_bench.steps.ledger import Ledger, Patience
from slurm_bench.words.config import ApiConfig, ClusterConfig, CommandConfig, Config, ContainerConfig, ModelConfig
from slurm_bench.words.errors import UsageError
from slurm_bench.words.kinds import KINDS
from slurm_bench.words.paths import SessionPaths, TimingPaths, decoy_folder, expanded, shipped, starting_record

log = logging.getLogger(__name__)

KeyHolder = ApiConfig | ModelConfig
"""A part of the configuration that names a key."""

_CORPUS_SEED = 0
_ODD_CHARACTERS = ",:%\\\"'\n"


def save_config(paths: TimingPaths, config: Config) -> None:
    """Write down what all later work in this folder goes by; a command's own options are not of it."""
    kept = replace(config, command=CommandConfig(name=config.command.name))
    store.write_text(paths.config, OmegaConf.to_yaml(OmegaConf.structured(kept)))


def load_config(paths: TimingPaths) -> Config:
    """The configuration that a session, or a calibration, began with.

    Raises:
        UsageError: it cannot be read, e.g. because an older version of this code wrote it.
    """
    try:
        loaded = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(paths.config))
        config = OmegaConf.to_object(loaded)
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise UsageError(f"{paths.config} cannot be read: {str(error).splitlines()[0]}") from None
    assert isinstance(config, Config)
    return config


def usage_folder(config: Config) -> Path:
    """Where this machine's or our own record of jobs lies, of all campaigns."""
    return Path(config.runs) / "usage"


def cluster_of(config: Config) -> Cluster:
    """The cluster that the configuration names.

    Raises:
        UsageError: it cannot be reached from this machine.
    """
    usage = usage_folder(config)
    if config.cluster.kind == "slurm":
        return NestingCluster(SlurmCluster(config.cluster, usage), config.cluster, usage)
    return LocalCluster(config.cluster, usage)


def ledger_of(config: Config, paths: TimingPaths, cluster: Cluster, most: float = math.inf) -> Ledger:
    """The ledger of a session, or of a calibration that may spend `most` H100-hours."""
    patience = Patience(config.cluster.absent_grace_seconds, 60 * config.cluster.silence_minutes)
    return Ledger(paths, cluster, terms(config, most), patience)


def terms(config: Config, most: float = math.inf) -> Terms:
    budget = config.budget
    campaign = budget.campaign_h100_hours or math.inf
    counts = frozenset(kind for kind in KINDS if kind in budget.counts)
    return Terms(min(most, budget.h100_hours), config.h100_weight, campaign, counts)


def container_of(config: ContainerConfig, field: str = "container.image") -> Container:
    """The container that the configuration names.

    Args:
        field: what names its image, for people.

    Raises:
        UsageError: the program or the image is not there.
    """
    if config.kind == "none":
        return NoContainer()
    if not shutil.which("apptainer"):
        raise UsageError("container.kind=apptainer needs apptainer on the PATH: load its module, or container=none")
    image = Path(str(config.image))
    if not image.exists():
        how = image.stem.replace("-", " ", 1)  # agent-nanogpt.sif is built by `build_image agent nanogpt`
        raise UsageError(f"{field}: no image {image}; build it with scripts/build_image {how}")
    return Apptainer(image.resolve(), config.gpu_devices)


def agent_container_of(config: Config) -> Container:
    """The container of the agent: the trials' own, or that of its own image."""
    image = config.agent.image if config.container.kind == "apptainer" else None
    own = replace(config.container, image=image) if image else config.container
    own = replace(own, gpu_devices=False) if config.agent.experiments else own
    return container_of(own, "agent.image" if image else "container.image")


def key_of(holder: KeyHolder) -> keys.Key:
    """
    Raises:
        UsageError: there is none, or it cannot be one.
    """
    return keys.read(holder.key_variable, expanded(holder.key_file) if holder.key_file else None)


def check_key(config: Config, field: str, holder: KeyHolder) -> None:
    """See that a key will be there where the session runs.

    Args:
        field: what holds it, for people.

    Raises:
        UsageError: naming the key.
    """
    if config.cluster.kind == "slurm" and not holder.key_file:
        raise UsageError(
            f"{field}.key_file: jobs do not inherit {holder.key_variable}; "
            "write the key into a file of mode 0600 and name it here"
        )
    key_of(holder)


def make_absolute(config: Config) -> None:
    """Jobs run in other folders than this one."""
    config.runs = os.path.abspath(config.runs)
    config.task.data = os.path.abspath(config.task.data)
    config.cluster.shared_poll = os.path.abspath(config.cluster.shared_poll)
    if config.cluster.slurm_conf:
        config.cluster.slurm_conf = os.path.abspath(config.cluster.slurm_conf)
    if config.agent.program.folder:
        config.agent.program.folder = os.path.abspath(expanded(config.agent.program.folder))
    # Where a job's HOME may be another than ours.
    holders: list[KeyHolder] = [config.agent.api, *config.judge.models.values()]
    for holder in holders:
        if holder.key_file:
            holder.key_file = os.path.abspath(expanded(holder.key_file))
    for part in (config.container, config.agent):
        if part.image:
            here = Path(part.image)
            part.image = os.path.abspath(here if here.exists() else shipped(part.image))


def with_guesses(config: Config) -> Config:
    """What the configuration leaves open, as the cluster's own partitions have it; every guess is said.

    Raises:
        UsageError: more than one value would do.
        SchedulerError: no answer.
    """
    if config.cluster.kind != "slurm" or not config.cluster.leaves_open:
        return config
    cluster_of(config)  # refuses where Slurm's programs are missing
    guessed = survey.guesses(config.cluster, look_around(config.cluster))
    for guess in guessed:
        log.info("cluster.%s=%s is a guess: %s", guess.field, guess.value, guess.because)
    return replace(config, cluster=survey.with_guesses(config.cluster, guessed))


def look_around(config: ClusterConfig) -> Survey:
    """What partitions and nodes there are."""
    named = slurm_commands.environment(config.slurm_conf)
    partitions = slurm_commands.ask(named, *slurm_commands.SHOW_PARTITIONS)
    nodes = slurm_commands.ask(named, "scontrol", "--all", "--oneliner", "show", "node")
    return survey.survey(config, partitions, nodes)


def check(config: Config) -> Cluster:
    """Find out what is missing before anything is written or queued."""
    check_folders(config)
    check_rights(config)
    if not config.task.synthetic:
        check_data(Path(config.task.data))
    container_of(config.container)
    if config.container.kind == "apptainer" and os.geteuid() == 0:
        log.warning("started as root: its containers keep the user number 0 (README, Security)")
    return cluster_of(config)


def check_runs(runs: str) -> None:
    """
    Raises:
        UsageError: the folder's path is none for Slurm and Apptainer.
    """
    odd = sorted(set(runs) & set(_ODD_CHARACTERS))
    if odd:
        raise UsageError(f"runs: {runs!r} holds {' '.join(odd)}, which Slurm or Apptainer would misread")


def check_folders(config: Config) -> None:
    """
    Raises:
        UsageError: the starting record or the agent's own program is not there, or the folder of runs is none that can
            be used.
    """
    check_runs(config.runs)
    record = starting_record(config.task.record)
    if not (record / PROGRAM).is_file():
        raise UsageError(f"task.record: no {PROGRAM} in {record}; command=baselines brings the human records")
    check_record(config.task.record)
    human_records.check_name("task.yardstick_until", config.task.yardstick_until)
    own = config.agent.program.folder
    if own and not Path(own).is_dir():
        raise UsageError(f"agent.program.folder: no folder {own}")
    seen = {"task.data": config.task.data, **({"agent.program.folder": own} if own else {})}
    for field, folder in seen.items() if config.container.kind != "none" else ():
        if Path(config.runs).resolve().is_relative_to(Path(folder).resolve()):
            raise UsageError(f"runs: {config.runs} lies in {field}, which the agent sees: it would see verdicts too")


def check_rights(config: Config) -> None:
    """
    Raises:
        UsageError: a folder that the session shares with others is closed to this user.
    """
    runs = Path(config.runs)
    shared = [runs / config.campaign]
    if config.cluster.kind == "local" or config.cluster.accounting == "own" or config.retime.is_nested:
        shared.append(usage_folder(config))
    if config.retime.caches == "decoy":
        shared.append(decoy_folder(runs))
    for folder in shared:
        folders.refuse_unwritable(folder, "runs")


def check_owner(paths: SessionPaths) -> None:
    """
    Raises:
        UsageError: the session of this name is somebody else's, or its campaign is closed to this user.
    """
    folders.refuse_unwritable(paths.campaign.root, "runs")
    if os.path.lexists(paths.root) and not folders.is_ours(paths.root):
        said = f"session {paths.root.name} is {folders.owner(paths.root)}'s, who alone goes on with it"
        raise UsageError(f"{said}: begin another with session=")


def check_record(name: str) -> None:
    """
    Raises:
        UsageError: the folder of this human record holds something else.
    """
    folder = starting_record(name)
    changed = human_records.changed_files(name, folder)
    if changed:
        raise UsageError(f"{folder / changed[0]} is not that of the record; move {folder} away: command=baselines")


def check_data(folder: Path) -> None:
    """
    Raises:
        UsageError: there are no shards.
    """
    if not list(folder.glob("fineweb10B/fineweb_val_*.bin")):
        raise UsageError(f"task.data: no fineweb10B/fineweb_val_*.bin in {folder}; scripts/fetch_data gets FineWeb's")


def candidate_folder(directory: str, runs: str) -> Path:
    """The folder that a person names as `command.directory`.

    Raises:
        UsageError: there is none, or what we write would become a part of it.
    """
    folder = Path(os.path.abspath(directory))
    if not folder.is_dir():
        raise UsageError(f"command.directory: no folder {folder}")
    if Path(os.path.abspath(runs)).is_relative_to(folder):
        raise UsageError(f"runs: {runs} lies in command.directory, and would become a part of it")
    return folder


def prepare_data(config: Config) -> None:
    """Write the synthetic language's shards where the task wants them; or see that there are shards.

    Raises:
        UsageError: no shards, or they cannot be written there.
    """
    folder = Path(config.task.data)
    if config.task.synthetic:
        try:
            corpus.write_shards(folder, config.task.synthetic, _CORPUS_SEED)
        except (OSError, ValueError) as error:
            raise UsageError(f"task.data, task.synthetic: {error}") from None
    check_data(folder)
