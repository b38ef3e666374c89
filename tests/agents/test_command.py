"""Any program as agent: what is started, what it is told and how, and what its output says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurm_bench import agents
from slurm_bench.agents.agent import MODEL_URL, Seen
from slurm_bench.effects import processes
from slurm_bench.effects.containers import Apptainer, Container, NoContainer
from slurm_bench.steps import cli, site, workspace
from slurm_bench.words.config import AgentConfig, ApiConfig, Config, EventsConfig, ProgramConfig
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import SessionPaths
from tests.conftest import IMAGE, REPOSITORY
from tests.waiting import LONG_S

PROMPT = "- Say {conversation}\nand $HOME, 'please'."
EVENTS = EventsConfig(conversation="id", text="says", action="does.what", output="does.got", failure="error")


def configured(program: ProgramConfig, maker: str | None = None) -> AgentConfig:
    api = ApiConfig(maker=maker, base_url="https://resource" if maker else None)
    return AgentConfig(
        kind="command",
        hours=1.0,
        submissions_per_hour=1,
        model="the-model" if maker else None,
        api=api,
        program=program,
    )


def command(prompt: str, conversation: str | None = None, **program: Any) -> list[str]:
    return list(agents.of(configured(ProgramConfig(**program))).command(prompt, conversation))


def test_a_prompt_as_an_argument() -> None:
    assert command(PROMPT, argv=["own", "--tell={prompt}"]) == ["own", f"--tell={PROMPT}"]


def test_how_it_goes_on() -> None:
    program: dict[str, Any] = {
        "argv": ["own", "{prompt}"],
        "resume": ["own", "on", "{conversation}", "{prompt}"],
        "events": EVENTS,
    }
    assert command(PROMPT, **program) == ["own", PROMPT]
    assert command(PROMPT, "c1", **program) == ["own", "on", "c1", PROMPT]


@pytest.fixture(params=["none", pytest.param("apptainer", marks=pytest.mark.apptainer)])
def container(request: pytest.FixtureRequest) -> Container:
    return NoContainer() if request.param == "none" else Apptainer(IMAGE, gpu_devices=False)


def test_a_prompt_on_standard_input_of_a_program_in_a_folder_of_its_own(
    config: Config, container: Container, tmp_path: Path
) -> None:
    program = tmp_path / "own folder" / "own"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$1"; cat; cat /dev/stdin; exit 3\n')
    program.chmod(0o755)
    paths = SessionPaths(config.session_dir)
    config.agent = configured(ProgramConfig(argv=["own", "one argument"], folder=str(program.parent)))
    config.container.kind = "apptainer" if container.image else "none"
    Path(config.task.data).mkdir(exist_ok=True)
    workspace.stage(config, paths, Path(config.task.record))
    agent = agents.of(config.agent)
    made = workspace.program(config, paths, container, agent, agent.command(PROMPT, None))
    done = processes.run(container.argv(made), timeout_s=LONG_S)
    assert (done.exit_code, done.stdout) == (3, f"one argument\n{PROMPT}{PROMPT}"), done.stderr


def test_what_its_events_say() -> None:
    agent = agents.of(configured(ProgramConfig(argv=["own"], resume=["own", "{conversation}"], events=EVENTS)))
    assert agent.has_events
    assert agent.read({"id": "c1", "says": "I look."}) == Seen("c1", "I look.")
    assert agent.read({"does": {"what": {"run": "ls"}, "got": "a\nb"}}) == Seen(
        text='$ {"run": "ls"}\n  a\n  b', acted=True
    )
    assert agent.read({"error": "no more"}) == Seen(failure="no more")
    assert agent.read({"error": {"code": 7}}) == Seen(failure='{"code": 7}')
    assert agent.read({"does": "odd", "id": ["odd"]}) == Seen('["odd"]')


def test_without_a_way_to_go_on_there_is_no_conversation() -> None:
    agent = agents.of(configured(ProgramConfig(argv=["own"], events=EVENTS)))
    assert agent.read({"id": "c1"}).conversation is None


def test_one_whose_output_is_text_acts_whatever_it_prints() -> None:
    agent = agents.of(configured(ProgramConfig(argv=["own"])))
    assert not agent.has_events and agent.converses
    assert agent.read({"loss": 3.3}) == Seen(text='{"loss": 3.3}', acted=True)


@pytest.mark.parametrize(
    ("maker", "variable", "url"),
    [
        ("anthropic", "ANTHROPIC_BASE_URL", MODEL_URL),
        ("openai", "OPENAI_BASE_URL", f"{MODEL_URL}/v1"),
        ("azure", "OPENAI_BASE_URL", f"{MODEL_URL}/v1"),
    ],
)
def test_where_its_model_is(maker: str, variable: str, url: str) -> None:
    assert agents.of(configured(ProgramConfig(argv=["own"]), maker)).environment[variable] == url


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match=r"agent\.program\.argv must be a command line, got \[\]"):
        configured(ProgramConfig())
    with pytest.raises(UsageError, match=r"agent\.program\.argv must be empty without the kind command"):
        replace(configured(ProgramConfig(argv=["own"])), kind="scripted")
    with pytest.raises(UsageError, match=r"agent\.program\.events\.conversation"):
        ProgramConfig(argv=["own"], resume=["own", "{conversation}"])
    with pytest.raises(UsageError, match=r"agent\.program\.resume"):
        ProgramConfig(argv=["own"], resume=["own", "on"], events=EVENTS)
    with pytest.raises(UsageError, match=r"agent\.model must be the name of a model"):
        replace(configured(ProgramConfig(argv=["own"])), api=ApiConfig(maker="anthropic"))


def test_its_folder_has_to_be_there_and_apart_from_the_runs(config: Config, tmp_path: Path) -> None:
    config.agent = configured(ProgramConfig(argv=["own"], folder=str(tmp_path / "none")))
    with pytest.raises(UsageError, match=r"agent\.program\.folder: no folder .*none"):
        site.check_folders(config)
    config.agent.program.folder = str(tmp_path)
    config.container.kind = "apptainer"
    with pytest.raises(UsageError, match=r"runs: .* lies in agent\.program\.folder, which the agent sees"):
        site.check_folders(config)


def test_a_command_line_names_one() -> None:
    line = ["agent=command", "agent.program.argv=[own,'{prompt}']", "agent.program.again=false"]
    (config,) = cli.composed(line)
    agent = agents.of(config.agent)
    assert (agent.command("Begin.", None), agent.converses) == (["own", "Begin."], False)
    assert config.agent.title == "command"


def test_the_file_that_the_docs_show(tmp_path: Path) -> None:
    shown = (REPOSITORY / "docs" / "agents.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "ours.yaml").write_text(shown)
    (config,) = cli.composed([f"--config-dir={tmp_path}", "agent=ours"])
    agent = agents.of(config.agent)
    assert (agent.command("Begin.", None), agent.shipped) == (["run.sh", "Begin."], Path("/SHARED/our_agent"))


def test_opencode_is_one() -> None:
    (config,) = cli.composed(["agent=opencode", "container=apptainer"])
    agent = agents.of(config.agent)
    assert "--model=anthropic/claude-opus-4-6" in agent.command("Begin.", None)
    assert agent.command("Go on.", "ses_1")[-1] == "--session=ses_1"
    assert agent.has_lost("Error: Session not found")
    assert config.agent.title == "opencode"
