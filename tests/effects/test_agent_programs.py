"""Claude Code and Codex themselves, in their image and without network, with a scripted model behind the key proxy."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slurm_bench.agents.agent import FINAL_WORDS, MODEL_PORT, Agent
from slurm_bench.agents.claude import Claude
from slurm_bench.agents.codex import Codex
from slurm_bench.effects import processes
from slurm_bench.effects.containers import Apptainer, Mount, Program
from slurm_bench.effects.key_proxy import KeyProxy, Upstream
from slurm_bench.effects.keys import Key
from tests.conftest import AGENT_IMAGE, REPOSITORY
from tests.model_server import ModelServer, Overloads, Runs, Status
from tests.scripted_model import ScriptedModel, Times
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.agent_programs

MODEL = "a-model"
SECRET = "sk-real-0123456789abcdef"
MAKERS = {"claude": "anthropic", "codex": "openai", "codex on azure": "azure"}
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


@dataclass(frozen=True)
class Place:
    folder: Path
    """With the folders of the container's mounts."""
    sockets: Path
    maker: str

    @property
    def agent(self) -> Agent:
        if self.maker == "anthropic":
            return Claude(MODEL, "max")
        return Codex(MODEL, "xhigh", 200_000)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def proxy(self, server: ModelServer) -> KeyProxy:
        upstream = Upstream(self.maker, server.base_url(self.maker), None, Key(SECRET), frozenset({MODEL}))
        return KeyProxy(upstream, self.sockets / "model", self.folder / "use.json")

    def argv(self, prompt: str, conversation: str | None = None) -> list[str]:
        work = Mount(self.work, "/workspace", writable=True)
        home = Mount(self.folder / "home", "/home/agent", writable=True)
        tools, model = Mount(REPOSITORY / "containers" / "bin", "/tools"), Mount(self.sockets, "/model")
        command = ["with_model", str(MODEL_PORT), "/model/model", *self.agent.command(prompt, conversation)]
        program = Program(command, [work, tools, model], home, work, self.agent.environment, ["/tools"])
        return Apptainer(AGENT_IMAGE, gpu_devices=False).argv(program)

    def turn(self, prompt: str, conversation: str | None = None) -> Turn:
        done = processes.run(self.argv(prompt, conversation), timeout_s=LONG_S)
        seen = [self.agent.read(json.loads(line)) for line in done.stdout.splitlines()]
        conversations = {each.conversation for each in seen if each.conversation}
        failures = [each.failure for each in seen if each.failure is not None]
        return Turn(
            exit_code=done.exit_code,
            conversation=conversations.pop() if len(conversations) == 1 else "",
            text="\n".join(each.text for each in seen),
            failure=failures[-1] if failures else None,
            last_line=(done.stderr.splitlines() or [""])[-1],
        )


@pytest.fixture(params=["claude", "codex"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    with tempfile.TemporaryDirectory(prefix="sb") as sockets:  # whose path has to be short
        yield Place(tmp_path, Path(sockets), MAKERS[request.param])


@pytest.mark.parametrize("place", MAKERS, indirect=True)
def test_a_turn_and_another_of_the_same_conversation(place: Place) -> None:
    model = ScriptedModel([[WRITES, "cat answer; id -u"], ["cat answer answer"]])
    with ModelServer(model) as server, place.proxy(server) as proxy:
        first = place.turn("- Find the answer.")
        second = place.turn("Twice, please.", first.conversation)

    assert (first.exit_code, first.failure) == (0, ""), first
    assert (second.exit_code, second.failure, second.conversation) == (0, "", first.conversation), second
    assert (place.work / "answer").read_text() == "42\n"
    assert WRITES in first.text
    assert "Turn 0 ends." in first.text
    assert "Turn 1 ends." in second.text
    assert model.scenes[-1].prompts == ["- Find the answer.", "Twice, please."]
    assert [result.split() for result in model.scenes[-1].results] == [["42", "42"]]
    assert proxy.use.by_model[MODEL].requests == len(model.scenes) == 5
    for request in server.requests:
        assert (request.key, request.model) == (SECRET, MODEL)
        assert "web_search" not in json.dumps([tool.get("type") for tool in request.body["tools"]])
    if place.maker != "anthropic":
        assert (place.work / FINAL_WORDS).read_text() == "Turn 1 ends."


def test_a_command_that_goes_on(place: Place) -> None:
    slow = Runs("echo early; sleep 2; echo late", wait_ms=250)
    model = ScriptedModel([["never run"]], instead=[Times(slow, 1)])
    with ModelServer(model) as server, place.proxy(server):
        assert place.turn("Wait for it.").exit_code == 0
    assert [result.split() for result in model.scenes[-1].results] == [["early", "late"]]


@pytest.mark.parametrize("trouble", [Status(500, "broken"), Overloads(), Status(429, "slower", retry_after=1)])
def test_trouble_that_passes(place: Place, trouble: Status | Overloads) -> None:
    model = ScriptedModel([[WRITES]], instead=[Times(trouble, 2, command=1)])
    with ModelServer(model) as server, place.proxy(server):
        turn = place.turn("Find the answer.")
    assert (turn.exit_code, turn.failure) == (0, ""), turn
    assert len(model.scenes) == 4


def test_trouble_that_ends_a_turn_and_not_the_conversation(place: Place) -> None:
    model = ScriptedModel([[WRITES], ["cat answer"]], instead=[Times(Status(403, "not today"), 9, command=1)])
    with ModelServer(model) as server, place.proxy(server):
        failed = place.turn("Find the answer.")
        resumed = place.turn("What is it?", failed.conversation)
    assert failed.exit_code == 1
    assert failed.failure and "403" in failed.failure
    assert (resumed.exit_code, resumed.failure, resumed.conversation) == (0, "", failed.conversation)
    assert [result.split() for result in model.scenes[-1].results] == [["42"]]


def test_killed_in_mid_command_it_goes_on(place: Place) -> None:
    model = ScriptedModel([[WRITES, "touch begun; sleep 3600"], ["cat answer"]])
    with ModelServer(model) as server, place.proxy(server):
        output = place.folder / "output"
        process = processes.start(place.argv("Find the answer."), output=output)
        until((place.work / "begun").exists)
        processes.end_tree(process.pid)
        lines = output.read_text().splitlines()
        seen = [place.agent.read(json.loads(line)) for line in lines if line.startswith("{")]
        conversation = next(each.conversation for each in seen if each.conversation)
        resumed = place.turn("What is it?", conversation)
    assert (resumed.exit_code, resumed.failure, resumed.conversation) == (0, "", conversation)
    assert model.scenes[-1].prompts == ["Find the answer.", "What is it?"]
    assert [result.split() for result in model.scenes[-1].results] == [["42"]]


def test_a_conversation_that_it_does_not_know(place: Place) -> None:
    with ModelServer(ScriptedModel([[]])) as server, place.proxy(server):
        turn = place.turn("Go on.", "11111111-2222-4333-8444-555555555555")
    assert turn.exit_code == 1
    assert place.agent.has_lost(turn.failure or turn.last_line), turn
    assert server.requests == []
