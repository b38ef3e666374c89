"""What a session stands on, without a scheduler."""

from pathlib import Path

import pytest

from slurm_bench.effects.sources import Folder
from slurm_bench.steps import data, premises
from slurm_bench.words.config import Config, DataCommand
from tests.hub_server import REPO, TOKENS, shards


@pytest.mark.parametrize("training", [1, 2])
def test_how_many_training_shards_there_are(config: Config, tmp_path: Path, training: int) -> None:
    """How many there should be, only the record knows."""
    source, config.task.synthetic = tmp_path / "source", None
    source.mkdir()
    for name, body in shards(training).items():
        (source / name).write_bytes(body)
    command = DataCommand(repo=REPO, training_shards=training, shard_tokens=TOKENS)
    data.collect(command, Path(config.task.data) / "fineweb10B", Folder(source, REPO))
    (finding,) = dict(premises.looks(config, hashes=False))["data"]()
    assert f"{training} training shards and the validation shard in {config.task.data}" in str(finding)
