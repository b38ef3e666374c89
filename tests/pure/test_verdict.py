"""From trials to decisions. The golden files hold whole decisions: `pytest --write-goldens` writes them anew."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_bench.pure import doubts, verdict
from slurm_bench.pure.verdict import Terms
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.opinions import PERSON, Finding, Opinion
from slurm_bench.words.trials import Block, CacheUse, Design, Gpu, Retiming, TrainResult, Trial, TrialOutcome
from slurm_bench.words.verdicts import Decision, Outcome

GOLDENS = Path(__file__).parents[1] / "data" / "verdicts"
NOISE = [0.3, -0.7, 1.1, -0.2, 0.6, -1.3, 0.1, 0.9, -0.5, -0.3]
"""Ten draws, in standard deviations; other samples take them in another order."""
DESIGNS = list(Design)
OWN = [
    TrialOutcome.CRASHED,
    TrialOutcome.TIMED_OUT,
    TrialOutcome.NO_RESULT,
    TrialOutcome.IMPLAUSIBLE,
    TrialOutcome.LEFT_BEHIND,
    TrialOutcome.BEGUN,
]


def terms(design: Design = Design.PAIRED, place: int | None = None) -> Terms:
    return Terms(3.28, 0.05, design=design, off_clock_growth=0.25, stop_below=0.05, confirmation=place)


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def trial(index: int, loss: float, seconds: float, seal: str = "candidate") -> Trial:
    begins = (seal == "candidate") == (index % 2 == 0)
    return Trial(
        index=index,
        outcome=TrialOutcome.CLEAN,
        note="",
        exit_code=0,
        result=TrainResult(steps=10, val_loss=loss, train_time_s=seconds),
        wall_s=seconds + 10 + 0.01 * (3 * index % 10),
        started=NOON if begins else NOON + timedelta(minutes=5),
        node=f"gpu{index % 3}",
        seal=seal,
        image_sha256="image",
    )


def trials(loss: float, seconds: float, turn: int = 0, seal: str = "candidate") -> list[Trial]:
    noise = NOISE[turn:] + NOISE[:turn]
    return [
        trial(index, loss + 0.001 * draw, seconds + 0.05 * other, seal)
        for index, (draw, other) in enumerate(zip(noise, reversed(noise), strict=True))
    ]


def retiming(loss: float = 3.275, seconds: float = 99.0) -> Retiming:
    """Blocks of a candidate that is accepted, if nothing else is said."""
    pairs = zip(trials(loss, seconds), trials(3.277, 100.0, 3, "incumbent"), strict=True)
    return Retiming(blocks=tuple(Block(candidate=ours, incumbent=theirs) for ours, theirs in pairs))


def decide(timed: Retiming | None = None, design: Design = Design.PAIRED, place: int | None = None) -> Decision:
    return verdict.on_retiming(timed or retiming(), trials(3.277, 100.0, 5, "incumbent"), terms(design, place))


def twice(timed: Retiming) -> Retiming:
    """As many blocks again, with other indices: what a confirmation runs."""
    later = [
        Block(candidate=_later(block.candidate), incumbent=_later(block.incumbent))
        for block in timed.blocks
        if block.incumbent
    ]
    return Retiming(blocks=(*timed.blocks, *later))


def _later(trial: Trial) -> Trial:
    return trial.model_copy(update={"index": trial.index + 10})


def with_trial(timed: Retiming, index: int, **changes: object) -> Retiming:
    """The retiming with one of the candidate's trials changed."""
    blocks = list(timed.blocks)
    changed = blocks[index].candidate.model_copy(update=changes)
    blocks[index] = blocks[index].model_copy(update={"candidate": changed})
    return Retiming(blocks=tuple(blocks), stopped=timed.stopped)


def with_incumbent(timed: Retiming, index: int, **changes: object) -> Retiming:
    blocks = list(timed.blocks)
    incumbent = blocks[index].incumbent
    assert incumbent is not None
    blocks[index] = blocks[index].model_copy(update={"incumbent": incumbent.model_copy(update=changes)})
    return Retiming(blocks=tuple(blocks))


def result(loss: float, seconds: float = 99.0) -> TrainResult:
    return TrainResult(steps=10, val_loss=loss, train_time_s=seconds)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    ("loss", "seconds", "outcome", "by"),
    [
        (3.275, 99.0, Outcome.ACCEPTED, None),
        (3.2795, 99.0, Outcome.REJECTED, "loss"),
        (3.281, 99.0, Outcome.REJECTED, "loss"),
        (3.275, 100.0, Outcome.REJECTED, "speed"),
        (3.275, 101.0, Outcome.REJECTED, "speed"),
    ],
)
def test_decisions(design: Design, loss: float, seconds: float, outcome: Outcome, by: str | None) -> None:
    decision = decide(retiming(loss, seconds), design)
    assert (decision.outcome, decision.rejected_by) == (outcome, by)
    assert decision.speed is not None and decision.speed.design is design
    assert decision.level == 0.01 and decision.confirmation is None


def test_a_candidate_is_accepted_by_the_published_rule() -> None:
    """Ten losses that are enough for the plain test at 0.01, not for the adjusted one."""
    close = decide(retiming(loss=3.27930))
    assert close.outcome is Outcome.ACCEPTED
    assert close.loss and close.loss.p_value < 0.01 < close.loss.adjusted_p_value


def test_a_confirmation_is_of_twenty_blocks_at_a_share_of_the_level() -> None:
    fresh = twice(retiming(loss=3.2793))
    first, third = (decide(fresh, place=place) for place in (1, 3))
    assert (first.outcome, first.level, first.confirmation) == (Outcome.ACCEPTED, 0.005, 1)
    assert first.loss and third.loss and first.loss.adjusted_p_value < 0.005
    assert (third.level, third.confirmation) == (0.00125, 3)
    with pytest.raises(InfrastructureError, match="there are not 20 trials of one seal"):
        decide(retiming(), place=1)


def test_a_confirmation_takes_losses_for_skewed() -> None:
    """Twenty losses that are enough for the plain test at its level, not for the adjusted one."""
    decision = decide(twice(retiming(loss=3.2795)), place=1)
    assert (decision.outcome, decision.rejected_by) == (Outcome.REJECTED, "loss")
    assert decision.loss and decision.loss.p_value < 0.005 < decision.loss.adjusted_p_value


def test_of_two_draws_the_higher_loss_counts() -> None:
    """A block that was run again for its incumbent's failure is no second draw of the candidate's loss."""
    for first, mean in ((3.275 + 0.1, 3.275 + 0.01), (3.0, 3.275)):
        again = with_trial(retiming(), 0, first_run_void="the incumbent's run: no GPU", first_run_loss=first)
        loss = decide(again).loss
        assert loss and loss.mean == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize("design", DESIGNS)
@given(order=st.permutations(range(10)))
def test_permuted_trials_give_the_same_verdict(design: Design, order: list[int]) -> None:
    timed = retiming()
    shuffled = decide(Retiming(blocks=tuple(timed.blocks[index] for index in order)), design)
    straight = decide(timed, design)
    assert shuffled == straight


def outcome_of(timed: Retiming, design: Design) -> Outcome:
    try:
        return decide(timed, design).outcome
    except InfrastructureError:
        return Outcome.UNDECIDED


indices = st.integers(0, 9)
infinite = st.sampled_from([math.nan, math.inf, -math.inf])


@pytest.mark.parametrize("design", DESIGNS)
@given(index=indices, other=indices)
def test_ten_means_ten(design: Design, index: int, other: int) -> None:
    """A run that is missing, or there twice, leaves no verdict."""
    blocks = retiming().blocks
    missing = Retiming(blocks=(*blocks[:index], *blocks[index + 1 :]))
    assert outcome_of(missing, design) is Outcome.UNDECIDED
    assert outcome_of(Retiming(blocks=(*blocks, blocks[index])), design) is Outcome.UNDECIDED
    if index != other:
        doubled = Retiming(blocks=tuple(blocks[other] if k == index else block for k, block in enumerate(blocks)))
        assert outcome_of(doubled, design) is Outcome.UNDECIDED


@pytest.mark.parametrize("design", DESIGNS)
@given(index=indices, loss=infinite, seconds=infinite, own=st.sampled_from(OWN))
def test_what_is_spoilt_is_never_accepted(
    design: Design, index: int, loss: float, seconds: float, own: TrialOutcome
) -> None:
    good = retiming()
    assert outcome_of(good, design) is Outcome.ACCEPTED
    assert outcome_of(with_trial(good, index, result=result(loss)), design) is Outcome.REJECTED
    assert outcome_of(with_trial(good, index, result=result(3.27, seconds)), design) is Outcome.REJECTED
    beside = with_incumbent(good, index, result=result(3.27, seconds))
    assert outcome_of(beside, design) is (Outcome.UNDECIDED if design is Design.PAIRED else Outcome.ACCEPTED)
    assert outcome_of(with_trial(good, index, result=None), design) is Outcome.REJECTED
    assert outcome_of(with_trial(good, index, outcome=own, note="failed"), design) is Outcome.REJECTED
    void = with_trial(good, index, outcome=TrialOutcome.INFRASTRUCTURE)
    assert outcome_of(void, design) is Outcome.UNDECIDED
    assert outcome_of(with_trial(good, index, outcome=TrialOutcome.STOPPED), design) is Outcome.UNDECIDED
    assert outcome_of(with_trial(good, index, seal="another"), design) is Outcome.UNDECIDED


@given(index=st.integers(0, 9), outcome=st.sampled_from([each for each in TrialOutcome if each != "clean"]))
def test_a_block_without_its_incumbent_is_never_accepted(index: int, outcome: TrialOutcome) -> None:
    blocks = list(retiming().blocks)
    incumbent = blocks[index].incumbent
    assert incumbent is not None
    spoilt = (None, incumbent.model_copy(update={"outcome": outcome}), incumbent.model_copy(update={"index": 10}))
    for each in spoilt:
        blocks[index] = blocks[index].model_copy(update={"incumbent": each})
        assert outcome_of(Retiming(blocks=tuple(blocks)), Design.PAIRED) is Outcome.UNDECIDED


def test_runs_of_different_blocks_are_not_paired() -> None:
    blocks = retiming().blocks
    turned = [block.incumbent for block in blocks[1:] + blocks[:1]]
    crossed = [Block(candidate=block.candidate, incumbent=other) for block, other in zip(blocks, turned, strict=True)]
    assert outcome_of(Retiming(blocks=tuple(crossed)), Design.PAIRED) is Outcome.UNDECIDED


def test_nine_crashes_and_one_lucky_run_are_no_pass() -> None:
    timed = retiming(seconds=50.0)
    for index in range(9):
        timed = with_trial(timed, index, outcome=TrialOutcome.CRASHED, result=None, note="exit 1")
    decision = decide(timed)
    assert decision.outcome is Outcome.REJECTED
    assert decision.reason == "1 clean runs of 10: trial 0 crashed, exit 1"
    assert decision.loss is None


def test_the_sites_failure_is_not_the_candidates() -> None:
    with pytest.raises(InfrastructureError, match="1 of 20 trials failed for reasons of the site: no GPU"):
        decide(with_trial(retiming(), 4, outcome=TrialOutcome.INFRASTRUCTURE, note="no GPU"))


def test_a_crash_decides_though_the_site_failed_another_run() -> None:
    timed = with_trial(retiming(), 0, outcome=TrialOutcome.CRASHED, note="exit 1")
    decision = decide(with_trial(timed, 1, outcome=TrialOutcome.INFRASTRUCTURE))
    assert (decision.outcome, decision.rejected_by) == (Outcome.REJECTED, "loss")
    assert decision.reason == "8 clean runs of 10: trial 0 crashed, exit 1"


@pytest.mark.parametrize("design", DESIGNS)
def test_another_image_than_the_incumbents_says_nothing_of_the_candidate(design: Design) -> None:
    timed = retiming()
    for index in range(10):
        timed = with_trial(timed, index, image_sha256="rebuilt")
    with pytest.raises(InfrastructureError, match="image"):
        decide(timed, design)


def test_time_off_the_clock_and_reruns_are_on_the_verdict() -> None:
    timed = with_trial(retiming(), 4, first_run_void="the node died")
    for index in range(10):
        timed = with_trial(timed, index, wall_s=140.0 + index)
    decision = decide(timed)
    assert decision.outcome is Outcome.ACCEPTED
    assert decision.rerun == (4,)
    assert decision.off_clock and decision.off_clock.flagged


def off_the_clock(growth_s: float) -> Decision:
    """A candidate that saves 1 s on the clock, and spends so much more off it."""
    timed = retiming()
    for block in timed.blocks:
        timed = with_trial(timed, block.candidate.index, wall_s=block.candidate.wall_s + growth_s)
    return decide(timed)


@pytest.mark.parametrize(
    ("decision", "holds_back"),
    [
        (off_the_clock(0.2), []),
        (off_the_clock(0.7), [True]),
        (off_the_clock(6.0), [True]),
        (decide(retiming(loss=3.24)), []),
        (decide(retiming(loss=3.22)), [True]),
        (decide(retiming(loss=-3.0)), [True]),
    ],
)
def test_who_may_settle_what_the_runs_raise(decision: Decision, holds_back: list[bool]) -> None:
    """The static checker alone accepts neither half of the saving taken back nor a loss far below the target."""
    raised = doubts.of(decision, terms())
    assert decision.outcome is Outcome.ACCEPTED
    assert [doubt.holds_back for doubt in raised] == holds_back
    if not holds_back:
        return
    static = Opinion(judge="static", seal="0")
    with pytest.raises(InfrastructureError, match=r"cannot settle that: a model .* or a person .*vouch"):
        doubts.on_second_opinion(decision, raised, static)
    for judge in ("anthropic/model", PERSON):
        looked = Opinion(judge=judge, seal="0", members=(static, Opinion(judge=judge, seal="0")))
        assert doubts.on_second_opinion(decision, raised, looked).outcome is Outcome.ACCEPTED


def slowing_what_follows(seconds: float) -> Retiming:
    """Blocks whose incumbent takes longer where it ran after the candidate."""
    blocks = []
    for block in retiming().blocks:
        theirs = block.incumbent
        assert theirs and theirs.result
        slowed = theirs.result.train_time_s + (seconds if block.candidate.index % 2 == 0 else 0)
        changed = theirs.model_copy(update={"result": result(theirs.result.val_loss, slowed)})
        blocks.append(block.model_copy(update={"incumbent": changed}))
    return Retiming(blocks=tuple(blocks))


def test_a_candidate_that_slows_down_what_follows_is_flagged() -> None:
    decision = decide(slowing_what_follows(2.0))
    assert decision.carry_over and decision.carry_over.flagged
    assert decision.carry_over.candidate_first_s - decision.carry_over.incumbent_first_s == pytest.approx(2, abs=0.1)
    (doubt,) = doubts.of(decision, terms())
    assert doubt.text.startswith("3.0") and "does it slow down what follows on its node?" in doubt.text
    assert not doubt.holds_back


@pytest.mark.parametrize("design", DESIGNS)
def test_an_honest_candidate_raises_no_suspicion(design: Design) -> None:
    decision = decide(design=design)
    assert doubts.of(decision, terms(design)) == []
    assert (decision.carry_over is not None) == (design is Design.PAIRED)


def test_an_opinion_names_rule_and_place() -> None:
    finding = Finding(rule="data", message="the loader differs", file="train_gpt.py", line=7)
    decision = verdict.on_opinion(Opinion(judge="static", seal="0", findings=(finding, finding)))
    assert decision.reason == "rule data: the loader differs, train_gpt.py:7 (and 1 more)"
    assert decision.rejected_by == "judge"


def test_exit_codes_of_submit() -> None:
    assert [outcome.exit_code for outcome in Outcome] == [0, 1, 2, 3, 4]
    assert Outcome.UNDECIDED.exit_code == 3


# Looks.


def look(timed: Retiming, runs: Sequence[int], design: Design = Design.PAIRED) -> str | None:
    stop = verdict.look([timed.blocks[index] for index in runs], trials(3.277, 100.0, 5, "incumbent"), terms(design))
    return stop.by if stop else None


@pytest.mark.parametrize("design", DESIGNS)
def test_looks(design: Design) -> None:
    assert look(retiming(), range(3), design) is None
    assert look(retiming(loss=3.29), range(3), design) == "loss"
    assert look(retiming(seconds=101), range(3), design) == "speed"
    assert look(retiming(loss=3.29), range(2), design) is None, "two runs say too little"
    assert look(retiming(loss=3.29), range(10), design) is None, "ten runs are for the verdict"
    assert look(with_trial(retiming(), 7, outcome=TrialOutcome.CRASHED), [7], design) == "loss"
    assert look(with_trial(retiming(loss=3.29), 1, outcome=TrialOutcome.INFRASTRUCTURE), range(3), design) is None
    tied = retiming(loss=3.29)
    for index in range(3):
        tied = with_trial(tied, index, result=result(3.2901))
    assert look(tied, range(3), design) is None, "a log that rounds says nothing of the spread"


@pytest.mark.parametrize("design", DESIGNS)
@given(order=st.permutations(range(7)))
def test_the_order_of_runs_does_not_matter_to_a_look(design: Design, order: list[int]) -> None:
    hopeless = retiming(loss=3.2805)
    stops = [
        verdict.look([hopeless.blocks[k] for k in runs], trials(3.277, 100.0, 5, "incumbent"), terms(design))
        for runs in (range(7), order)
    ]
    assert stops[0] is not None and stops[1] is not None
    assert stops[0].seen == stops[1].seen == tuple(range(7))
    assert stops[0].reason == stops[1].reason


def test_a_stop_rejects_without_a_p_value() -> None:
    timed = retiming(loss=3.29)
    stop = verdict.look(timed.blocks[:4], (), terms())
    assert stop is not None
    decision = decide(timed.model_copy(update={"stopped": stop}))
    assert (decision.outcome, decision.rejected_by, decision.loss) == (Outcome.REJECTED, "loss", None)
    assert decision.stopped == stop
    assert decision.reason == "after 4 of 10 runs with mean loss 3.2901 a pass below 3.28 is out of reach"


def test_a_stop_on_runs_that_the_site_spoilt_is_none() -> None:
    """The scheduler may say later than the runner that a run was none, e.g. one that ran twice."""
    timed = retiming(loss=3.29)
    stop = verdict.look(timed.blocks[:3], (), terms())
    void = with_trial(
        timed.model_copy(update={"stopped": stop}), 1, outcome=TrialOutcome.INFRASTRUCTURE, note="ran twice"
    )
    with pytest.raises(InfrastructureError, match="stopped by runs that the site failed: ran twice"):
        decide(void)


def test_another_driver_is_another_machine() -> None:
    gpus = [(Gpu(uuid="1", name="H100", driver=driver),) for driver in ("550", "580")]
    mixed = [each.model_copy(update={"gpus": gpus[0]}) for each in trials(3.277, 100.0, 5, "incumbent")]
    timed = retiming()
    for index in range(10):
        timed = with_trial(timed, index, gpus=gpus[1])
    with pytest.raises(InfrastructureError, match=r"ran on \['H100, driver 580'\], the incumbent on"):
        verdict.on_retiming(timed, mixed, terms(Design.CLASSIC))


def test_warm_and_cold_runs_are_not_compared() -> None:
    warm = retiming()
    for index in range(10):
        warm = with_trial(warm, index, caches=CacheUse(sha256="archive", given=9, added=0))
    with pytest.raises(InfrastructureError, match="some runs began with what a decoy run had compiled"):
        decide(warm)


# Whole decisions, as they are stored.


def golden_cases() -> dict[str, Decision]:
    incumbent = trials(3.277, 100.0, 5, "incumbent")
    hopeless, slow, crashed = (
        retiming(loss=3.29),
        retiming(seconds=100.3),
        with_trial(retiming(), 2, outcome=TrialOutcome.CRASHED, note="exit 1"),
    )
    cases = {
        f"{name}-{design}": decide(timed, design)
        for (name, timed), design in itertools.product(
            {"accepted": retiming(), "loss": retiming(loss=3.2795), "speed": slow, "crashed": crashed}.items(), DESIGNS
        )
    }
    for name, timed in {"stopped-loss": hopeless, "stopped-speed": slow, "stopped-crash": crashed}.items():
        stopped = verdict.look(timed.blocks[:5], incumbent, terms())
        cases[name] = decide(timed.model_copy(update={"stopped": stopped}))
    cases["confirmed"] = decide(twice(retiming()), place=1)
    cases["not-confirmed"] = decide(twice(retiming(loss=3.2795)), place=2)
    cases["carry-over"] = decide(slowing_what_follows(2.0))
    cases["off-the-clock"] = verdict.on_retiming(
        with_trial(retiming(), 0, first_run_void="no GPU"), incumbent, replace(terms(), off_clock_growth=0.0)
    )
    return cases


@pytest.mark.parametrize("name", golden_cases())
def test_goldens(name: str, request: pytest.FixtureRequest) -> None:
    path = GOLDENS / f"{name}.json"
    decided = json.loads(golden_cases()[name].model_dump_json())
    if request.config.getoption("--write-goldens"):
        path.write_text(json.dumps(decided, indent=1) + "\n")
    assert_same(decided, json.loads(path.read_text()), name)


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in GOLDENS.glob("*.json")} == set(golden_cases())


def assert_same(decided: object, golden: object, where: str) -> None:
    """Equal in every key and value, floats to nine digits."""
    if isinstance(golden, dict):
        assert isinstance(decided, dict) and decided.keys() == golden.keys(), where
        for key, value in golden.items():
            assert_same(decided[key], value, f"{where}.{key}")
    elif isinstance(golden, float):
        assert decided == pytest.approx(golden, rel=1e-9), where
    else:
        assert decided == golden, where
