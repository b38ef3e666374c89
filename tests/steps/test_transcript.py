"""What of a program's output is said elsewhere than in its transcript."""

import io
import json
from pathlib import Path

import pytest

from slurm_bench.agents.codex import Codex
from slurm_bench.steps.transcript import Transcript
from slurm_bench.words.paths import SessionPaths
from tests.waiting import LONG_S


def test_what_a_program_lacks_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = SessionPaths(tmp_path)
    transcript = Transcript(paths.transcript, Codex("m"), str, plain=paths.agent_log)
    lack = {"type": "item.completed", "item": {"type": "error", "message": "Metadata for m\x1b[2J not found"}}
    said = "".join(f"{json.dumps(event)}\n" for event in (lack, {"type": "turn.started"}, lack))
    transcript.follow(io.BytesIO(said.encode())).join(LONG_S)
    warnings = [each.getMessage() for each in caplog.records]
    assert warnings == ["the agent's program warns: Metadata for m\N{REPLACEMENT CHARACTER}[2J not found"]
    assert transcript.turn.failure == ""
