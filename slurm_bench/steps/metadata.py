"""metadata.json: what a session ran with, for whoever reads its results later."""

import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from omegaconf import OmegaConf

from slurm_bench.agents.agent import Agent
from slurm_bench.effects import containers, node, processes, store
from slurm_bench.effects.containers import Container
from slurm_bench.steps import site
from slurm_bench.steps.enclosure import Enclosure
from slurm_bench.words.config import Config
from slurm_bench.words.metadata import Metadata, Start
from slurm_bench.words.model_use import ModelUse
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import ConversationState, Session

_ASK_S = 30
_PROGRAMS = (("apptainer", "--version"), ("sinfo", "--version"))


def begin(config: Config, paths: SessionPaths, session: Session, agent: Agent, enclosure: Enclosure) -> None:
    """Write down what this start of the session finds: programs, images, node and configuration."""
    known = store.read_if_there(paths.metadata, Metadata)
    composed = OmegaConf.to_container(OmegaConf.structured(site.load_config(paths)), enum_to_str=True)
    start = Start(
        at=datetime.now(UTC),
        node=node.name(),
        revision=own_revision(),
        versions=_versions(agent, enclosure),
        images={**_image(enclosure.container), **_image(site.container_of(config.container))},
    )
    first = Metadata(session=session.name, identity=session.id, agent=config.agent.kind, config=composed)
    so_far = known or first
    store.write(paths.metadata, so_far.model_copy(update={"starts": (*so_far.starts, start)}))


def finish(paths: SessionPaths, session: Session) -> None:
    """Add how it ended."""
    known = store.read_if_there(paths.metadata, Metadata)
    if known is None:
        return
    talk = store.read_if_there(paths.conversation, ConversationState) or ConversationState()
    ended = {
        "conversation": talk.conversation,
        "program_starts": talk.starts,
        "model_use": store.read_if_there(paths.model_use, ModelUse),
        "exit_code": session.agent_exit_code,
        "ended_by": session.agent_ended_by,
    }
    store.write(paths.metadata, known.model_copy(update=ended))


def _versions(agent: Agent, enclosure: Enclosure) -> dict[str, str]:
    found = {"slurm_bench": _own_version(), "python": platform.python_version()}
    for program, *asked in _PROGRAMS:
        if shutil.which(program):
            found[program] = _said(program, *asked) or "gives no answer"
    if agent.asks_version:
        found[agent.asks_version[0]] = enclosure.run(*agent.asks_version).stdout.strip()
    return found


def _said(*argv: str) -> str:
    try:
        return processes.run(argv, timeout_s=_ASK_S).stdout.strip()
    except (processes.TimedOut, OSError):
        return ""


def own_revision() -> str:
    """Git revision of this code, `-dirty` where it was edited; empty outside a checkout."""
    return _said("git", "-C", str(Path(__file__).parents[2]), "describe", "--always", "--dirty")


def computing_versions() -> dict[str, str]:
    """Of what a verdict is computed with."""
    libraries = {name: version(name) for name in ("numpy", "scipy", "pydantic")}
    return {"slurm_bench": _own_version(), "python": platform.python_version(), **libraries}


def _own_version() -> str:
    try:
        return version("slurm_bench")
    except PackageNotFoundError:  # a checkout on the path, never installed: the revision tells more
        return "not installed"


def _image(container: Container) -> dict[str, str]:
    digest = containers.image_sha256(container)
    return {str(container.image): digest} if digest else {}
