"""A session on the real cluster with real containers, whose agent is the test.

`agent` runs what a hostile agent would, in the very container that a session starts it in. `submit` is the whole way
of a submission; `trial` is one run of a candidate that every judge let pass, on the cluster.
"""

import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from slurm_bench import agents
from slurm_bench.effects import processes, seals, store
from slurm_bench.steps import site, trial, workspace
from slurm_bench.steps.retime import Timing
from slurm_bench.words.config import Config
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.paths import RetimingPaths
from slurm_bench.words.trials import Caches, Trial
from slurm_bench.words.verdicts import Verdict
from tests.clusters import DEV_CLUSTER
from tests.conftest import IMAGE, make_config, make_quick_record
from tests.scene import BaseScene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every attack is real, but those on what needs neither cluster nor container."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name != "test_experiments.py":
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.apptainer)


class Scene(BaseScene):
    def __init__(self, config: Config) -> None:
        container = site.container_of(config.container)
        super().__init__(config, site.cluster_of(config), container, uuid.uuid4().hex[:12])
        for empty in (self.paths.submissions, self.paths.seals):  # whichever test comes first
            empty.mkdir(exist_ok=True)
        workspace.stage(config, self.paths, self.record)

    def agent(self, script: str, timeout_s: float = 600) -> processes.Completed:
        """Run a script in the agent's own container."""
        return processes.run(self.agent_argv(script), timeout_s=timeout_s)

    def agent_argv(self, script: str) -> list[str]:
        agent = agents.of(self.config.agent)
        program = workspace.program(self.config, self.paths, self.container, agent, ["bash", "-c", script])
        return self.container.argv(program)

    def agent_while_serving(self, script: str) -> processes.Completed:
        """Run a script in the agent's container while the desk answers, so that it may call `submit`."""
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.agent, script)
            while not done.done():
                self.desk.serve()
                time.sleep(0.05)
        return done.result()

    def candidate(self, *edits: tuple[str, str], name: str = "", after: str = "") -> Path:
        return self.edited(name or f"candidate{next(self._numbers)}", edits, after)

    def submit(self, path: Path | str, request: str = "", judge_fooled: bool = False) -> Verdict:
        if judge_fooled:
            number = f"{len(list(self.paths.submissions.glob('*/submission.json'))) + 1:04}"
            store.write(self.paths.submission(number).opinion, Opinion(judge="fooled", seal=""))
        return super().submit(path, request)

    def trials(self, verdict: Verdict) -> list[Trial]:
        where = self.paths.submission(verdict.submission).retiming
        return [store.read(where.trial(index), Trial) for index in range(10)]

    def trial(
        self, candidate: Path, caches: tuple[Caches | None, ...] = (), **changes: object
    ) -> tuple[Trial, RetimingPaths]:
        """One run of a candidate by a real array task, and where its output lies."""
        return self.begin_trial(candidate, caches, **changes)()

    def begin_trial(
        self, candidate: Path, caches: tuple[Caches | None, ...] = (), **changes: object
    ) -> Callable[[], tuple[Trial, RetimingPaths]]:
        """Queue it, and return what waits for it."""
        name = f"single{next(self._numbers)}"
        sealed = seals.seal(self.paths.workspace, PurePosixPath("submissions") / candidate.name, self.paths.seals)
        where = RetimingPaths(self.paths.root / name)
        timing = Timing("retiming", name, (sealed,), caches=caches)
        plan = self.retimer._plan(timing, where, (0,)).model_copy(update=changes)
        store.write(where.plan, plan)
        self.retimer.begin(timing, where)

        def wait() -> tuple[Trial, RetimingPaths]:
            (only,) = self.retimer._array(timing, where, (0,))
            return only.candidate, where

        return wait

    def trial_argv(self, candidate: Path) -> list[str]:
        """The command line of a candidate's trial, without the cluster's step."""
        sealed = seals.seal(self.paths.workspace, PurePosixPath("submissions") / candidate.name, self.paths.seals)
        where = RetimingPaths(self.paths.root / f"single{next(self._numbers)}")
        plan = self.retimer._plan(Timing("retiming", "", (sealed,)), where, (0,)).model_copy(update={"step": ()})
        folder = where.root / "scratch"
        folder.mkdir(parents=True)
        return trial.command_line(plan, plan.arms[0], folder, ["bash", "run.sh"])

    def batch_scripts(self) -> list[str]:
        """Every batch script that was queued so far, and at least one."""
        if not list(self.paths.root.rglob("*_submission.sh")):
            self.trial(self.candidate())
        return [path.read_text() for path in self.paths.root.rglob("*_submission.sh")]

    def printed(self, where: RetimingPaths) -> str:
        return (where.trials / "00.out").read_text("utf-8", "replace")


def make_scene_config(folder: Path) -> Config:
    config = make_config(folder, make_quick_record(folder), ["cluster/slurm", "cluster/dev"], "container/apptainer")
    config.cluster.slurm_conf = str(DEV_CLUSTER / "slurm.conf")
    config.cluster.parallel = 4
    config.cluster.poll_seconds = 0.2
    config.cluster.absent_grace_seconds = 10
    config.container.image = str(IMAGE)
    config.agent.submissions_per_hour = 1000
    config.task.trial_minutes = 3.0
    return config


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One session: its attacks share it, as those of one agent do."""
    config = make_scene_config(tmp_path_factory.mktemp("scene"))
    Path(config.task.data).mkdir()
    (Path(config.task.data) / "validation.bin").write_text("true tokens")
    return Scene(config)


@pytest.fixture(autouse=True)
def clean_outbox(scene: Scene) -> None:
    for file in scene.paths.outbox.iterdir():
        processes.run(["rm", "-rf", str(file)], timeout_s=10)


def is_root() -> bool:
    return os.geteuid() == 0
