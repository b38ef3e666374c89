"""What a decoy run proves, and what it leaves to a judge."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slurm_bench.pure import decoys, doubts, verdict
from slurm_bench.pure.verdict import Terms
from slurm_bench.words.data import DecoySet
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.opinions import PERSON, Opinion
from slurm_bench.words.trials import Caches, CacheUse, Decoy, TrainResult, Trial, TrialOutcome
from slurm_bench.words.verdicts import Decision, Outcome
from tests.pure.test_verdict import decide, retiming, terms, with_incumbent, with_trial

FINEWEB = DecoySet(of="0" * 64, seed=1, words=50_256, word_share=0.999, sizes={"fineweb_val_000000.bin": 2048})
FLOOR = 0.999 * math.log(50_256)
CAPTION = "its decoy run"


def run(loss: float | None = 10.9, outcome: TrialOutcome = TrialOutcome.CLEAN, **more: Any) -> Trial:
    """A decoy run that took 90 s off the clock, where it came to a result."""
    result = None if loss is None else TrainResult(steps=10, val_loss=loss, train_time_s=10.0)
    known = {"note": "exit 1" if loss is None else "", "wall_s": 100.0, **more}
    return Trial(index=0, outcome=outcome, result=result, seal="candidate", image_sha256=None, **known)


COMPILING = Trial(
    index=0,
    outcome=TrialOutcome.COMPILED,
    note="ended once it trained",
    wall_s=300,
    seal="candidate",
    image_sha256=None,
)


def decoy(trial: Trial, compiling: Trial = COMPILING) -> Decoy:
    canary = decoys.canary(trial, compiling, decoys.floor(FINEWEB))
    return Decoy(seal="candidate", shards=FINEWEB, compiling=compiling, trial=trial, canary=canary, caches=None)


# The floor.


def test_the_floor_counts_the_tokens_that_were_drawn() -> None:
    assert decoys.floor(FINEWEB) == pytest.approx(FLOOR)
    assert decoys.floor(FINEWEB.model_copy(update={"word_share": 1.0, "words": 2})) == pytest.approx(math.log(2))


WORDS, TOKENS = 512, 200_000


def drawn(seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, WORDS, TOKENS)


def uniform(seen: NDArray[np.int64], told: NDArray[np.int64]) -> float:
    return math.log(WORDS)


def counting(seen: NDArray[np.int64], told: NDArray[np.int64]) -> float:
    """The loss of who has counted other words, and knows how often each came."""
    share = (np.bincount(seen, minlength=WORDS) + 1) / (len(seen) + WORDS)
    return float(-np.log(share[told]).mean())


def adaptive(seen: NDArray[np.int64], told: NDArray[np.int64]) -> float:
    """The loss of who counts on while the words come, each predicted before it is seen."""
    counts, total, loss = [1] * WORDS, WORDS, 0.0
    for word in told.tolist():
        loss -= math.log(counts[word] / total)
        counts[word] += 1
        total += 1
    return loss / len(told)


def bold(seen: NDArray[np.int64], told: NDArray[np.int64]) -> float:
    """The loss of who bets that the word before comes again, twice as surely as any other."""
    again = told[1:] == told[:-1]
    return float(-np.where(again, math.log(2 / (WORDS + 1)), math.log(1 / (WORDS + 1))).mean())


@pytest.mark.parametrize("predictor", [uniform, counting, adaptive, bold])
def test_no_predictor_gets_below_the_floor(
    predictor: Callable[[NDArray[np.int64], NDArray[np.int64]], float],
) -> None:
    """By more than the m of which exp(-N m) is one in a million."""
    floor = decoys.floor(FINEWEB.model_copy(update={"word_share": 1.0, "words": WORDS}))
    luck = math.log(1e6) / (TOKENS - 1)
    losses = [predictor(drawn(2 * seed), drawn(2 * seed + 1)) for seed in range(5)]
    assert min(losses) > floor - luck
    assert max(losses) < floor + 0.01, "they are good predictors, and not far above it"


def test_who_is_evenly_unsure_has_the_floor_exactly() -> None:
    floor = decoys.floor(FINEWEB.model_copy(update={"word_share": 1.0, "words": WORDS}))
    assert uniform(drawn(0), drawn(1)) == pytest.approx(floor, abs=1e-12)


def test_who_has_seen_the_words_gets_below_it() -> None:
    """What the floor is for: a loss that is no prediction."""
    told = drawn(3)
    share = np.bincount(told, minlength=WORDS) / len(told)
    floor = decoys.floor(FINEWEB.model_copy(update={"word_share": 1.0, "words": WORDS}))
    assert float(-np.log(share[told]).mean()) < floor - math.log(1e6) / TOKENS


# The canary.


@pytest.mark.parametrize(
    ("loss", "rejected"),
    [
        (3.2, True),
        (0.0001, True),
        (FLOOR - decoys.MARGIN - 1e-4, True),
        (FLOOR - decoys.MARGIN + 1e-4, False),
        (FLOOR, False),
        (11.5, False),
        (9999.0, False),
    ],
)
def test_a_loss_below_the_floor_is_no_loss(loss: float, rejected: bool) -> None:
    canary = decoy(run(loss)).canary
    assert (canary.loss, canary.off_clock_s) == (loss, 90.0)
    assert canary.floor == pytest.approx(FLOOR)
    decision = decoys.rejection(canary)
    assert (decision is not None) == rejected
    if decision is not None:
        assert (decision.outcome, decision.rejected_by, decision.canary) == (Outcome.REJECTED, "canary", canary)
        assert f"{loss:.4f}" in decision.reason and f"{FLOOR:.4f}" in decision.reason


GUILTLESS = {TrialOutcome.CLEAN, TrialOutcome.CRASHED, TrialOutcome.NO_RESULT}
OF_THE_SITE = {TrialOutcome.INFRASTRUCTURE, TrialOutcome.STOPPED}


@pytest.mark.parametrize("outcome", sorted(set(TrialOutcome) - OF_THE_SITE))
def test_how_a_program_may_end_on_random_tokens(outcome: TrialOutcome) -> None:
    """To crash there, or to print nothing, is no fault: they are not what it was made for."""
    loss = 10.9 if outcome is TrialOutcome.CLEAN else None
    decision = decoys.rejection(decoy(run(loss, outcome, note="so it was")).canary)
    if outcome in GUILTLESS:
        assert decision is None
    else:
        assert decision is not None and decision.rejected_by == "canary"
        assert decision.reason == f"{CAPTION}: {outcome}, so it was"


@pytest.mark.parametrize("outcome", [TrialOutcome.IMPLAUSIBLE, TrialOutcome.LEFT_BEHIND])
def test_a_good_loss_excuses_nothing(outcome: TrialOutcome) -> None:
    decision = decoys.rejection(decoy(run(10.9, outcome)).canary)
    assert decision is not None and str(outcome) in decision.reason


@pytest.mark.parametrize("outcome", sorted(OF_THE_SITE))
def test_what_the_site_failed_shows_nothing(outcome: TrialOutcome) -> None:
    with pytest.raises(InfrastructureError, match="the site failed its decoy run: no GPU"):
        decoys.canary(run(None, outcome, note="no GPU"), COMPILING, FLOOR)


def test_who_fails_while_compiling_has_failed() -> None:
    crashed = run(None, TrialOutcome.CRASHED, note="exit 7")
    unrun = run(None, TrialOutcome.STOPPED, note="left out")
    shown = decoys.canary(unrun, crashed, FLOOR)
    assert (shown.outcome, shown.note, shown.cold_s) == (TrialOutcome.CRASHED, "exit 7", None)
    assert decoys.rejection(shown) is None and decoys.showed_nothing(shown)
    late = decoys.canary(unrun, run(None, TrialOutcome.TIMED_OUT, note="ended after 900 s"), FLOOR)
    rejected = decoys.rejection(late)
    assert rejected is not None and rejected.reason == "its decoy run: timed out, ended after 900 s"


def test_what_the_site_failed_while_compiling_shows_nothing() -> None:
    with pytest.raises(InfrastructureError, match="no container"):
        decoys.canary(
            run(None, TrialOutcome.STOPPED), run(None, TrialOutcome.INFRASTRUCTURE, note="no container"), FLOOR
        )


def test_what_came_to_no_result_showed_nothing() -> None:
    silent = decoy(run(None, TrialOutcome.NO_RESULT)).canary
    assert decoys.showed_nothing(silent) and silent.off_clock_s is None
    assert not decoys.showed_nothing(decoy(run(10.9)).canary)


# What a judge is told.


def accepted_after(trial: Trial, compiling: Trial = COMPILING) -> Decision:
    """A candidate that is accepted by its timed runs, which spend 10 s off the clock."""
    decision = decoys.with_decoy(decide(), decoy(trial, compiling), retiming().trials)
    assert decision.outcome is Outcome.ACCEPTED
    assert decision.off_clock is not None and 10 <= decision.off_clock.candidate_mean_s < 10.1
    return decision


STATIC = Opinion(judge="static", seal="0")


def test_an_honest_decoy_run_raises_nothing() -> None:
    assert doubts.of(accepted_after(run(10.9)), terms()) == []


@pytest.mark.parametrize("outcome", [TrialOutcome.CRASHED, TrialOutcome.NO_RESULT])
def test_who_may_accept_what_showed_nothing(outcome: TrialOutcome) -> None:
    decision = accepted_after(run(None, outcome, note="exit 7"))
    (doubt,) = doubts.of(decision, terms())
    assert doubt.holds_back and "came to no result on random tokens (exit 7)" in doubt.text
    with pytest.raises(
        InfrastructureError, match=r"no result on random tokens .* cannot settle that: a model .* person"
    ):
        doubts.on_second_opinion(decision, [doubt], STATIC)
    for judge in ("anthropic/model", PERSON):
        looked = Opinion(judge=judge, seal="0", members=(STATIC, Opinion(judge=judge, seal="0")))
        settled = doubts.on_second_opinion(decision, [doubt], looked)
        assert settled.outcome is Outcome.ACCEPTED and settled.canary == decision.canary
        assert "Flagged: It came to no result on random tokens" in settled.reason


def texts(decision: Decision, by: Terms) -> Sequence[str]:
    raised = doubts.of(decision, by)
    assert not any(each.holds_back for each in raised), "a flag is enough"
    return [each.text for each in raised]


@pytest.mark.parametrize(("cold_s", "flagged"), [(590.0, False), (610.0, True)])
def test_a_cold_warm_up_of_more_than_ten_minutes_is_flagged(cold_s: float, flagged: bool) -> None:
    compiling = COMPILING.model_copy(update={"wall_s": 90 + cold_s})
    found = texts(accepted_after(run(10.9), compiling), terms())
    assert bool(found) == flagged
    if flagged:
        assert found == [
            "With nothing compiled it took 610 s longer to start: does the warm-up from empty caches take more than "
            "10 minutes?",
        ]


@pytest.mark.parametrize(("cold_s", "flagged"), [(4.1, False), (3.9, True)])
def test_who_is_slower_on_real_tokens_is_flagged(cold_s: float, flagged: bool) -> None:
    """By more than a quarter and five seconds: 10.045 s beside 4.04 s are not too many."""
    decision = accepted_after(run(10.9, wall_s=10.0 + cold_s))
    found = texts(decision, terms())
    assert bool(found) == flagged
    if flagged:
        assert found[0].startswith("Its timed runs spend 10.0 s off the clock, the one on random tokens")
        settled = doubts.on_second_opinion(decision, doubts.of(decision, terms()), STATIC)
        assert settled.outcome is Outcome.ACCEPTED and "Flagged: Its timed runs spend" in settled.reason


def test_nothing_is_told_of_what_is_not_accepted() -> None:
    rejected = decoys.with_decoy(decide(retiming(loss=3.3)), decoy(run(None, TrialOutcome.CRASHED)), ())
    assert rejected.outcome is Outcome.REJECTED
    assert doubts.of(rejected, terms()) == []


# What stands in the decision.


def used(sha256: str | None, given: int, added: int) -> CacheUse:
    return CacheUse(sha256=sha256, given=given, added=added)


@pytest.mark.parametrize(
    ("use", "is_miss"),
    [
        (used("1", 100, 0), False),
        (used("1", 100, 25), False),
        (used("1", 100, 26), True),
        (used("1", 0, 8), False),
        (used("1", 0, 9), True),
        (used("1", 10, 8), False),
        (used(None, 0, 5000), False),
    ],
)
def test_what_is_a_cache_miss(use: CacheUse, is_miss: bool) -> None:
    """More than a few files and a quarter of what the run began with; who began with nothing misses nothing."""
    assert use.is_miss == is_miss


def test_a_decision_says_what_its_runs_began_with() -> None:
    kept = Caches(archive="/somewhere", sha256="1", files=100, bytes=1)
    timed = retiming()
    for index in range(10):
        timed = with_trial(timed, index, caches=used("1", 120, 90 if index in (2, 5) else 1))
        timed = with_incumbent(timed, index, caches=used("2", 120, 1))
    left = decoy(run(10.9, kept=kept))
    decision = decoys.with_decoy(decide(timed), left, timed.trials)
    assert (decision.caches, decision.cache_misses) == ("decoy", (2, 5))
    assert decision.canary == left.canary
    assert verdict.on_retiming(timed, (), terms()).canary is None


def test_a_decision_on_runs_from_empty_caches() -> None:
    timed = retiming()
    for index in range(10):
        timed = with_trial(timed, index, caches=used(None, 0, 500))
    decision = decoys.with_decoy(decide(timed), decoy(run(None, TrialOutcome.CRASHED)), timed.trials)
    assert (decision.caches, decision.cache_misses) == ("empty", ())
    without = decoys.with_decoy(decide(timed), None, timed.trials)
    assert (without.canary, without.caches) == (None, "empty")


def test_a_decision_without_runs_began_with_nothing() -> None:
    decision = decoys.with_decoy(decide(), decoy(run(10.9)), ())
    assert (decision.caches, decision.cache_misses) == (None, ())
