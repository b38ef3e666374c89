"""The loop around an agent's program: when it is started, what it is told, when it is given up."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slurm_bench.agents.agent import Seen
from slurm_bench.effects import processes, store
from slurm_bench.pure.model_troubles import Trouble
from slurm_bench.pure.silence import LOOK, Limits, Signs
from slurm_bench.steps.conversation import Conversation, Over, Terms
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.records import ConversationState
from slurm_bench.words.verdicts import Outcome, Verdict
from tests.waiting import until

ID = "conversation-1"
SAYS_ID = {"id": ID}
ACTS = {"acts": True}
ENDS_TURN = {"fails": ""}
LIMITS = Limits(stall=timedelta(minutes=30), linger=timedelta(minutes=5))
VERDICT = Verdict(
    outcome=Outcome.REJECTED,
    reason="it is not faster",
    submission="0001",
    request="",
    candidate="/workspace/submissions/one",
    exit_code=1,
    seal=None,
    gpu_seconds=0,
    repeats=None,
    decided_at=datetime(2026, 11, 25, tzinfo=UTC),
)
HEARD = "What came meanwhile:\n- /workspace/submissions/one: rejected: it is not faster"


class PlayedAgent:
    """Its events are its words; what its program says stands in its command line."""

    shipped = None
    asks_version: Sequence[str] = ()
    starts_alone: Sequence[str] = ()
    first_prompt: Sequence[str] = ()
    environment: Mapping[str, str] = {}

    def __init__(self, converses: bool = True) -> None:
        self.converses = self.has_events = converses

    def command(self, prompt: str, conversation: str | None) -> Sequence[str]:
        return (prompt, conversation or "")

    def read(self, event: Mapping[str, Any]) -> Seen:
        return Seen(event.get("id"), str(event), bool(event.get("acts")), event.get("fails"))

    def has_lost(self, failure: str) -> bool:
        return "unknown conversation" in failure


class PlayedPlace:
    """Starts a real process for each start: it prints events, says something besides, and exits."""

    def __init__(self, paths: SessionPaths) -> None:
        self.paths = paths
        self.started: list[Sequence[str]] = []
        self.events: list[object] = [SAYS_ID, ACTS]
        self.besides = ""
        self.exit_code = 0
        self.lasts_s = 0.0
        self.troubled: Trouble | None = None
        self.sick = ""
        self.stood_still = 0
        self.shown = Signs(processor_s=0, requests=0, is_asking=False)
        self.gpu_computes = False

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        self.started.append(command)
        said = "".join(event if isinstance(event, str) else f"{json.dumps(event)}\n" for event in self.events)
        script = f"import sys, time; print({said!r}, end='', flush=True); time.sleep({self.lasts_s}); "
        argv = [sys.executable, "-c", f"{script}sys.exit({self.exit_code})"]
        return processes.start_piped(argv, errors=self.paths.agent_log, most_errors=1000)

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        processes.end_tree(process.pid, grace_s=5)
        process.wait()

    def signs(self) -> Signs:
        return self.shown

    def computes(self) -> bool:
        return self.gpu_computes

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        self.stood_still += 1
        yield

    def last_words(self) -> str:
        return self.besides

    def why_not(self) -> str:
        return self.sick

    def redact(self, line: str) -> str:
        return line.replace("my-secret", "<key>")

    def trouble(self) -> Trouble | None:
        return self.troubled and replace(self.troubled, at=datetime.now(UTC))


class SetClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 25, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Scene:
    def __init__(self, folder: Path, converses: bool = True) -> None:
        self.paths = SessionPaths(folder)
        self.clock = SetClock()
        self.site = PlayedPlace(self.paths)
        self.agent = PlayedAgent(converses)
        self.conversation = self.another()

    def another(self) -> Conversation:
        return Conversation(self.agent, Terms("first", "resume", LIMITS), self.site, self.paths, self.clock)

    def run_once(self) -> None:
        """Until the program that is due has been started and has ended."""
        before = len(self.site.started)
        self.clock.time = max(self.clock.time, self.conversation.next_at)

        def has_ended() -> bool:
            self.conversation.tick()
            return len(self.site.started) > before and self.conversation._process is None

        until(has_ended, poll_s=0.01)

    def run_next(self) -> None:
        """The next program says little and ends."""
        self.site.events, self.site.lasts_s = [SAYS_ID, ACTS], 0
        self.run_once()

    def begin(self, *events: object) -> None:
        """Start a program that says this and stays."""
        self.site.events, self.site.lasts_s = [*events], 3600
        said = self.lines_said
        self.clock.time = max(self.clock.time, self.conversation.next_at)
        self.conversation.tick()
        assert self.runs
        until(lambda: self.lines_said == said + len(events))

    @property
    def lines_said(self) -> int:
        files = (self.paths.transcript.events, self.paths.agent_log)
        return sum(len(file.read_text().splitlines()) for file in files if file.exists())

    def pass_time(self, minutes: float) -> None:
        """As a desk sees it, which looks all the time; until the program is gone."""
        end = self.clock.time + timedelta(minutes=minutes)
        while self.runs and self.clock.time < end:
            self.clock.time += LOOK
            self.conversation.tick()

    @property
    def runs(self) -> bool:
        return self.conversation._process is not None

    def hand_in(self, request: str = "request1") -> None:
        self.paths.outbox.mkdir(exist_ok=True)
        (self.paths.outbox / f"{request}.json").write_text("{}")

    def answer(self, request: str = "request1") -> None:
        store.write(self.paths.verdict_in_inbox(request), VERDICT.model_copy(update={"request": request}))

    @property
    def wait_s(self) -> float:
        return (self.conversation.next_at - self.clock.time).total_seconds()

    @property
    def state(self) -> ConversationState:
        return store.read(self.paths.conversation, ConversationState)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.conversation.stop()


def trouble(status: int = 529, retry_at: datetime | None = None) -> Trouble:
    return Trouble(status, f"the service says {status}", retry_at, datetime.now(UTC), is_hopeless=status == 401)


def test_it_is_told_the_problem_once_and_then_to_go_on(scene: Scene) -> None:
    for _ in range(3):
        scene.run_once()
        assert scene.wait_s <= 1.1
    assert scene.site.started == [("first", ""), ("resume", ID), ("resume", ID)]
    assert scene.conversation.over is None


def test_whoever_comes_next_resumes_the_same_conversation(scene: Scene) -> None:
    scene.site.lasts_s = 3600
    scene.conversation.tick()

    def is_known() -> bool:
        scene.conversation.tick()
        return scene.state.conversation is not None

    until(is_known)
    # its link dies here, without a word
    successor = scene.another()
    scene.site.lasts_s = 0
    successor.tick()
    assert scene.site.started == [("first", ""), ("resume", ID)]
    successor.stop()


def test_stopping_ends_the_program_and_keeps_the_conversation(scene: Scene) -> None:
    """By itself it would go on for longer than a test may."""
    scene.site.lasts_s = 3600
    scene.conversation.tick()
    until(lambda: "'acts'" in scene.paths.transcript.trace.read_text())
    scene.conversation.stop()
    assert scene.state.conversation == ID
    scene.conversation.stop()


def test_at_rest_it_stands_still_and_is_not_started(scene: Scene) -> None:
    with scene.conversation.at_rest():
        scene.conversation.tick()
        assert (scene.site.started, scene.site.stood_still) == ([], 0)
    scene.site.lasts_s = 3600
    scene.conversation.tick()
    with scene.conversation.at_rest():
        assert scene.site.stood_still == 1
    assert len(scene.site.started) == 1


def test_a_program_that_falls_silent_is_ended_and_told_why(scene: Scene) -> None:
    scene.begin(SAYS_ID, ACTS)
    scene.pass_time(29)
    assert scene.runs
    scene.pass_time(2)
    assert not scene.runs and scene.conversation.over is None
    scene.run_next()
    prompt, conversation = scene.site.started[-1]
    assert conversation == ID
    assert prompt.startswith("resume\nYour program was ended: for 30 minutes it asked its model nothing")
    scene.run_next()
    assert scene.site.started[-1] == ("resume", ID), "it is told once"


def test_a_program_that_lingers_after_its_turn_has_ended_it(scene: Scene) -> None:
    """As often as it likes: of its answers each counts by what was done in it."""
    for _ in range(12):
        scene.begin(SAYS_ID, ACTS, ENDS_TURN)
        scene.pass_time(6)
        assert not scene.runs and scene.wait_s <= 1.1
    assert scene.conversation.over is None and scene.state.failures is None
    for _ in range(10):
        assert scene.conversation.over is None
        scene.begin(SAYS_ID, ENDS_TURN)
        scene.pass_time(6)
    assert scene.conversation.over == Over(0, "it answered 10 times in a row without doing anything")


def test_a_turn_that_failed_before_its_program_lingers_is_a_failure(scene: Scene) -> None:
    scene.begin(SAYS_ID, {"fails": "the prompt is too long"})
    scene.pass_time(6)
    assert not scene.runs
    assert scene.state.failures and scene.state.failures.count == 1


def test_a_turn_that_begins_by_itself_is_not_over(scene: Scene) -> None:
    """A command in the background has ended, and the program tells its model."""
    scene.begin(SAYS_ID, ENDS_TURN, ACTS)
    scene.pass_time(29)
    assert scene.runs


@pytest.mark.parametrize("sign", ["processor", "gpu", "request", "open request", "submission"])
def test_a_program_that_works_is_not_ended(scene: Scene, sign: str) -> None:
    """Its turn is over, and it waits for what it has left in the background, or for a verdict."""
    scene.begin(SAYS_ID, ACTS, ENDS_TURN)
    scene.site.gpu_computes = sign == "gpu"
    if sign == "submission":
        scene.hand_in()
    for number in range(1, 100):
        working = {"processor": (number * 30, 0, False), "request": (0, number, False), "open request": (0, 1, True)}
        scene.site.shown = Signs(*working.get(sign, (0, 0, False)))
        scene.pass_time(1)
    assert scene.runs
    scene.site.gpu_computes = False
    scene.site.shown = Signs(0, 1, is_asking=False)
    if sign == "submission":
        scene.answer()
    scene.pass_time(7)
    assert not scene.runs


def test_a_program_that_only_falls_silent_is_given_up(scene: Scene) -> None:
    """It does something each time, e.g. sleeps, but works for less time than it is silent."""
    for count in range(6):
        assert scene.conversation.over is None
        assert (scene.state.conversation if count else ID) == (None if count == 4 else ID)
        scene.begin(SAYS_ID, ACTS)
        scene.pass_time(31)
    assert scene.conversation.over
    assert scene.conversation.over.exit_code == 1
    assert scene.conversation.over.reason.endswith("the last: it showed no sign of work for 30 minutes")


def test_silence_after_long_work_ends_no_agent(scene: Scene) -> None:
    for number in range(8):
        scene.begin(SAYS_ID, ACTS)
        for minute in range(1, 40):
            scene.site.shown = Signs(0, 100 * number + minute, is_asking=False)
            scene.pass_time(1)
        scene.pass_time(31)
        assert not scene.runs
    assert scene.conversation.over is None


def test_an_agent_without_a_conversation_that_falls_silent_is_over(tmp_path: Path) -> None:
    scene = Scene(tmp_path, converses=False)
    scene.hand_in()
    scene.begin("waits for its verdict\n")
    scene.pass_time(100)
    assert scene.runs
    scene.answer()
    scene.pass_time(31)
    assert scene.conversation.over == Over(1, "it showed no sign of work for 30 minutes")


def test_an_agent_that_leaves_its_submission_is_started_with_the_verdict(scene: Scene) -> None:
    """Its program ends while `submit` waits. As long as it acts it goes on; then it is not idle, but waits."""
    scene.hand_in()
    scene.run_once()
    scene.site.events = [SAYS_ID]
    scene.run_once()
    assert scene.site.started[-1] == ("resume", ID)
    assert scene.state.idle == 0
    for _ in range(100):
        scene.clock.time += timedelta(hours=1)
        scene.conversation.tick()
    assert len(scene.site.started) == 2 and scene.conversation.over is None
    scene.answer()
    scene.run_once()
    assert scene.site.started[-1] == (f"resume\n{HEARD}", ID)
    scene.run_once()
    assert scene.site.started[-1] == ("resume", ID), "it is told once"


def test_a_verdict_that_comes_while_it_works_reaches_it_at_its_next_start(scene: Scene) -> None:
    """In another link, and in a conversation that is new."""
    scene.hand_in()
    scene.run_once()
    scene.conversation = scene.another()
    scene.begin(SAYS_ID, ACTS)
    scene.answer()
    scene.conversation.stop()
    scene.conversation = scene.another()
    scene.run_next()
    assert scene.site.started[-1] == (f"resume\n{HEARD}", ID)


def test_failures_are_waited_for_longer_each_time_and_end_it(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code, scene.site.besides = [], 1, "no such option"
    waits = []
    while scene.conversation.over is None:
        scene.run_once()
        waits.append(scene.wait_s)
    assert len(waits) == 6
    assert all(5 * 2**n <= wait <= 5 * 2**n * 1.1 for n, wait in enumerate(waits))
    assert scene.conversation.over == Over(
        1, "it can make no progress: 6 failures in a row, the last: exit code 1, and its last line was: no such option"
    )


def test_failures_between_work_are_forgotten(scene: Scene) -> None:
    scene.site.exit_code = 1
    for _ in range(12):
        scene.run_once()
    assert scene.conversation.over is None
    assert scene.state.failures and scene.state.failures.count == 1


def test_an_overloaded_service_is_waited_for(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code, scene.site.troubled = [{"fails": "overloaded"}], 1, trouble()
    for _ in range(8):
        scene.run_once()
    assert scene.conversation.over is None
    assert 600 <= scene.wait_s <= 660
    scene.site.events, scene.site.exit_code, scene.site.troubled = [SAYS_ID, ACTS], 0, None
    scene.run_once()
    assert scene.state.failures is None and scene.wait_s <= 1.1


def test_answers_that_the_service_cuts_are_its_trouble_and_not_idleness(scene: Scene) -> None:
    """The program ends well with what it has got."""
    scene.site.events, scene.site.troubled = [SAYS_ID, ENDS_TURN], trouble(0)
    began = scene.clock.time
    while scene.conversation.over is None:
        scene.run_once()
    assert scene.clock.time - began > timedelta(hours=2)
    assert scene.conversation.over.exit_code == 1
    assert scene.conversation.over.reason.endswith("the last: the service says 0")
    assert scene.state.conversation == ID


def test_a_service_that_stays_down_ends_it(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code, scene.site.troubled = [], 1, trouble()
    for _ in range(40):
        if scene.conversation.over is None:
            scene.run_once()
    assert scene.conversation.over is not None
    assert scene.conversation.over.reason.endswith("the last: the service says 529")


def test_a_quota_is_slept_through_until_its_reset(scene: Scene) -> None:
    reset = scene.clock.time + timedelta(hours=5)
    scene.site.events, scene.site.exit_code, scene.site.troubled = [], 1, trouble(429, reset)
    scene.run_once()
    assert scene.conversation.next_at == reset
    scene.conversation.tick()
    assert len(scene.site.started) == 1
    for _ in range(6):
        scene.site.troubled = trouble(429, scene.conversation.next_at + timedelta(hours=5))
        scene.run_once()
    assert scene.conversation.over is None, "it says until when"


def test_a_service_that_always_says_soon_is_not_waited_for_for_ever(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code = [], 1
    for _ in range(40):
        if scene.conversation.over is None:
            scene.site.troubled = trouble(429, scene.clock.time + timedelta(seconds=1))
            scene.run_once()
    assert scene.conversation.over is not None


def test_a_long_pause_is_no_failure(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code = [], 1
    scene.site.troubled = trouble(429, scene.clock.time + timedelta(hours=5))
    scene.run_once()
    scene.site.troubled = trouble(529)
    scene.run_once()
    assert scene.conversation.over is None
    assert scene.state.failures and scene.state.failures.count == 1


def test_a_link_that_comes_late_is_patient_anew(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code, scene.site.troubled = [], 1, trouble(529)
    scene.run_once()
    scene.clock.time += timedelta(hours=9)
    scene.conversation = scene.another()
    scene.run_once()
    assert scene.conversation.over is None


def test_each_kind_of_failure_has_its_own_count(scene: Scene) -> None:
    scene.run_once()
    scene.site.events, scene.site.exit_code, scene.site.troubled = [], 1, trouble(529)
    for _ in range(7):
        scene.run_once()
    scene.site.troubled = trouble(401)
    for _ in range(2):
        scene.run_once()
    scene.site.troubled = None
    for _ in range(3):
        scene.run_once()
    assert scene.conversation.over is None
    assert scene.state.conversation == ID, "and it keeps its conversation"


def test_an_old_trouble_is_no_reason(scene: Scene) -> None:
    """Of a service that the program did not ask any more before it failed by itself."""
    scene.site.events, scene.site.exit_code, scene.site.besides = [], 1, "no such option"
    before = trouble(529)
    scene.site.trouble = lambda: before  # type: ignore[method-assign]
    while scene.conversation.over is None:
        scene.run_once()
    assert scene.conversation.over.reason.endswith(
        "6 failures in a row, the last: exit code 1, and its last line was: no such option"
    )


def test_a_sick_node_costs_no_conversation(scene: Scene) -> None:
    scene.run_once()
    scene.site.events, scene.site.exit_code = [], 255
    for _ in range(3):
        scene.run_once()
    scene.site.sick = "no fuse"
    with pytest.raises(InfrastructureError):
        scene.run_once()
    assert scene.state.conversation == ID


def test_a_key_that_is_refused_ends_it_soon(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code, scene.site.troubled = [], 1, trouble(401)
    for _ in range(3):
        scene.run_once()
    assert scene.conversation.over
    assert "3 failures in a row, the last: the service says 401" in scene.conversation.over.reason


def test_what_the_program_says_besides_is_not_its_reason(scene: Scene) -> None:
    scene.site.events, scene.site.exit_code = [{"fails": "the prompt is too long"}], 1
    scene.site.besides = "Reading additional input from stdin..."
    while scene.conversation.over is None:
        scene.run_once()
    assert scene.conversation.over.reason.endswith("6 failures in a row, the last: the prompt is too long")


def test_a_failure_that_the_program_itself_calls_no_error(scene: Scene) -> None:
    scene.site.events = [{"fails": "API Error"}]
    scene.run_once()
    assert scene.state.failures and scene.state.failures.count == 1


def test_the_last_turn_says_how_it_ended(scene: Scene) -> None:
    scene.site.events = [{"fails": "for a moment"}, {"fails": ""}]
    scene.run_once()
    assert scene.state.failures is None


def test_a_conversation_that_only_fails_is_given_up_before_the_agent_is(scene: Scene) -> None:
    scene.run_once()
    scene.site.events, scene.site.exit_code = [{"fails": "the prompt is too long"}], 1
    for _ in range(4):
        scene.run_once()
    assert scene.state.conversation is None
    scene.site.events, scene.site.exit_code = [{"id": "conversation-2"}, ACTS], 0
    scene.run_once()
    assert scene.site.started[-1] == ("first\nresume", ""), "the new one is told that there is work to go on with"
    assert scene.conversation.over is None


def test_an_agent_with_nothing_left_to_do_ends_it(scene: Scene) -> None:
    scene.site.events = [SAYS_ID]
    count = 0
    while scene.conversation.over is None:
        scene.run_once()
        count += 1
    assert count == 10
    assert scene.conversation.over == Over(0, "it answered 10 times in a row without doing anything")


def test_a_conversation_that_is_lost_is_begun_anew(scene: Scene) -> None:
    scene.run_once()
    scene.site.events, scene.site.exit_code, scene.site.besides = [], 1, "unknown conversation"
    scene.run_once()
    scene.site.events, scene.site.exit_code, scene.site.besides = [{"id": "conversation-2"}, ACTS], 0, ""
    scene.run_once()
    assert scene.site.started == [("first", ""), ("resume", ID), ("first\nresume", "")]
    assert scene.state.conversation == "conversation-2"


def test_a_node_that_starts_no_container_is_not_the_agents_failure(tmp_path: Path) -> None:
    for converses in (True, False):
        scene = Scene(tmp_path / str(converses), converses)
        scene.site.events, scene.site.exit_code, scene.site.sick = [], 255, "no fuse"
        with pytest.raises(InfrastructureError, match="does not start on this node: no fuse"):
            scene.run_once()


def test_an_agent_without_a_conversation_is_over_when_it_ends(tmp_path: Path) -> None:
    scene = Scene(tmp_path, converses=False)
    scene.site.events, scene.site.exit_code = ["done what I could\n"], 3
    scene.run_once()
    assert scene.conversation.over == Over(3)
    assert scene.conversation.acted_at is not None
    assert "done what I could" in scene.paths.agent_log.read_text()


def test_what_it_says_is_kept_without_secrets_and_cannot_command_a_terminal(scene: Scene) -> None:
    words = "my-secret \x1b[2Jnew"
    scene.site.events = [
        SAYS_ID,
        {"acts": words},
        "not json my-secret\n",
        '{"id": \n',
        "[1]\n",
        '{"acts":' + "[" * 9999,
    ]
    scene.run_once()
    events = [json.loads(line) for line in scene.paths.transcript.events.read_text().splitlines()]
    assert events == [SAYS_ID, {"acts": words.replace("my-secret", "<key>")}]
    trace = scene.paths.transcript.trace.read_text()
    assert "\x1b" not in trace and "not json <key>" in trace
    assert "my-secret" not in scene.paths.agent_log.read_text() + trace


@pytest.mark.parametrize("forged", ["--settings=x", "../../etc", "a b", "x" * 101, ""])
def test_no_conversation_of_a_name_that_is_none(scene: Scene, forged: str) -> None:
    """Whatever runs in the container can write to that stream, and the id becomes an argument."""
    scene.site.events = [{"id": forged, "acts": True}]
    scene.run_once()
    assert scene.state.conversation is None
