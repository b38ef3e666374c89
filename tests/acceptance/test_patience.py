"""How long real agents are waited for: Claude Code and Codex themselves, on this machine, with a model that is played.

What they are waited for is what their programs do by themselves, e.g. stay for a command in the background.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from slurm_bench.effects import store
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.records import ConversationState, Session, SessionState
from tests.acceptance.test_real_agents import LAST_WORDS, NO_RETRIES, Campaign, candidate, script, verdicts
from tests.model_server import Breaks, Runs, Says, Status, Step
from tests.scripted_model import Scene, ScriptedModel, Times

pytestmark = pytest.mark.agent_programs

AT_ONCE = ("agent.linger_minutes=0.1", "agent.stall_minutes=0.1")
"""With the first look."""

WORKS_A_LITTLE = """
import time
began = time.monotonic()
while (lasts := time.monotonic() - began) < 70:
    if time.process_time() > lasts / 16:
        time.sleep(0.05)
"""
"""Beyond the third look. Four of them use a quarter of a core, which is work (pure.silence)."""


def starts(campaign: Campaign) -> int:
    return store.read(campaign.paths().conversation, ConversationState).starts


def check_that_it_ended_well(campaign: Campaign) -> None:
    ended = store.read(campaign.paths().session, Session)
    assert (ended.state, ended.agent_ended_by) == (SessionState.FINISHED, "its tokens are spent")
    assert len(campaign.conversations()) == 1


@pytest.mark.parametrize("in_background", [True, False])
def test_a_command_that_only_sleeps_ends_no_session(tmp_path: Path, in_background: bool) -> None:
    # Claude Code refuses `sleep` itself in the foreground.
    command = "sleep 100000" if in_background else "tail -f /dev/null"
    sleeps = Times(Runs(command, in_background=in_background), 1)
    campaign = Campaign(tmp_path, script([], instead=[sleeps]))
    done = campaign.run("claude", *AT_ONCE)
    assert done.returncode == 0, done.stderr
    check_that_it_ended_well(campaign)
    assert starts(campaign) == 2
    first, second = campaign.script.scenes[-1].prompts
    assert "Your program was ended: " not in first
    assert "Your program was ended: " in second
    said = campaign.paths().log.read_text()
    assert ("the agent's program failed" in said) != in_background, "the turn was over, and not failed"


@pytest.mark.long
def test_a_command_in_the_background_that_works_is_waited_for(tmp_path: Path) -> None:
    at_work = "".join([f"python3 -c '{WORKS_A_LITTLE}' & "] * 4)  # on a busy machine none of them gets much
    works = Runs(f"{at_work}wait; touch worked", in_background=True)
    campaign = Campaign(tmp_path, script([], instead=[Times(works, 1)]))
    done = campaign.run("claude", "agent.linger_minutes=0.6")
    assert done.returncode == 0, done.stderr
    check_that_it_ended_well(campaign)
    assert (campaign.paths().workspace / "worked").exists()
    assert "Your program was ended: " not in "".join(campaign.script.scenes[-1].prompts)


def test_answers_that_the_service_cuts_are_no_idleness(tmp_path: Path) -> None:
    """Claude Code takes what it has got for an answer, and ends well."""

    def cuts(scene: Scene) -> Step | None:
        return Breaks(last_event="message_delta") if len(scene.prompts) in (2, 3) else None

    campaign = Campaign(tmp_path, script(["echo begun"], [], [], instead=[cuts]))
    done = campaign.run("claude", NO_RETRIES)
    assert done.returncode == 0, done.stderr
    check_that_it_ended_well(campaign)
    assert "the agent's program failed (2 in a row): ClientPayloadError" in campaign.paths().log.read_text()
    idle = store.read(campaign.paths().conversation, ConversationState).idle
    assert idle <= 1, "its last answer may count, which was whole"


def leaves(scene: Scene) -> Step | None:
    """Codex's turn ends while its command goes on."""
    return Says("I look at it later.") if scene.waits_for is not None else None


def test_a_verdict_reaches_an_agent_that_did_not_wait(tmp_path: Path) -> None:
    hands_in = Runs("submit submissions/one", wait_ms=250)
    heard = "What came meanwhile:\n- /workspace/submissions/one: accepted: "

    def ends(scene: Scene) -> Step | None:
        return LAST_WORDS if heard in scene.prompts[-1] else None

    turns: list[list[str]] = [[candidate("one", 0.02)], []]
    campaign = Campaign(tmp_path, ScriptedModel(turns, [ends, leaves, Times(hands_in, 1, command=1)]))
    done = campaign.run("codex", "retime.confirm=false")
    assert done.returncode == 0, done.stderr
    check_that_it_ended_well(campaign)
    assert len(verdicts(campaign.paths())) == 1


def test_a_limit_of_spending_stops_a_session_that_can_go_on(tmp_path: Path) -> None:
    """It ends beyond the session's hours, and there is no job to come back in."""
    far = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"
    limit = f"You have reached your specified API usage limits. You will regain access on {far} at 00:00 UTC."
    is_lifted = Event()

    def limits(scene: Scene) -> Step | None:
        return None if is_lifted.is_set() or len(scene.prompts) == 1 else Status(400, limit)

    campaign = Campaign(tmp_path, script(["echo begun"], instead=[limits]))
    with campaign.served() as server:
        stopped = campaign.run_at(server, "claude", NO_RETRIES)
        assert stopped.returncode == InfrastructureError.exit_code
        assert f"asks to wait until {far} 00:00 UTC, when its hours would be over" in stopped.stderr.splitlines()[-1]
        assert store.read(campaign.paths().session, Session).agent_exit_code is None
        is_lifted.set()
        done = campaign.run_at(server, "claude")
    assert done.returncode == 0, done.stderr
    check_that_it_ended_well(campaign)
