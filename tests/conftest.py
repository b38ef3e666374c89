"""Shared fixtures, and what a test may need of the machine."""

import functools
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from slurm_bench.words.config import Config
from tests import clusters

REPOSITORY = Path(__file__).parents[1]
IMAGE = REPOSITORY / "containers" / "rehearsal.sif"
QUICK_REHEARSAL = REPOSITORY / "tests/quick_rehearsal"
AGENT_IMAGE = REPOSITORY / "containers" / "agent.sif"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-goldens", action="store_true", help="write tests/data/verdicts anew; read the diff")


def _has_apptainer() -> bool:
    return bool(shutil.which("apptainer")) and IMAGE.exists()


def _has_agent_programs() -> bool:
    return bool(shutil.which("apptainer")) and AGENT_IMAGE.exists()


def _has_browser() -> bool:
    return shutil.which("chromium") is not None


_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "browser": (_has_browser, "no Chromium: install it, e.g. apt-get install chromium"),
    "slurm": (
        clusters.is_there,
        "no development cluster: as root, scripts/install_cluster_packages and scripts/dev_cluster up",
    ),
    "newer_slurm": (
        lambda: bool(clusters.newer_slurm()),
        "no newer Slurm beside this machine's: as root, scripts/install_cluster_packages",
    ),
    "apptainer": (
        _has_apptainer,
        "no Apptainer or image: as root, scripts/install_cluster_packages and scripts/build_image rehearsal",
    ),
    "agent_programs": (
        _has_agent_programs,
        "no Apptainer or image: as root, scripts/install_cluster_packages and scripts/build_image agent",
    ),
}


def pytest_configure() -> None:
    """Let Ctrl-C reach every program that a test starts: where the tests run in the background, it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the long tests start first, then those with real parts: no process is left with one of them at the end."""
    ranks = ({"long"}, set(_NEEDS))

    def rank(item: pytest.Item) -> int:
        marked = {marker.name for marker in item.iter_markers()}
        return next((number for number, names in enumerate(ranks) if names & marked), len(ranks))

    items.sort(key=rank)


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One test at a time for each process, and a whole module where its tests share a fixture.

    Every process would make that fixture again. (xdist's own groups do not work with pytest 9.2, which keeps the ids
    of tests elsewhere.)
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if _shares_a_fixture(REPOSITORY / module) else nodeid


@functools.cache
def _shares_a_fixture(module: Path) -> bool:
    return 'scope="module"' in module.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling:
    return _Scheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A missing part skips its tests, saying how to get it; under CI it fails them."""
    for marker, (is_there, remedy) in _NEEDS.items():
        if item.get_closest_marker(marker) and not is_there():
            if os.environ.get("CI") == "true":
                pytest.fail(remedy)
            pytest.skip(remedy)


QUICK_PROGRAM = '''\
"""Pretends to train, in the log format of the records."""
import random
import time
from pathlib import Path

num_iterations = 10
LOSS = 3.25
SECONDS = 0.08

log = Path("logs/run.txt")
log.parent.mkdir()
text = Path(__file__).read_text() + "=" * 100 + "\\n"
seconds = SECONDS + random.uniform(0, 0.004)
time.sleep(seconds)
loss = random.gauss(LOSS, 0.002)
ms = round(1000 * seconds)
text += f"step:{num_iterations}/{num_iterations} val_loss:{loss:.4f} "
text += f"train_time:{ms}ms step_avg:{ms / num_iterations:.2f}ms\\n"
log.write_text(text)
'''


@pytest.fixture
def quick_record(tmp_path: Path) -> Path:
    """A starting record whose runs take a tenth of a second."""
    return make_quick_record(tmp_path)


@pytest.fixture
def config(tmp_path: Path, quick_record: Path) -> Config:
    """A session's configuration: this machine, no container, the quick record."""
    return make_config(tmp_path, quick_record, ["cluster/local"], "container/none")


@pytest.fixture
def classic(tmp_path: Path, quick_record: Path) -> Config:
    """The same in the classic design."""
    made = make_config(tmp_path, quick_record, ["cluster/local"], "container/none")
    made.retime.design = "classic"
    return made


def make_quick_record(folder: Path) -> Path:
    record = folder / "quick-record"
    record.mkdir()
    (record / "train_gpt.py").write_text(QUICK_PROGRAM)
    (record / "run.sh").write_text("#!/usr/bin/env bash\nexec python3 train_gpt.py\n")
    return record


def make_config(folder: Path, record: Path, cluster: Sequence[str], container: str) -> Config:
    """A session's configuration from files of conf/, later ones over earlier ones."""
    loaded = OmegaConf.merge(
        OmegaConf.structured(Config),
        {
            "campaign": "test",
            "session": "one",
            "seed": 0,
            "runs": str(folder / "runs"),
            "command": {"name": "run"},
            "agent": section("agent/scripted"),
            "task": {
                "name": "quick",
                "record": str(record),
                "image": str(IMAGE),
                "agent_image": str(AGENT_IMAGE),
                "data": str(folder / "data"),
                "target_loss": 3.28,
                "trial_minutes": 1,
                "trial_gigabytes": 0.1,
            },
            "container": section(container),
            "judge": section("judge/static"),
            "retime": section("retime/paired"),
            "budget": section("budget/published"),
        },
        *({"cluster": section(name)} for name in cluster),
    )
    made = OmegaConf.to_object(loaded)
    assert isinstance(made, Config)
    made.retime.caches = "empty"  # decoy runs have tests of their own
    made.retime.off_clock_growth = 100  # a busy machine's start of 0.03 s may take many times as long
    made.cluster.scratch = str(folder / "scratch")  # trials clear away what they take for leavings of others
    Path(made.cluster.scratch).mkdir(exist_ok=True)
    return made


@functools.cache
def section(name: str) -> DictConfig:
    """A file of conf/, which is read once and nobody may change."""
    section = OmegaConf.load(REPOSITORY / "conf" / f"{name}.yaml")
    assert isinstance(section, DictConfig)
    section.pop("defaults", None)
    return section
