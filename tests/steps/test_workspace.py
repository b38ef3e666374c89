"""What an agent finds when it begins, and when it comes back to what it left."""

from pathlib import Path

import pytest

from slurm_bench import agents
from slurm_bench.effects import processes, store
from slurm_bench.effects.containers import Apptainer, Container, NoContainer
from slurm_bench.steps import workspace
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import ConversationState
from tests.conftest import IMAGE
from tests.waiting import LONG_S

CONTRACT = {
    *("AGENT", "AGENT_DIR", "EVENTS_PATH", "EXPERIMENT_DIR", "FINAL_PATH", "INBOX", "LOG_DIR", "OUTBOX", "RUN_ID"),
    *("SUBMISSION_DIR", "TIMEOUT_SEC", "TRACE_DIR", "WORKSPACE"),
}


class Scene:
    def __init__(self, config: Config, container: Container) -> None:
        config.container.kind = "apptainer" if container.image else "none"
        self.config, self.container, self.paths = config, container, SessionPaths(config.session_dir)
        Path(config.task.data).mkdir(exist_ok=True)
        workspace.stage(config, self.paths, Path(config.task.record))

    def run(self, *command: str) -> processes.Completed:
        program = workspace.program(self.config, self.paths, self.container, agents.of(self.config.agent), command)
        return processes.run(self.container.argv(program), timeout_s=LONG_S)

    def sh(self, script: str) -> str:
        done = self.run("sh", "-c", script)
        assert done.exit_code == 0, done.stderr
        return done.stdout


@pytest.fixture(params=["none", pytest.param("apptainer", marks=pytest.mark.apptainer)])
def scene(request: pytest.FixtureRequest, config: Config) -> Scene:
    return Scene(config, NoContainer() if request.param == "none" else Apptainer(IMAGE, gpu_devices=False))


def test_its_history_begins_with_the_starting_record(scene: Scene) -> None:
    workspace.begin_history(scene.paths, scene.run)
    assert scene.sh("git log --format=%s; git ls-files; git status --porcelain").split("\n")[:4] == [
        "The starting record",
        "RULES.md",
        "run.sh",
        "train_gpt.py",
    ]
    scene.sh('echo x > results.tsv; mkdir logs; echo y > logs/z; test -z "$(git status --porcelain)"')
    scene.sh("mkdir experiments/a; cp *.py *.sh experiments/a; cd experiments/a; ln -s ../../data data; echo > run.log")
    scene.sh("git add . && git commit --quiet --message=a")
    assert scene.sh("git ls-files experiments").split() == ["experiments/a/run.sh", "experiments/a/train_gpt.py"]
    scene.sh("git reset --quiet --hard HEAD~1")
    scene.sh("git commit --allow-empty --quiet --message=own")
    store.write(scene.paths.conversation, ConversationState(starts=1))  # from here on it is the agent's
    workspace.begin_history(scene.paths, scene.run)
    assert scene.sh("git log --format=%s").split() == ["own", "The", "starting", "record"]


def test_no_step_back_takes_a_submission_along(scene: Scene) -> None:
    workspace.begin_history(scene.paths, scene.run)
    scene.sh("mkdir submissions/a && cp *.py *.sh submissions/a && git commit --quiet --allow-empty --message=own")
    for command in (
        "reset --hard HEAD~1",
        "clean -fd",
        "stash --include-untracked",
        "checkout --force main",
        "rm -r .",
    ):
        scene.sh(f"git {command} > git.out 2>&1 || true")
        assert scene.sh("ls submissions/a").split() == ["run.sh", "train_gpt.py"], command


def test_a_copy_of_the_record_finds_the_data_in_any_folder(scene: Scene) -> None:
    Path(scene.config.task.data, "shard.bin").write_text("tokens")
    assert scene.sh('mkdir -p experiments/a && cd experiments/a && cat "$DATA_PATH/data/shard.bin"') == "tokens"


def test_a_repository_that_cannot_be_made_is_said(scene: Scene) -> None:
    with pytest.raises(InfrastructureError, match=r"git could not be set up in .*: no git here"):
        workspace.begin_history(scene.paths, lambda *command: processes.Completed(127, "", "no git here"))


def test_what_it_has_removed_does_not_come_back(scene: Scene) -> None:
    store.write(scene.paths.conversation, ConversationState(starts=1))
    (scene.paths.workspace / "run.sh").unlink()
    workspace.stage(scene.config, scene.paths, Path(scene.config.task.record))
    assert not (scene.paths.workspace / "run.sh").exists()


def test_the_variables_of_the_contract(scene: Scene) -> None:
    known = dict(line.split("=", 1) for line in scene.sh("env").splitlines() if "=" in line)
    assert {f"BENCHMARK_{name}" for name in CONTRACT} <= set(known)
    for name in (
        "WORKSPACE",
        "LOG_DIR",
        "SUBMISSION_DIR",
        "EXPERIMENT_DIR",
        "INBOX",
        "OUTBOX",
        "TRACE_DIR",
        "AGENT_DIR",
    ):
        scene.sh(f'test -d "$BENCHMARK_{name}"')
    scene.sh('test -w "$BENCHMARK_OUTBOX"; test -r "$BENCHMARK_AGENT_DIR/problem.md"')


def test_what_it_left_of_the_rules_is_put_right(scene: Scene) -> None:
    rules = scene.paths.workspace / "RULES.md"
    (scene.paths.workspace / "elsewhere").write_text("mine")
    rules.unlink()
    rules.symlink_to("elsewhere")
    workspace.stage(scene.config, scene.paths, Path(scene.config.task.record))
    assert rules.read_text().startswith("# Rules") and not rules.is_symlink()
    assert (scene.paths.workspace / "elsewhere").read_text() == "mine"


@pytest.mark.apptainer
def test_rules_prompts_transcript_and_data_cannot_be_written_inside(config: Config) -> None:
    scene = Scene(config, Apptainer(IMAGE, gpu_devices=False))
    scene.sh('echo x > "$BENCHMARK_OUTBOX/.x" && echo x > mine && echo x > "$BENCHMARK_LOG_DIR/x"')
    for target in ("$BENCHMARK_WORKSPACE/RULES.md", "$BENCHMARK_AGENT_DIR/problem.md", "$BENCHMARK_TRACE_DIR/x"):
        assert scene.run("sh", "-c", f"echo mine > {target}").exit_code != 0
    assert scene.run("sh", "-c", "echo mine > data/x").exit_code != 0
    assert scene.run("sh", "-c", "rm -f RULES.md").exit_code != 0
    assert scene.run("sh", "-c", "mv RULES.md other && echo mine > RULES.md").exit_code != 0


def test_the_schedulers_word_on_gpus_reaches_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert "CUDA_VISIBLE_DEVICES=2,3" in scene.sh("env")
    assert "SLURM_JOB_ID" not in scene.sh("env")
