"""Real agents in whole sessions: Claude Code, Codex and opencode themselves, in their image, behind the key proxy, in
jobs of a real Slurm. Only their model is played, by a server on this machine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.metadata import Metadata
from slurm_bench.words.model_use import ModelUse
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import ConversationState, Session, SessionState
from slurm_bench.words.verdicts import Outcome, Verdict
from tests import waiting
from tests.acceptance import sacct
from tests.acceptance.test_ledger_on_slurm import dev_cluster, slurm
from tests.acceptance.test_links import links, node_dies
from tests.conftest import REPOSITORY, make_quick_record
from tests.model_server import ModelServer, Request, Runs, Says, Status, Step
from tests.scripted_model import Instead, Scene, ScriptedModel, Times

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.agent_programs,
    pytest.mark.skipif(os.getuid() != 0, reason="only root ends the development cluster's daemons"),
]

SECRET = "sk-ant-0123456789-very-secret"
MOST_TOKENS = 1_000_000
LAST_WORDS = Says("I have nothing more to say.", input_tokens=MOST_TOKENS)
"""What uses up the session's tokens, so that it ends."""
NO_RETRIES = "+agent.environment.CLAUDE_CODE_MAX_RETRIES='0'"
PUBLISHED = ("claude", "codex", "autoresearch")
MAKER = {"claude": "anthropic", "codex": "openai", "autoresearch": "anthropic", "opencode": "anthropic"}

NAMES = ("session_id", "thread_id", "sessionID")
"""What programs call their conversation."""


def candidate(name: str, seconds: float) -> str:
    return (
        f"mkdir -p submissions/{name} && cp run.sh train_gpt.py submissions/{name} && "
        f"sed -i 's/^SECONDS = .*/SECONDS = {seconds}/' submissions/{name}/train_gpt.py"
    )


def handed_in(name: str) -> str:
    return f"submit submissions/{name} > experiments/{name}.json; echo exit $?"


class Campaign:
    def __init__(self, folder: Path, script: ScriptedModel) -> None:
        self.runs, self.script = folder / "runs", script
        self.record = make_quick_record(folder)
        with (self.record / "train_gpt.py").open("a") as program:
            program.write("print(text.splitlines()[-1])\n")  # as real records do
        self.data, self.key = folder / "data", folder / "key"
        (self.data / "fineweb10B").mkdir(parents=True)
        (self.data / "fineweb10B" / "fineweb_val_000000.bin").write_bytes(b"shard")
        self.key.touch(0o600)
        self.key.write_text(f"{SECRET}\n")
        self.requests: list[Request] = []

    def paths(self, session: str = "one") -> SessionPaths:
        return SessionPaths(self.runs / "quick" / session)

    def overrides(self, server: ModelServer, agent: str, *more: str) -> list[str]:
        return [
            *(f"runs={self.runs}", "campaign=quick", "container=apptainer", f"agent={agent}"),
            *(f"task.record={self.record}", f"task.data={self.data}", "task.synthetic=null", "task.target_loss=3.28"),
            *("retime.caches=empty", "retime.confirm=false"),
            "retime.off_clock_growth=100",  # a busy machine starts a run of a tenth of a second at leisure
            *("task.trial_minutes=0.2", f"agent.api.key_file={self.key}", f"agent.api.most_tokens={MOST_TOKENS}"),
            f"agent.api.base_url={server.base_url(MAKER[agent.split(',', maxsplit=1)[0]])}",
            *more,
        ]

    @contextmanager
    def served(self) -> Iterator[ModelServer]:
        with ModelServer(self.script) as server:
            yield server
            self.requests = server.requests

    def run(self, agent: str, *more: str) -> "subprocess.CompletedProcess[str]":
        with self.served() as server:
            return self.run_at(server, agent, *more)

    def run_at(self, server: ModelServer, agent: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "slurm_bench", *self.overrides(server, agent, "session=one", *more)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=waiting.LONG_S,
            check=False,
        )

    def start(self, server: ModelServer, agent: str, *more: str) -> "subprocess.Popen[bytes]":
        """A session on the development cluster, beside its test."""
        overrides = self.overrides(server, agent, "session=one", "cluster=dev", *more)
        return subprocess.Popen([sys.executable, "-m", "slurm_bench", *overrides], cwd=REPOSITORY)

    def check_no_key_anywhere(self) -> None:
        assert {request.key for request in self.requests} == {SECRET}, "the proxy puts it in"
        holders = [path for path in self.runs.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        assert holders == []

    def conversations(self, session: str = "one") -> set[str]:
        """Every id that its program named."""
        events = self.paths(session).transcript.events.read_text().splitlines()
        return {event[name] for event in map(json.loads, events) for name in NAMES if name in event}


def verdicts(paths: SessionPaths) -> list[Verdict]:
    return [store.read(path, Verdict) for path in sorted(paths.submissions.glob("*/verdict.json"))]


def script(*turns: Sequence[str], instead: Sequence[Instead] = ()) -> ScriptedModel:
    """A model that has nothing more to say when its turns are over."""

    def last(scene: Scene) -> Step | None:
        return LAST_WORDS if len(scene.prompts) > len(turns) else None

    return ScriptedModel(turns, [*instead, last])


TRIES = r"""
import json, socket, urllib.error, urllib.request
def get(url, body):
    headers = {"x-api-key": "other", "content-type": "application/json"}
    try:
        asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return "no way"
proxy = "http://127.0.0.1:8117"
print("DIRECT", get("DIRECTLY/v1/messages", {}))
print("OTHER_PATH", get(proxy + "/v1/files", {}))
print("OTHER_MODEL", get(proxy + "/v1/THE_PATH", {"model": "another-model", "messages": [], "input": "x"}))
search = {"type": "web_search_20250305", "name": "web_search"}
web = {"model": "THE_MODEL", "messages": [], "input": "x", "tools": [search]}
print("WEB_SEARCH", get(proxy + "/v1/THE_PATH", web))
print("INTERFACES", sorted(name for _, name in socket.if_nameindex()))
"""


@pytest.mark.long
@pytest.mark.parametrize("agent", ["claude", "codex", "opencode"])
def test_a_whole_session(tmp_path: Path, agent: str) -> None:
    """It writes a candidate, hands it in, reads its verdict and ends its turn; is resumed, and improves on it."""
    reads = 'python3 -c \'import json; print(json.load(open("experiments/one.json"))["outcome"])\''
    model = script(
        ["git log --format=%s", candidate("one", 0.05), handed_in("one")],
        [reads, candidate("two", 0.02), handed_in("two")],
    )
    campaign = Campaign(tmp_path, model)
    done = campaign.run(agent, "cluster=dev")
    assert done.returncode == 0, done.stderr
    paths = campaign.paths()

    ended = store.read(paths.session, Session)
    assert (ended.state, ended.agent_ended_by) == (SessionState.FINISHED, "its tokens are spent")
    assert [verdict.outcome for verdict in verdicts(paths)] == [Outcome.ACCEPTED, Outcome.ACCEPTED]
    first, second = (verdict.speed for verdict in verdicts(paths))
    assert first and second and 0 < first.saved_s < second.saved_s

    state = store.read(paths.conversation, ConversationState)
    assert campaign.conversations() == {state.conversation}
    told = model.scenes[-1].prompts
    assert told[0].startswith("# Your task") and "# Rules" in told[0] and "# How you work" in told[0]
    assert [prompt.startswith("You go on with the same task") for prompt in told] == [False, True, True]
    outputs = [line for scene in model.scenes for result in scene.results for line in result.splitlines()]
    assert "The starting record" in outputs
    assert "accepted" in outputs, "it read its first verdict"

    campaign.check_no_key_anywhere()
    used = store.read(paths.model_use, ModelUse)
    assert used.tokens >= MOST_TOKENS and used.usd and list(used.by_model) == [campaign.requests[0].model]
    written = store.read(paths.metadata, Metadata)
    assert {agent, "slurm_bench", "apptainer", "sinfo"} <= set(written.starts[0].versions)
    assert len(written.starts[0].images) == 2 and written.conversation == state.conversation
    assert written.config["agent"]["model"] == campaign.requests[0].model
    trace = paths.transcript.trace.read_text()
    assert "$ " in trace and "submit submissions/one" in trace
    assert "-- its turn ends" in trace or agent == "opencode"
    assert sacct.gpu_seconds(f"{ended.id}-session") > 0


ROUND = re.compile(r"```sh\n(.*?)```", re.DOTALL)
"""The one example of a round that a prompt shows."""


def to_the_letter(scene: Scene) -> Step | None:
    """Do what the example says, word by word, with one change of the program where it says so."""
    if len(scene.prompts) > 1 or scene.results:
        return None
    (example,) = ROUND.findall(scene.prompts[0])
    change = "sed -i 's/^SECONDS = .*/SECONDS = 0.04/' train_gpt.py"
    lines = [f"{change}; {line}" if line.startswith("bash run.sh") else line for line in example.splitlines()]
    return Runs("\n".join(lines))


@pytest.mark.parametrize("agent", ["claude", "codex", "autoresearch", "opencode"])
def test_who_does_what_the_prompt_says_gets_accepted(tmp_path: Path, agent: str) -> None:
    """From an empty session to an accepted candidate, by the example that it is told alone."""
    model = ScriptedModel([[], []], [to_the_letter, lambda scene: LAST_WORDS if len(scene.prompts) > 1 else None])
    campaign = Campaign(tmp_path, model)
    done = campaign.run(agent, "cluster=dev")
    assert done.returncode == 0, done.stderr
    (verdict,) = verdicts(campaign.paths())
    assert (verdict.outcome, verdict.left_out) == (Outcome.ACCEPTED, ("logs", "run.log")), verdict.reason
    printed = model.printed
    assert re.search(r"^step:10/10 val_loss:\d\.\d+ train_time:\d+ms", printed, re.MULTILINE), "its own result"
    assert '"outcome": "accepted"' in printed and "submit: left out of the candidate: logs, run.log" in printed
    assert '"a_submission_reserves"' in printed
    kept = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "experiments"],
        cwd=campaign.paths().workspace,
        capture_output=True,
        text=True,
        check=True,
    )
    assert kept.stdout.split() == ["experiments/first/run.sh", "experiments/first/train_gpt.py"]


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_nothing_but_its_model_is_reachable(tmp_path: Path, agent: str) -> None:
    """Attack: reach the network, another host, another model, and the web by way of the model's own host."""
    campaign = Campaign(tmp_path, ScriptedModel([[]]))
    with campaign.served() as server:
        name = {"claude": "claude-opus-4-6", "codex": "gpt-5.4"}[agent]
        path = {"claude": "messages", "codex": "responses"}[agent]
        tries = TRIES.replace("DIRECTLY", server.url).replace("THE_MODEL", name).replace("THE_PATH", path)
        (campaign.record / "tries.py").write_text(tries)
        campaign.script = script(["python3 tries.py"])
    done = campaign.run(agent, "cluster=dev")
    assert done.returncode == 0, done.stderr
    (printed,) = [scene.results[0] for scene in campaign.script.scenes if len(scene.results) == 1]
    assert dict(line.split(" ", 1) for line in printed.splitlines()[:5]) == {
        "DIRECT": "no way",
        "OTHER_PATH": "404",
        "OTHER_MODEL": "400",
        "WEB_SEARCH": "400",
        "INTERFACES": "['lo']",
    }
    assert {request.key for request in campaign.requests} == {SECRET}
    assert {request.model for request in campaign.requests} == {name}


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_a_service_that_is_overloaded_for_a_while(tmp_path: Path, agent: str) -> None:
    """The program gives up, and is started again when the service says, in the same conversation."""
    # Codex waits by itself where the service says how long, and gives up at once where it does not.
    limited = Times(Status(429, "slow down", retry_after=7 if agent == "claude" else None), 1, command=1)
    overloaded = Times(Status(529, "too many"), 1 if agent == "claude" else 3, prompt=1, command=1)
    campaign = Campaign(tmp_path, script(["echo begun"], ["echo again"], ["echo done"], instead=[limited, overloaded]))
    done = campaign.run(agent, "cluster=dev", NO_RETRIES)
    assert done.returncode == 0, done.stderr
    paths = campaign.paths()
    said = paths.log.read_text()
    assert "the agent's program failed (1 in a row): HTTP 429" in said
    assert ("the agent's program failed (1 in a row): HTTP 529" in said) == (agent == "claude")
    first, second, *_ = [line[:8] for line in said.splitlines() if "starting the agent" in line]
    waited_s = (datetime.strptime(second, "%H:%M:%S") - datetime.strptime(first, "%H:%M:%S")).seconds
    assert waited_s >= (7 if agent == "claude" else 5)
    assert len(campaign.conversations()) == 1
    assert any("done" in result for scene in campaign.script.scenes for result in scene.results)
    assert store.read(paths.session, Session).agent_ended_by == "its tokens are spent"


def test_a_quota_gives_the_allocation_back(tmp_path: Path) -> None:
    """The session leaves its job, and its next one is not before the reset that the service names."""
    campaign = Campaign(tmp_path, ScriptedModel([[]], [lambda scene: Status(429, "no more today", retry_after=7200)]))
    paths = campaign.paths()
    with campaign.served() as server:
        mine = ("session=one", "cluster=dev", "cluster.follow=false", NO_RETRIES)
        argv = [sys.executable, "-m", "slurm_bench", *campaign.overrides(server, "claude", *mine)]
        subprocess.run(argv, cwd=REPOSITORY, check=True, timeout=waiting.LONG_S)
        waiting.until(lambda: len(list(paths.ledger.glob("*-relay1*.json"))) == 2)
    paused = store.read(paths.session, Session)
    assert paused.state is SessionState.PAUSED
    assert paused.resume_at and timedelta(hours=1.9) < paused.resume_at - datetime.now(UTC) < timedelta(hours=2)
    assert [link.settled_at is not None for link in links(paths)] == [True], "it holds nothing meanwhile"
    relay = f"--name=slurm_bench-{paused.id}-relay1-2"
    waiting.until(lambda: slurm("squeue", "--noheader", relay))  # it is reserved before it is queued
    start = slurm("squeue", "--noheader", relay, "--format=%S").strip()
    assert datetime.fromisoformat(start).timestamp() >= paused.resume_at.timestamp() - 60
    slurm("scancel", relay)


def test_a_key_that_is_refused(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, ScriptedModel([[]], [lambda scene: Status(401, f"no such key: {SECRET}")]))
    done = campaign.run("claude", "cluster=dev", NO_RETRIES)
    assert done.returncode == 5
    assert "it can make no progress: 3 failures in a row, the last: HTTP 401" in done.stderr.splitlines()[-1]
    assert SECRET not in done.stdout + done.stderr
    campaign.check_no_key_anywhere()


WORKS = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path("experiments/asked").touch()))
time.sleep(600)
"""


def works_on(number: int) -> list[str]:
    return [f"echo {number} >> experiments/began", f"python3 -c '{WORKS.strip()}'"]


@pytest.mark.long
def test_a_session_crosses_three_links_in_one_conversation(tmp_path: Path) -> None:
    """Links of two minutes: the first meets its limit, the second's node dies without a word, the third ends it."""
    model = script(works_on(1), works_on(2))
    campaign = Campaign(tmp_path, model)
    paths = campaign.paths()
    with campaign.served() as server:
        running = campaign.start(server, "claude", "cluster.session_hours=0.0333")
        waiting.until(lambda: began(paths) == "1\n2\n")
        outlives_its_node(running, links(paths)[1])
    ended = store.read(paths.session, Session)
    assert (ended.state, ended.agent_ended_by) == (SessionState.FINISHED, "its tokens are spent")
    assert [link.attempts[-1].state.value for link in links(paths)] == ["COMPLETED", "NODE_FAIL", "COMPLETED"]
    assert campaign.conversations() == {store.read(paths.conversation, ConversationState).conversation}
    assert [prompt[:11] for prompt in model.scenes[-1].prompts] == ["# Your task", "You go on w", "You go on w"]
    assert store.read(paths.conversation, ConversationState).starts == 3
    assert (paths.workspace / "experiments" / "asked").exists(), "at the first link's limit it was asked to end"
    assert len(store.read(paths.metadata, Metadata).starts) == 3


@pytest.mark.long
def test_codex_goes_on_after_its_node_died(tmp_path: Path) -> None:
    model = script(works_on(1))
    campaign = Campaign(tmp_path, model)
    paths = campaign.paths()
    with campaign.served() as server:
        running = campaign.start(server, "codex")
        waiting.until(lambda: began(paths) == "1\n" and named(paths))
        outlives_its_node(running, links(paths)[0])
    assert [link.attempts[-1].state.value for link in links(paths)] == ["NODE_FAIL", "COMPLETED"]
    assert campaign.conversations() == {store.read(paths.conversation, ConversationState).conversation}
    assert len(model.scenes[-1].prompts) == 2


def outlives_its_node(running: "subprocess.Popen[bytes]", link: LedgerEntry) -> None:
    node = node_dies(link)
    try:
        assert running.wait(waiting.LONG_S) == 0
    finally:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
        dev_cluster("up")


def named(paths: SessionPaths) -> bool:
    """Whether its conversation is known to whoever comes next."""
    return store.read(paths.conversation, ConversationState).conversation is not None


def began(paths: SessionPaths) -> str:
    file = paths.workspace / "experiments" / "began"
    return file.read_text() if file.exists() else ""


def test_nine_sessions_are_queued_by_one_command(tmp_path: Path) -> None:
    """Agents of a site's own files, as the guide has it; each session asks its model once."""
    campaign = Campaign(tmp_path, ScriptedModel([[]], [lambda scene: LAST_WORDS]))
    agents = tmp_path / "conf" / "agent"
    agents.mkdir(parents=True)
    with campaign.served() as server:
        for agent in PUBLISHED:
            own = f"defaults: [{agent}, _self_]\napi: {{base_url: {server.base_url(MAKER[agent])}}}\n"
            (agents / f"our_{agent}.yaml").write_text(own)
        sweep = ["-m", "agent=our_claude,our_codex,our_autoresearch", "seed=1,2,3", "cluster=dev"]
        rest = [
            each for each in campaign.overrides(server, "claude") if "agent=" not in each and "base_url" not in each
        ]
        argv = [sys.executable, "-m", "slurm_bench", f"--config-dir={tmp_path}/conf", *sweep, *rest]
        argv += ["cluster.follow=false"]
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=waiting.LONG_S, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("its job is slurm_bench-") == 9
        sessions = members(CampaignPaths(campaign.runs / "quick")).sessions
        assert len(sessions) == 9
        assert not all(over(each) for each in sessions), "it does not wait for them"
        waiting.until(lambda: all(over(each) for each in sessions))
    programs = [scene.prompts[0] for scene in campaign.script.scenes if "# The program you follow" in scene.prompts[0]]
    assert len(programs) == 3, "of each autoresearch"
    kinds = sorted(store.read(each.metadata, Metadata).agent for each in sessions)
    assert kinds == sorted([*PUBLISHED] * 3)


def over(paths: SessionPaths) -> bool:
    return store.read(paths.session, Session).state is SessionState.FINISHED
