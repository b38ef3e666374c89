"""Where an agent's program runs: its container on the node, and the one way out of it, to its model."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from slurm_bench.agents.agent import MODEL_PORT, Agent
from slurm_bench.effects import keys, node, processes, scratch, standstill, store
from slurm_bench.effects.containers import Mount, Program
from slurm_bench.effects.upstream import Upstream
from slurm_bench.pure.model_troubles import Trouble
from slurm_bench.pure.plain import one_line
from slurm_bench.pure.silence import Signs
from slurm_bench.steps import site, workspace
from slurm_bench.words.config import ApiConfig, Config
from slurm_bench.words.model_use import Prices
from slurm_bench.words.paths import SessionPaths

if TYPE_CHECKING:
    from slurm_bench.effects.key_proxy import KeyProxy

GRACE_S = 20.0
"""That an agent's program gets to write down where it is."""
_MOST_ERRORS = 2**30
_PROBE_S = 60
_LAST_BYTES = 4096
_SOCKET = "model"


class Enclosure:
    """
    Args:
        step: what stands before a command line to run it in the session's allocation.
    """

    def __init__(self, config: Config, paths: SessionPaths, agent: Agent, step: Sequence[str]) -> None:
        self._config, self._paths, self._agent, self._step = config, paths, agent, step
        self.container = site.agent_container_of(config)
        self._keys = _keys_of_host(config)
        self._opened = ExitStack()
        self._proxy: KeyProxy | None = None
        self._way_out: tuple[Mount, ...] = ()
        self._said_before = 0

    def __enter__(self) -> Self:
        api = self._config.agent.api
        with ExitStack() as opened:
            if api.maker:
                folder = opened.enter_context(_socket_folder(self._config))
                self._proxy = opened.enter_context(_proxy(self._config, api, folder / _SOCKET, self._paths))
                self._way_out = (Mount(folder, "/desk/model"),)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start the agent's program, with its standard output for us to read."""
        if self._way_out:
            command = ["with_model", str(MODEL_PORT), f"{self._way_out[0].inside}/{_SOCKET}", *command]
        self._said_before = _size(self._paths.agent_log)
        argv = [*self._step, *standstill.recorded(self._paths.agent_head), *self.container.argv(self._program(command))]
        process = processes.start_piped(argv, errors=self._paths.agent_log, most_errors=_MOST_ERRORS)
        store.write(self._paths.agent_process, processes.identify(process.pid))
        return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """End the agent's program, gently at first; return once it is gone."""
        # The program first: srun, asked to end, ends its step by force.
        standstill.end(self._paths.agent_head, grace_s=GRACE_S)
        processes.end_tree(process.pid, grace_s=GRACE_S)
        process.wait()

    def standing_still(self) -> AbstractContextManager[None]:
        """Lets the program that was started last stand still meanwhile."""
        return standstill.of(self._paths.agent_head)

    def run(self, *command: str) -> processes.Completed:
        """Run a short command of ours as the agent would, but in an empty home: nothing of its own is obeyed."""
        parent = scratch.folder(self._config.cluster.scratch)
        with tempfile.TemporaryDirectory(prefix="slurm_bench-home-", dir=parent) as home:
            program = self._program(command)
            program = replace(program, home=replace(program.home, outside=Path(home)))
            try:
                return processes.run([*self._step, *self.container.argv(program)], timeout_s=_PROBE_S)
            except (processes.TimedOut, OSError) as error:
                return processes.Completed(1, "", str(error))

    def _program(self, command: Sequence[str]) -> Program:
        return workspace.program(self._config, self._paths, self.container, self._agent, command, *self._way_out)

    def why_not(self) -> str:
        """Why no container starts here; empty if one does."""
        done = self.run("true")
        return "" if done.exit_code == 0 else one_line(done.stderr) or f"exit code {done.exit_code}"

    def last_words(self) -> str:
        """The last line that the program wrote since its start and that was no event."""
        if not self._paths.agent_log.exists():
            return ""
        with self._paths.agent_log.open("rb") as log:
            log.seek(max(self._said_before, _size(self._paths.agent_log) - _LAST_BYTES))
            lines = log.read().decode("utf-8", errors="replace").strip().splitlines()
        return one_line(lines[-1]) if lines else ""

    def trouble(self) -> Trouble | None:
        return self._proxy.trouble if self._proxy else None

    def signs(self) -> Signs:
        """What shows whether the program that was started last works."""
        return Signs(
            processor_s=standstill.used_s(self._paths.agent_head),
            requests=self._proxy.requests if self._proxy else 0,
            is_asking=self._proxy is not None and self._proxy.is_asking,
        )

    def computes(self) -> bool:
        """Whether a GPU that is visible here does, be it for this program or not."""
        return self._config.container.gpu_devices and node.computing_gpus() > 0

    def has_spent_its_tokens(self) -> bool:
        return self._proxy is not None and self._proxy.is_spent

    def redact(self, line: str) -> str:
        """The line without any key of ours; none is inside, so that this finds none."""
        for key in self._keys:
            line = key.redact(line)
        return line


def check(config: Config) -> None:
    """See that the agent's image is there, and its model's key where the session runs.

    Raises:
        UsageError: naming what is missing.
    """
    site.agent_container_of(config)
    api = config.agent.api
    if api.maker is None:
        return
    site.check_key(config, "agent.api", api)
    _upstream(api, config.agent.model).routes()


def _proxy(config: Config, api: ApiConfig, socket: Path, paths: SessionPaths) -> "KeyProxy":
    # Its aiohttp takes a tenth of a second, which every command and job would spend.
    from slurm_bench.effects.key_proxy import KeyProxy  # noqa: PLC0415

    prices = Prices(**api.prices) if api.prices else None
    return KeyProxy(
        _upstream(api, config.agent.model), socket, paths.model_use, prices=prices, most_tokens=api.most_tokens
    )


def upstreams(config: Config) -> list[Upstream]:
    """Every service that a session asks from its node: its agent's, and its judges'.

    Raises:
        UsageError: a key is missing.
    """
    agent = [_upstream(config.agent.api, config.agent.model)] if config.agent.api.maker else []
    return agent + [_upstream(model, model.model) for model in config.judge.models.values()]


def _upstream(holder: site.KeyHolder, model: str | None) -> Upstream:
    return Upstream(
        maker=str(holder.maker),
        base_url=holder.base_url,
        api_version=holder.api_version,
        key=site.key_of(holder),
        models=frozenset({str(model)}),
    )


@contextmanager
def _socket_folder(config: Config) -> Iterator[Path]:
    """On the node's own disk: a socket's path must be short, and shared file systems know no sockets."""
    folder = Path(tempfile.mkdtemp(prefix="slurm_bench-model-", dir=scratch.folder(config.cluster.scratch)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _keys_of_host(config: Config) -> list[keys.Key]:
    holders: list[site.KeyHolder] = [*config.judge.models.values()]
    holders += [config.agent.api] if config.agent.api.maker else []
    return [site.key_of(holder) for holder in holders]
