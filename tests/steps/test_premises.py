"""What a session stands on, without a scheduler."""

from pathlib import Path

import pytest

from slurm_bench.effects import human_records
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


def test_a_human_record_is_known_by_its_bytes(tmp_path: Path) -> None:
    """What run and retime ask before they begin."""
    (tmp_path / "train_gpt.py").write_text("print()")
    two_files = "2026-01-19_BigramHashEmbedding"
    assert human_records.changed_files(two_files, tmp_path) == ["train_gpt.py", "triton_kernels.py"]
    assert human_records.changed_files("rehearsal", tmp_path) == []
