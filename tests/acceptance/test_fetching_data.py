"""`python -m slurm_bench command=data` as a process: what it leaves where, and what is left when it is ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from slurm_bench.effects import shards
from tests.conftest import REPOSITORY
from tests.hub_server import CHUNK, COMMIT, LARGE_TOKENS, REPO, TOKENS, HubServer, Page, Stalls, Status
from tests.hub_server import shards as small_shards
from tests.waiting import LONG_S, until

FIRST = "fineweb_train_000001.bin"
FILES = small_shards(training=1)
LARGE = small_shards(training=1, tokens=LARGE_TOKENS)


def argv(data: Path, tokens: int, *overrides: str) -> list[str]:
    there = (f"runs={data.parent / 'runs'}", f"task.data={data}")
    own = (f"repo={REPO}", "training_shards=1", f"shard_tokens={tokens}", *there)
    return [sys.executable, "-m", "slurm_bench", "command=data", "task=nanogpt_speedrun", *own, *overrides]


def environment(home: Path, server: HubServer) -> Mapping[str, str]:
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    return {**kept, "HOME": str(home), "HF_ENDPOINT": server.url, "HF_TOKEN": "hf_secret"}


def fetch(
    tmp_path: Path, server: HubServer, *overrides: str, tokens: int = TOKENS
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv(tmp_path / "data", tokens, *overrides),
        cwd=REPOSITORY,
        env=environment(tmp_path / "home", server),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


def until_stalled(tmp_path: Path, server: HubServer) -> "subprocess.Popen[str]":
    """A run that waits for the rest of its first shard."""
    started = subprocess.Popen(
        argv(tmp_path / "data", LARGE_TOKENS),
        cwd=REPOSITORY,
        env=environment(tmp_path / "home", server),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stalled.wait(LONG_S)
    until(lambda: sum(path.stat().st_size for path in tmp_path.glob("data/fineweb10B/.*.incomplete")) >= CHUNK)
    return started


def test_the_hub_that_the_environment_names(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        done = fetch(tmp_path, server)
        assert done.returncode == 0, done.stderr
        assert {each.headers["authorization"] for each in server.requests} == {"Bearer hf_secret"}
        assert not server.unexpected, "no telemetry, no list of agent programs"
    assert done.stdout.startswith("2 shards, 0.000242 GB, in ")
    assert f"{FIRST}: SHA-256 " in done.stderr and "hf_secret" not in done.stderr
    folder = tmp_path / "data" / "fineweb10B"
    assert sorted(path.name for path in folder.iterdir()) == [*sorted(FILES), "shards.json"]
    assert COMMIT in (folder / "shards.json").read_text()
    assert "hf_secret" not in (folder / "shards.json").read_text()
    assert shards.check(tmp_path / "data", whole=True) == []
    assert "random tokens in the form of these shards (docs/decoys.md): 2 shards in " in done.stdout
    (decoys,) = (tmp_path / "runs" / "shards").glob("*/fineweb10B")
    assert sorted(path.name for path in decoys.iterdir()) == [*sorted(FILES), "shards.json"]
    assert not list((tmp_path / "home").rglob("*")), "nothing is written into HOME"


@pytest.mark.parametrize(
    ("step", "exit_code", "words"),
    [
        (Page(), 2, f"{FIRST} from http"),
        (Status(404, {"X-Error-Code": "EntryNotFound"}), 2, "command.repo: "),
        (Status(403), 3, "403 Forbidden"),
    ],
)
def test_failures_are_one_line(tmp_path: Path, step: Page | Status, exit_code: int, words: str) -> None:
    with HubServer(FILES, {FIRST: [step]}) as server:
        failed = fetch(tmp_path, server)
    assert failed.returncode == exit_code, failed.stderr
    assert failed.stderr.splitlines()[-1].startswith(f"slurm_bench: {words}" if exit_code == 2 else "slurm_bench: http")
    assert words in failed.stderr and "Traceback" not in failed.stderr


@pytest.mark.parametrize(("ended_by", "exit_code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_that_is_ended_is_gone_on_with(tmp_path: Path, ended_by: signal.Signals, exit_code: int) -> None:
    with HubServer(LARGE, {FIRST: [Stalls(CHUNK + 1000)]}) as server:
        started = until_stalled(tmp_path, server)
        started.send_signal(ended_by)
        started.communicate(timeout=LONG_S)
        assert started.returncode == exit_code
        assert not list(tmp_path.glob("data/fineweb10B/*.bin"))
        again = fetch(tmp_path, server, tokens=LARGE_TOKENS)
        assert again.returncode == 0, again.stderr
        assert [each.starts_at for each in server.of(FIRST)] == [0, CHUNK]
    assert shards.check(tmp_path / "data", whole=True) == []


def test_two_runs_at_once(tmp_path: Path) -> None:
    with HubServer(LARGE, {FIRST: [Stalls(CHUNK + 1000)]}) as server:
        first = until_stalled(tmp_path, server)
        second = fetch(tmp_path, server, tokens=LARGE_TOKENS)
        assert (second.returncode, len(server.of(FIRST))) == (2, 1)
        assert "command.folder: another run is getting shards" in second.stderr
        first.kill()
        first.communicate(timeout=LONG_S)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training_shards=0"], "command.training_shards must be above 0"),
        (["shard_tokens=many"], "command.shard_tokens"),
        (["verify=perhaps"], "command.verify"),
        (["source=ftp://somewhere"], "command.source: no folder"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, overrides: list[str], words: str) -> None:
    with HubServer(FILES) as server:
        refused = fetch(tmp_path, server, *overrides)
    assert refused.returncode == 2 and words in refused.stderr.splitlines()[-1]
