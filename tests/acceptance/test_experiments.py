"""Sessions without GPUs, whose agents ask for a job for each thing that they try: the real programs on a real Slurm."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.experiments import ExperimentNote
from slurm_bench.words.kinds import KINDS
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import Session, SessionState
from slurm_bench.words.verdicts import Outcome
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.test_ledger_on_slurm import dev_cluster, slurm
from tests.acceptance.test_links import links, node_dies
from tests.acceptance.test_real_agents import LAST_WORDS, ROUND, Campaign, script, verdicts
from tests.model_server import Runs, Step
from tests.scripted_model import Scene, ScriptedModel

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.agent_programs,
    pytest.mark.skipif(os.getuid() != 0, reason="only root ends the development cluster's daemons"),
]
MODE = "agent.gpus=experiments"
FASTER = "sed -i 's/^SECONDS = .*/SECONDS = 0.04/' train_gpt.py"
AGAIN = "experiment --minutes 0.5 . | tail -1; experiments"


def to_the_letter(scene: Scene) -> Step | None:
    """Do what the example says, with a change where it says so, and the experiment a second time."""
    if len(scene.prompts) > 1 or scene.results:
        return None
    (example,) = ROUND.findall(scene.prompts[0])
    lines = [line.split("  #")[0] for line in example.splitlines()]
    return Runs("\n".join(f"{FASTER}; {line}; {AGAIN}" if line.startswith("experiment .") else line for line in lines))


def notes(paths: SessionPaths) -> list[ExperimentNote]:
    found = [store.read(path, ExperimentNote) for path in paths.experiments_inbox.glob("*.json")]
    return sorted(found, key=lambda note: note.number)


def entries(paths: SessionPaths) -> list[LedgerEntry]:
    return [store.read(path, LedgerEntry) for path in sorted(paths.ledger.glob("*.json"))]


def check_books(paths: SessionPaths) -> None:
    """Everything is settled, and charged as sacct has it."""
    for entry in (each for each in entries(paths) if each.kind in KINDS):
        assert entry.settled_at, entry.job_name
        assert entry.charged_gpu_seconds == sacct.gpu_seconds(entry.job_name), entry.job_name


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_who_does_what_the_prompt_says_gets_accepted(tmp_path: Path, agent: str) -> None:
    """Two experiments and a candidate, from a session's job without GPUs."""
    model = ScriptedModel([[], []], [to_the_letter, lambda scene: LAST_WORDS if len(scene.prompts) > 1 else None])
    campaign = Campaign(tmp_path, model)
    done = campaign.run(agent, "cluster=dev", MODE)
    assert done.returncode == 0, done.stderr
    paths = campaign.paths()
    (verdict,) = verdicts(paths)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.reason
    printed = model.printed
    assert "val_loss:" in printed and '"outcome": "accepted"' in printed
    assert [(note.number, note.state, note.exit_code) for note in notes(paths)] == [
        ("0001", "over", 0),
        ("0002", "over", 0),
    ]
    # Slurm counts whole seconds, and these take less than one.
    assert all(note.h100_hours is not None and note.left_h100_hours for note in notes(paths))
    assert [link.gpus for link in links(paths)] == [0]
    kinds = {entry.kind for entry in entries(paths) if entry.gpus}
    assert kinds == {"experiment", "retiming"}
    check_books(paths)
    campaign.check_no_key_anywhere()


def test_a_dead_node_a_limit_and_a_dead_desk_lose_nothing(tmp_path: Path) -> None:
    """An experiment's node dies, one meets its limit, and one outlives the node of its session."""
    model = script(
        [
            asks("dies", "sleep 600"),
            asks("limited", "echo begun; sleep 600", "--minutes 0.05"),
            asks("outlives", "echo before; sleep 40; echo after", "--minutes 2"),
        ],
        ["until experiments | grep 0003 | grep -q over; do sleep 1; done", "experiments"],
    )
    campaign = Campaign(tmp_path, model)
    paths = campaign.paths()
    with campaign.served() as server:
        apart = "+cluster.sbatch.exclude=gpu1"  # where the session's first job is
        running = campaign.start(server, "claude", MODE, apart)
        waiting.until(lambda: runs(paths, "0001"))
        with dead_node(experiment(paths, "0001")):
            waiting.until(lambda: runs(paths, "0003"))
            with dead_node(links(paths)[0]):
                assert running.wait(waiting.LONG_S) == 0
    ended = store.read(paths.session, Session)
    assert ended.state is SessionState.FINISHED
    assert [(note.exit_code, note.state) for note in notes(paths)] == [(3, "over"), (124, "over"), (0, "over")]
    assert "NODE_FAIL" in notes(paths)[0].note
    assert paths.experiment_output("0003").read_text() == "before\nafter\n"
    assert [link.attempts[-1].state.value for link in links(paths)] == ["NODE_FAIL", "COMPLETED"]
    check_books(paths)


@pytest.mark.long
def test_an_experiment_outlives_the_limit_of_its_session(tmp_path: Path) -> None:
    """The session's job of two minutes meets its limit while an experiment runs; the next job's agent hears of it."""
    model = script(
        [asks("outlives", "echo before; sleep 150; echo after", "--minutes 4")],
        ["until experiments | grep 0001 | grep -q over; do sleep 1; done", "experiments"],
    )
    campaign = Campaign(tmp_path, model)
    paths = campaign.paths()
    done = campaign.run("claude", "cluster=dev", MODE, "cluster.session_hours=0.0333")
    assert done.returncode == 0, done.stderr
    assert store.read(paths.session, Session).state is SessionState.FINISHED
    assert len(links(paths)) >= 2 and {link.attempts[-1].state.value for link in links(paths)} == {"COMPLETED"}
    assert [(note.exit_code, note.state) for note in notes(paths)] == [(0, "over")]
    assert paths.experiment_output("0001").read_text() == "before\nafter\n"
    first, ran = (entry.attempts[-1].ended for entry in (links(paths)[0], experiment(paths, "0001")))
    assert first and ran and first < ran, "it ran on when the session's job ended"
    check_books(paths)


def asks(name: str, launcher: str, options: str = "") -> str:
    folder = f"experiments/{name}"
    return f"mkdir {folder} && echo '{launcher}' > {folder}/run.sh && experiment {options} {folder} | tail -1; true"


def experiment(paths: SessionPaths, number: str) -> LedgerEntry:
    (found,) = paths.ledger.glob(f"*-experiment{number}.json")
    return store.read(found, LedgerEntry)


def runs(paths: SessionPaths, number: str) -> bool:
    return paths.experiment(number).run.exists()


@contextmanager
def dead_node(entry: LedgerEntry) -> Iterator[None]:
    """A job's node is dead meanwhile."""
    node = node_dies(entry)
    try:
        yield
    finally:
        if "down" in slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%t"):
            slurm("scontrol", "update", f"nodename={node}", "state=resume")
        dev_cluster("up")
