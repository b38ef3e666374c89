"""What an agent finds and gets to see: its workspace, its prompts, and its container's mounts and variables."""

import os
import shlex
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from slurm_bench.agents import prompts
from slurm_bench.agents.agent import FINAL_WORDS, Agent
from slurm_bench.effects import processes, store
from slurm_bench.effects.containers import Container, Mount, Program
from slurm_bench.pure import record_facts, rules
from slurm_bench.pure.plain import one_line
from slurm_bench.steps import retime
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import SessionPaths, shipped
from slurm_bench.words.records import RecordFacts

_UNTRACKED = ("data", "logs/", "*.log", "*.pt", "__pycache__/", "/submissions/", "/results.tsv", "/agent_final.txt")
"""No part of a workspace's history: it is large, or it has to outlast a step back."""
_GIT_SETTINGS = {"safe.directory": "*", "user.name": "agent", "user.email": "agent@localhost"}
_DEVICES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
"""What the scheduler says of the allocation's GPUs; nothing else of the node's environment goes inside."""


def mount(paths: SessionPaths) -> Mount:
    return Mount(paths.workspace, "/workspace", writable=True)


def stage(config: Config, paths: SessionPaths, record: Path) -> None:
    """Lay out the workspace: the starting record, the rules, and the folders of the contract."""
    own = [paths.workspace / name for name in ("experiments", "logs")]
    desks = [paths.outbox, paths.inbox, *((paths.experiments_outbox,) if config.agent.experiments else ())]
    for folder in (*desks, paths.agent_home, paths.candidates, *own):
        _move_aside(folder, unless=Path.is_dir)
        folder.mkdir(parents=True, exist_ok=True)
    paths.transcript.root.mkdir(exist_ok=True)
    if is_new(paths):
        for file in record.iterdir():
            target = paths.workspace / file.name
            if file.is_file() and not os.path.lexists(target):
                shutil.copy(file, target)
    facts = record_facts.of(_files(record), config.task.facts)
    store.write(paths.record_facts, RecordFacts(by_rule=facts))
    texts = _write_prompts(config, paths, facts)
    _move_aside(paths.workspace / "RULES.md", unless=Path.is_file)
    store.write_text(paths.workspace / "RULES.md", texts[prompts.RULES])
    data = paths.workspace / "data"
    if config.container.kind == "none" and not data.is_symlink():
        data.symlink_to(config.task.data)
    elif config.container.kind != "none":
        data.mkdir(exist_ok=True)  # the point that the shards are mounted on


def is_new(paths: SessionPaths) -> bool:
    """Whether no agent has worked here yet: from then on the workspace is its own, and a link in it can lead out."""
    return not paths.conversation.exists()


def _files(record: Path) -> dict[str, str]:
    """The texts of the starting record by name."""
    return {file.name: file.read_text() for file in record.iterdir() if file.suffix in (".py", ".sh")}


def _write_prompts(config: Config, paths: SessionPaths, facts: Mapping[str, str]) -> dict[str, str]:
    task, asks = config.task, config.agent.submissions_per_hour
    where = "experiments" if config.agent.experiments else config.retime.where
    texts = prompts.texts(
        prompts.Facts(
            target_loss=task.target_loss,
            gpus=config.cluster.session_gpus,
            timed_gpus=config.cluster.trial_gpus,
            experiments=config.agent.experiments,
            at_once=config.agent.experiments_at_once,
            experiment_minutes=config.agent.experiment_minutes,
            trial_minutes=task.trial_minutes,
            hours=config.agent.hours,
            h100_hours=config.budget.h100_hours,
            reserves=retime.worst_case_h100_hours(config, overrun_s=0),
            nested=config.retime.is_nested,
            rules=rules.as_markdown(task.target_loss, asks, config.retime.confirm, where, facts),
        )
    )
    for name, text in texts.items():
        store.write_text(_prompt(paths, name), text)
    return texts


def _prompt(paths: SessionPaths, name: str) -> Path:
    return paths.prompts / f"{name}.md"


def prompt(paths: SessionPaths, names: Sequence[str]) -> str:
    """What an agent is told: these prompts as one text."""
    return "\n".join(_prompt(paths, name).read_text() for name in names)


def _move_aside(path: Path, unless: Callable[[Path], bool]) -> None:
    """Make room in a workspace that was the agent's, for what we put there; a link in the way is not followed."""
    if os.path.lexists(path) and (path.is_symlink() or not unless(path)):
        path.rename(path.with_name(f"{path.name}.moved-{uuid.uuid4().hex[:8]}"))


def begin_history(paths: SessionPaths, run: Callable[..., processes.Completed]) -> None:
    """Make a new workspace a git repository with the starting record as its first commit.

    Args:
        run: runs a command in the agent's container: git obeys what lies in a repository, and this one is the agent's.

    Raises:
        InfrastructureError: it cannot be made.
    """
    if not is_new(paths):
        return
    exclude = f"printf '%s\\n' {shlex.join(_UNTRACKED)} >> .git/info/exclude"
    commit = "git add --all && git commit --quiet --allow-empty --message='The starting record'"
    done = run("sh", "-c", f"git init --quiet --initial-branch=main && {exclude} && {commit}")
    if done.exit_code != 0:
        raise InfrastructureError(f"git could not be set up in {paths.workspace}: {one_line(done.stderr)}")


def program(
    config: Config, paths: SessionPaths, container: Container, agent: Agent, command: Sequence[str], *more: Mount
) -> Program:
    """A command with all that an agent gets to see, and nothing that a verdict rests on."""
    inside = container.inside
    outbox = Mount(paths.outbox, "/desk/outbox", writable=True)
    inbox = Mount(paths.inbox, "/desk/inbox")
    tools = Mount(shipped("containers") / "bin", "/opt/slurm_bench/bin")
    told = Mount(paths.prompts, "/opt/slurm_bench/prompts")
    spoken = Mount(paths.transcript.root, "/opt/slurm_bench/transcript")
    data = Mount(Path(config.task.data), "/workspace/data")
    rules_again = Mount(_prompt(paths, prompts.RULES), "/workspace/RULES.md")
    asks = Mount(paths.experiments_outbox, "/desk/experiments", writable=True)
    door = {"BENCHMARK_EXPERIMENTS": inside(asks)} if config.agent.experiments else _devices()
    own = [*own_program(agent), *([asks] if config.agent.experiments else [])]
    workspace = mount(paths)
    folder = inside(workspace)
    environment = {
        "BENCHMARK_RUN_ID": config.session,
        "BENCHMARK_AGENT": config.agent.kind,
        "BENCHMARK_TIMEOUT_SEC": str(round(config.agent.hours * 3600)),
        "BENCHMARK_WORKSPACE": folder,
        "BENCHMARK_EXPERIMENT_DIR": f"{folder}/experiments",
        "BENCHMARK_SUBMISSION_DIR": f"{folder}/{paths.candidates.name}",
        "BENCHMARK_LOG_DIR": f"{folder}/logs",
        "BENCHMARK_FINAL_PATH": f"{folder}/{FINAL_WORDS}",
        "BENCHMARK_AGENT_DIR": inside(told),
        "BENCHMARK_TRACE_DIR": inside(spoken),
        "BENCHMARK_EVENTS_PATH": f"{inside(spoken)}/{paths.transcript.events.name}",
        "BENCHMARK_OUTBOX": inside(outbox),
        "BENCHMARK_INBOX": inside(inbox),
        "DATA_PATH": folder,  # where records look for data/, so that a copy of one runs in any folder
        **_git_settings(),
        **config.task.environment,  # as the timed runs have them
        **door,
        **agent.environment,
        **config.agent.environment,
    }
    return Program(
        command=command,
        mounts=[workspace, data, rules_again, outbox, inbox, tools, told, spoken, *own, *more],
        home=Mount(paths.agent_home, "/home/agent", writable=True),
        directory=workspace,
        environment=environment,
        path=[inside(tools), *(inside(each) for each in own_program(agent))],
    )


def _devices() -> dict[str, str]:
    return {name: os.environ[name] for name in _DEVICES if name in os.environ}


def own_program(agent: Agent) -> list[Mount]:
    """Its program, where that is not in its image; it comes first on the PATH."""
    return [Mount(agent.shipped, "/opt/slurm_bench/agent")] if agent.shipped else []


def _git_settings() -> dict[str, str]:
    """git's settings by variables, so that they need no file in the agent's home."""
    numbered = list(enumerate(_GIT_SETTINGS.items()))
    keys = {f"GIT_CONFIG_KEY_{number}": name for number, (name, _) in numbered}
    values = {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered}
    return {"GIT_CONFIG_COUNT": str(len(numbered)), **keys, **values}
