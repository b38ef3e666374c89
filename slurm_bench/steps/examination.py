"""On a node, as a job of `command=doctor`: what a session would find there. It spends nothing and changes nothing."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from slurm_bench import agents
from slurm_bench.effects import locking, machine, node, processes, scratch, store
from slurm_bench.effects.cluster import Job, python_command
from slurm_bench.effects.containers import Container, Mount, Program
from slurm_bench.effects.processes import Completed
from slurm_bench.effects.slurm import SlurmCluster
from slurm_bench.pure.plain import one_line
from slurm_bench.pure.rules import RUNS
from slurm_bench.steps import enclosure, experiments, retime, site, transcript, workspace
from slurm_bench.words.checkup import ContainerStart, NodeFacts
from slurm_bench.words.config import Config
from slurm_bench.words.errors import BenchError
from slurm_bench.words.paths import CheckupPaths
from slurm_bench.words.trials import Gpu

_START_S = 120
"""That a container may take."""
_UNPACKS = "to temporary sandbox"
"""What Apptainer says when it cannot mount an image."""


def main(folder: str, token: str, gpus: str, _task: str) -> None:
    """
    Args:
        token: what the file of that name must hold.
        gpus: of this job's allocation.
    """
    paths = CheckupPaths(Path(folder))
    config = site.load_config(paths)
    seen = paths.token.read_text() == token
    store.write(paths.facts, _Examination(config, paths).facts(seen, int(gpus)))


def job(paths: CheckupPaths, token: str, gpus: int, config: Config) -> Job:
    """The job that runs this: of a core and no GPU, or a trial's own allocation."""
    return Job(
        name=f"slurm_bench-{paths.root.name}",
        folder=paths.jobs,
        command=python_command(__name__, str(paths.root), token, str(gpus)),
        tasks=1,
        gpus=gpus,
        node_gpus=config.cluster.node_gpus,
        exclusive=bool(gpus) and config.cluster.exclusive,
        limit_minutes=10,
        cpu_only=not gpus,
    )


def jobs_of_a_session(config: Config, folder: Path) -> dict[str, Job]:
    """Jobs like those that a session queues, for sbatch to try out; nobody runs them."""
    cluster = config.cluster
    nothing = Job(
        name="slurm_bench-doctor",
        folder=folder,
        command=["true"],
        tasks=1,
        gpus=cluster.session_gpus,
        node_gpus=cluster.node_gpus,
        exclusive=config.retime.is_nested and cluster.exclusive,
        limit_minutes=cluster.session_minutes,
        cpu_only=not cluster.session_gpus,
    )
    trials = replace(
        nothing,
        cpu_only=False,
        tasks=RUNS,
        gpus=cluster.trial_gpus,
        exclusive=cluster.exclusive,
        limit_minutes=retime.most_minutes_of_a_task(config),
    )
    relay = replace(nothing, gpus=0, exclusive=False, cpu_only=True)
    longest = experiments.limit_minutes(config.agent.experiment_minutes)
    experiment = replace(trials, tasks=1, exclusive=False, limit_minutes=longest)
    others = {} if config.retime.is_nested else {"trials": trials}
    others |= {"experiment": experiment} if config.agent.experiments else {}
    return {"session": nothing, **others, **({"relay": relay} if cluster.chain else {})}


class _Examination:
    def __init__(self, config: Config, paths: CheckupPaths) -> None:
        self._config, self._paths = config, paths
        self._agent = agents.of(config.agent)

    def facts(self, sees_token: bool, gpus: int) -> NodeFacts:
        known = NodeFacts(
            at=datetime.now(UTC),
            node=node.name(),
            python=f"Python {platform.python_version()} at {sys.executable}",
            sees_token=sees_token,
            containers=tuple(self._container_starts()),
            agent_warnings=tuple(self._agent_warnings()),
            fuse_problem=machine.fuse_problem(),
            user_namespaces=machine.user_namespaces(),
            shm_free_gb=machine.free_gb(Path("/dev/shm")),
            lock_problem=self._problem(self._try_lock),
            sbatch_problem=self._problem(self._try_sbatch),
            sacct_problem=self._problem(self._try_sacct),
            keys_problem=self._problem(self._try_keys),
            model_problem=self._problem(self._try_models),
            gpus=self._gpus() if gpus else (),
            gpus_asked=gpus,
        )
        return known.model_copy(update={**self._scratch(), "at": datetime.now(UTC)})

    def _gpus(self) -> tuple[Gpu, ...]:
        try:
            return node.gpus(self._probe(self._trials_container, node.GPU_QUERY))
        except BenchError:
            return ()  # no container: that is found by itself

    def _problem(self, attempt: Callable[[], str]) -> str:
        """What went wrong, in one line; empty if nothing did."""
        try:
            return attempt()
        except (BenchError, OSError) as error:
            return one_line(str(error))

    def _container_starts(self) -> list[ContainerStart]:
        config = self._config
        if config.container.kind == "none":
            return []
        starts = [self._container_start("container.image", self._trials_container, ["true"])]
        asks = self._agent.asks_version
        if asks or (config.agent.image and config.agent.image != config.container.image):
            starts.append(self._container_start("agent.image", self._agents_container, asks or ["true"]))
        return starts

    def _agent_warnings(self) -> list[str]:
        """What the agent's program says that it lacks when it is started without its model."""
        if not self._agent.starts_alone:
            return []
        try:
            done = self._run(self._agents_container, self._agent.starts_alone)
        except BenchError:
            return []  # no container: that is found by itself
        events = filter(None, map(transcript.event_in, done.stdout.splitlines()))
        return [one_line(seen.warning) for seen in map(self._agent.read, events) if seen.warning]

    def _agents_container(self) -> Container:
        return site.agent_container_of(self._config)

    def _trials_container(self) -> Container:
        return site.container_of(self._config.container)

    def _container_start(
        self, field: str, container: Callable[[], Container], command: Sequence[str]
    ) -> ContainerStart:
        began = time.monotonic()
        try:
            done = self._run(container, command)
        except (BenchError, OSError) as error:
            return ContainerStart(field=field, problem=one_line(str(error)))
        return ContainerStart(
            field=field,
            problem=_why(done),
            seconds=time.monotonic() - began,
            unpacked_in=os.environ.get("APPTAINER_TMPDIR", "/tmp") if _UNPACKS in done.stderr else "",
        )

    def _run(self, container: Callable[[], Container], command: Sequence[str]) -> Completed:
        try:
            return processes.run(self._probe(container, command), timeout_s=_START_S)
        except processes.TimedOut as error:
            return Completed(1, "", str(error))

    def _probe(self, container: Callable[[], Container], command: Sequence[str]) -> list[str]:
        """Argument list that runs a command as a step of this job, in a container as a trial's or the agent's."""
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=self._paths.root))
        work, home = Mount(folder, "/trial", writable=True), Mount(folder, "/home/trial", writable=True)
        own = workspace.own_program(self._agent)
        program = Program(
            command=command,
            mounts=[work, *own],
            home=home,
            directory=work,
            environment=self._agent.environment,
            path=[container().inside(each) for each in own],
        )
        argv = [*site.cluster_of(self._config).step, *container().argv(program)]
        # What Apptainer has to say is what we are here for.
        return ["--nocolor" if word == "--quiet" else word for word in argv]

    def _scratch(self) -> dict[str, object]:
        """The fields of NodeFacts about it."""
        try:
            folder = scratch.folder(self._config.cluster.scratch)
            with tempfile.TemporaryDirectory(prefix="slurm_bench-doctor-", dir=folder):
                return {"scratch": str(folder), "scratch_free_gb": machine.free_gb(folder)}
        except (BenchError, OSError) as error:
            return {"scratch_problem": one_line(str(error))}

    def _try_lock(self) -> str:
        held = locking.is_held(self._paths.lock)
        return "" if held else f"{node.name()} takes a lock that is held here: two desks could serve one session"

    def _try_sbatch(self) -> str:
        jobs = jobs_of_a_session(self._config, self._paths.jobs)
        # What matters here is that sbatch works at all; what it thinks of each job was asked on the login node.
        self._slurm().try_out(replace(jobs["session"], gpus=0, cpu_only=True, limit_minutes=1))
        return ""

    def _try_sacct(self) -> str:
        self._slurm().attempts(["slurm_bench-doctor"], datetime.now(UTC))
        return ""

    def _slurm(self) -> SlurmCluster:
        return SlurmCluster(self._config.cluster, self._paths.root / "usage")

    def _try_keys(self) -> str:
        enclosure.upstreams(self._config)
        return ""

    def _try_models(self) -> str:
        for upstream in enclosure.upstreams(self._config):
            for route in upstream.routes().values():
                way = route.proxy or route.url
                if problem := machine.why_unreachable(str(way.host), int(way.port or 0)):
                    return problem
        return ""


def _why(done: Completed) -> str:
    """Why a container did not start, in Apptainer's last words; empty if it did."""
    if done.exit_code == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("srun: ")]
    told = [line for line in lines if line.startswith("FATAL")] or lines
    return one_line(told[-1]) if told else f"exit code {done.exit_code}"


if __name__ == "__main__":
    main(*sys.argv[1:])
