"""The agents' programs themselves, in their image and without network, with a scripted model behind the key proxy."""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from slurm_bench import agents
from slurm_bench.agents.agent import FINAL_WORDS, MODEL_PORT, Agent
from slurm_bench.effects import processes
from slurm_bench.effects.containers import Apptainer, Mount, Program
from slurm_bench.effects.key_proxy import KeyProxy, Upstream
from slurm_bench.effects.keys import Key
from slurm_bench.steps import cli
from slurm_bench.words.config import AgentConfig
from tests.conftest import AGENT_IMAGE, REPOSITORY
from tests.model_server import ModelServer, Overloads, Request, Runs, Status
from tests.scripted_model import ScriptedModel, Times
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.agent_programs

SECRET = "sk-real-0123456789abcdef"
CHOICES = {
    "claude": ["agent=claude"],
    "codex": ["agent=codex"],
    "codex on azure": ["agent=codex_azure", "agent.api.base_url=http://azure"],
    "codex current": ["agent=codex_current"],
    "codex that does not know its model": ["agent=codex", "agent.executable=codex-current"],
    "opencode": ["agent=opencode"],
    "opencode on openai": ["agent=opencode", "agent.api.maker=openai", "agent.model=gpt-5.4", "agent.effort=xhigh"],
}
WRITES = "echo $((40 + 2)) > answer"


@dataclass(frozen=True)
class Turn:
    """One run of a program, as its agent reads it."""

    exit_code: int
    conversation: str
    text: str
    failure: str | None
    last_line: str
    """Of its standard error."""
    warnings: list[str]

    @property
    def is_good(self) -> bool:
        return self.exit_code == 0 and not self.failure


@dataclass(frozen=True)
class Place:
    folder: Path
    """With the folders of the container's mounts."""
    sockets: Path
    config: AgentConfig

    @property
    def agent(self) -> Agent:
        return agents.of(self.config)

    @property
    def model(self) -> str:
        return str(self.config.model)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def proxy(self, server: ModelServer) -> KeyProxy:
        maker = str(self.config.api.maker)
        upstream = Upstream(maker, server.base_url(maker), None, Key(SECRET), frozenset({self.model}))
        return KeyProxy(upstream, self.sockets / "model", self.folder / "use.json")

    def argv(self, command: Sequence[str]) -> list[str]:
        work = Mount(self.work, "/workspace", writable=True)
        home = Mount(self.folder / "home", "/home/agent", writable=True)
        tools, model = Mount(REPOSITORY / "containers" / "bin", "/tools"), Mount(self.sockets, "/model")
        command = ["with_model", str(MODEL_PORT), "/model/model", *command]
        environment = {**self.agent.environment, **self.config.environment}
        program = Program(command, [work, tools, model], home, work, environment, ["/tools"])
        return Apptainer(AGENT_IMAGE, gpu_devices=False).argv(program)

    def turn(self, prompt: str, conversation: str | None = None) -> Turn:
        return self.run(self.agent.command(prompt, conversation))

    def run(self, command: Sequence[str]) -> Turn:
        done = processes.run(self.argv(command), timeout_s=LONG_S)
        seen = [self.agent.read(json.loads(line)) for line in done.stdout.splitlines()]
        conversations = {each.conversation for each in seen if each.conversation}
        failures = [each.failure for each in seen if each.failure is not None]
        return Turn(
            exit_code=done.exit_code,
            conversation=conversations.pop() if len(conversations) == 1 else "",
            text="\n".join(each.text for each in seen),
            failure=failures[-1] if failures else None,
            last_line=(done.stderr.splitlines() or [""])[-1],
            warnings=[each.warning for each in seen if each.warning],
        )


@pytest.fixture(params=["claude", "codex", "opencode"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    with tempfile.TemporaryDirectory(prefix="sb") as sockets:  # whose path has to be short
        (config,) = cli.composed([*CHOICES[request.param], "container=apptainer"])
        yield Place(tmp_path, Path(sockets), config.agent)


@pytest.mark.parametrize(
    "place", ["claude", "codex", "codex on azure", "opencode", "opencode on openai"], indirect=True
)
def test_a_turn_and_another_of_the_same_conversation(place: Place) -> None:
    model = ScriptedModel([[WRITES, "cat answer; id -u"], ["cat answer answer"]])
    with ModelServer(model) as server, place.proxy(server) as proxy:
        first = place.turn("- Find the answer.")
        second = place.turn("Twice, please.", first.conversation)

    assert first.is_good, first
    assert second.is_good and second.conversation == first.conversation, second
    assert (place.work / "answer").read_text() == "42\n"
    assert WRITES in first.text
    assert "Turn 0 ends." in first.text
    assert "Turn 1 ends." in second.text
    assert model.scenes[-1].prompts == ["- Find the answer.", "Twice, please."]
    assert [result.split() for result in model.scenes[-1].results] == [["42", "42"]]
    assert proxy.use.by_model[place.model].requests == len(model.scenes) == 5
    for request in server.requests:
        assert (request.key, request.model) == (SECRET, place.model)
        assert "web_search" not in json.dumps([tool.get("type") for tool in request.body["tools"]])
    if place.config.kind == "codex":
        assert (place.work / FINAL_WORDS).read_text() == "Turn 1 ends."


def test_a_command_that_goes_on(place: Place) -> None:
    slow = Runs("echo early; sleep 2; echo late", wait_ms=250)
    model = ScriptedModel([["never run"]], instead=[Times(slow, 1)])
    with ModelServer(model) as server, place.proxy(server):
        assert place.turn("Wait for it.").exit_code == 0
    assert [result.split() for result in model.scenes[-1].results] == [["early", "late"]]


@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        *product(["claude", "codex"], [Status(500, "broken"), Overloads()]),
        *product(["claude", "opencode"], [Status(429, "slower", retry_after=1)]),
    ],
    indirect=["place"],
)
def test_trouble_that_passes(place: Place, trouble: Status | Overloads) -> None:
    model = ScriptedModel([[WRITES]], instead=[Times(trouble, 2, command=1)])
    with ModelServer(model) as server, place.proxy(server):
        turn = place.turn("Find the answer.")
    assert turn.is_good, turn
    assert len(model.scenes) == 4


@pytest.mark.parametrize(
    ("place", "code"), [("claude", 403), ("codex", 403), ("codex", 429), ("opencode", 403)], indirect=["place"]
)
def test_trouble_that_ends_a_turn_and_not_the_conversation(place: Place, code: int) -> None:
    model = ScriptedModel([[WRITES], ["cat answer"]], instead=[Times(Status(code, "not today"), 9, command=1)])
    with ModelServer(model) as server, place.proxy(server):
        failed = place.turn("Find the answer.")
        resumed = place.turn("What is it?", failed.conversation)
    assert failed.exit_code == 1
    assert failed.failure and (str(code) in failed.failure or "refuses" in failed.failure)
    assert resumed.is_good and resumed.conversation == failed.conversation, resumed
    assert [result.split() for result in model.scenes[-1].results] == [["42"]]


def test_killed_in_mid_command_it_goes_on(place: Place) -> None:
    model = ScriptedModel([[WRITES, "touch begun; sleep 3600"], ["cat answer"]])
    with ModelServer(model) as server, place.proxy(server):
        output = place.folder / "output"
        process = processes.start(place.argv(place.agent.command("Find the answer.", None)), output=output)
        until((place.work / "begun").exists)
        processes.end_tree(process.pid)
        lines = output.read_text().splitlines()
        seen = [place.agent.read(json.loads(line)) for line in lines if line.startswith("{")]
        conversation = next(each.conversation for each in seen if each.conversation)
        resumed = place.turn("What is it?", conversation)
    assert resumed.is_good and resumed.conversation == conversation, resumed
    assert model.scenes[-1].prompts == ["Find the answer.", "What is it?"]
    assert [result.split() for result in model.scenes[-1].results] == [["42"]]


def test_a_conversation_that_it_does_not_know(place: Place) -> None:
    with ModelServer(ScriptedModel([[]])) as server, place.proxy(server):
        turn = place.turn("Go on.", "11111111-2222-4333-8444-555555555555")
    assert turn.exit_code == 1
    assert place.agent.has_lost(turn.failure or turn.last_line), turn
    assert server.requests == []


@pytest.mark.parametrize("place", ["codex"], indirect=True)
def test_codex_as_published_has_what_its_model_is_made_for(place: Place) -> None:
    with ModelServer(ScriptedModel([[]])) as server, place.proxy(server):
        turn = place.turn("Find the answer.")
    (asked,) = server.requests
    assert (turn.exit_code, turn.warnings) == (0, [])
    assert {"exec_command", "apply_patch"} <= set(asked.tools)
    assert asked.system.startswith("You are Codex, a coding agent based on GPT-5.")
    assert (asked.model, asked.body["reasoning"]["effort"]) == ("gpt-5.4", "xhigh")
    assert asked.body["text"] == {"verbosity": "low"}
    assert "spawn_agent" in asked.tools
    assert models_named(asked) == {"gpt-5.4"}, "its sub-agents may take other models"


@pytest.mark.parametrize("place", ["codex current"], indirect=True)
def test_the_current_codex_knows_its_model(place: Place) -> None:
    with ModelServer(ScriptedModel([[]])) as server, place.proxy(server):
        turn = place.turn("Find the answer.")
    (asked,) = server.requests
    assert (turn.exit_code, turn.warnings) == (0, [])
    assert (asked.model, asked.body["reasoning"]["effort"]) == ("gpt-6.1-sol", "max")
    (given,) = [item["tools"] for item in asked.messages if item.get("type") == "additional_tools"]
    assert {"apply_patch", "exec_command", "spawn_agent"} <= set(re.findall(r"\w+", json.dumps(given)))
    assert models_named(asked) == {"gpt-6.1-sol"}, "its sub-agents may take other models"


def models_named(request: Request) -> set[str]:
    return set(re.findall(r"gpt-\d[\w.-]*\w", json.dumps(request.body)))


@pytest.mark.parametrize("place", ["codex", "codex current"], indirect=True)
def test_codex_asks_a_service_that_is_down_six_times(place: Place) -> None:
    """With its own settings it asks thirty times; whether to ask again later is decided outside."""
    with ModelServer([Status(503, "down for a while")]) as server, place.proxy(server):
        turn = place.turn("Find the answer.")
    assert (turn.exit_code, len(server.requests)) == (1, 6)
    assert "503" in str(turn.failure)


@pytest.mark.parametrize("place", ["codex that does not know its model"], indirect=True)
def test_codex_says_that_it_does_not_know_its_model(place: Place) -> None:
    """In its first turn, and where it is started without a model, as doctor does."""
    with ModelServer(ScriptedModel([[]])) as server, place.proxy(server):
        turn = place.turn("Find the answer.")
    alone = place.run(place.agent.starts_alone)
    assert (turn.exit_code, alone.exit_code) == (0, 1)
    assert "apply_patch" not in server.requests[0].tools
    for said in (turn.warnings, alone.warnings):
        assert any("gpt-5.4" in warning and "degrade" in warning for warning in said), said
