"""What the runs of an accepted candidate raise without a look at its code, and who may settle that."""

from collections.abc import Iterator
from dataclasses import dataclass

from slurm_bench.pure import decoys
from slurm_bench.pure.review import TO_SETTLE
from slurm_bench.pure.rules import WARM_UP_MINUTES
from slurm_bench.pure.verdict import Terms, on_opinion
from slurm_bench.words.errors import Unsettled
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.trials import CarryOver, OffClock, SpeedTest
from slurm_bench.words.verdicts import Decision, Outcome

_UNSETTLED = f"The static checker cannot settle that: {TO_SETTLE}, then "
_GOES_ON = {False: "it can be handed in again", True: "command=confirm goes on, without another timing"}
"""By whether it is a confirmation."""


@dataclass(frozen=True)
class Doubt:
    text: str
    holds_back: bool
    """Whether the candidate is undecided until a model or a person has looked; otherwise a flag is enough."""


def of(decision: Decision, terms: Terms) -> list[Doubt]:
    """Return what a judge is told of an accepted candidate's runs; nothing of one that is not accepted."""
    if decision.outcome is not Outcome.ACCEPTED:
        return []
    found = [*_of_the_loss(decision, terms), *_of_the_clock(decision), *_of_the_order(decision.carry_over)]
    return [*found, *_of_the_decoy(decision, terms)]


def on_second_opinion(decision: Decision, raised: list[Doubt], second: Opinion) -> Decision:
    """Return the decision on an accepted candidate whose runs raised doubts, after the judge was told of them.

    Raises:
        Unsettled: the judge has no opinion on that, or nobody looked who could settle it.
    """
    told = " ".join(doubt.text for doubt in raised)
    if second.is_undecided:
        raise Unsettled(f"{told} The judge has no opinion on that ({second.summary})")
    if second.rejects:
        rejected = on_opinion(second)
        changed = ("outcome", "rejected_by", "reason", "findings")
        return decision.model_copy(update={name: getattr(rejected, name) for name in changed})
    looked = second.members[1:]
    if any(doubt.holds_back for doubt in raised) and not looked:
        raise Unsettled(f"{told} {_UNSETTLED}{_GOES_ON[decision.confirmation is not None]}")
    flagged = {"reason": f"{decision.reason}. Flagged: {told}", "suspicions": second.suspicions}
    return decision.model_copy(update=flagged)


def _of_the_loss(decision: Decision, terms: Terms) -> Iterator[Doubt]:
    loss = decision.loss
    if loss and loss.mean < terms.target_loss - terms.loss_margin:
        yield Doubt(
            f"The mean loss {loss.mean:.4f} lies more than {terms.loss_margin:g} below the target {loss.target:g}: "
            "is it the loss that the starting record would print?",
            holds_back=True,
        )


def _of_the_clock(decision: Decision) -> Iterator[Doubt]:
    off_clock, speed = decision.off_clock, decision.speed
    if off_clock and speed and off_clock.flagged:
        yield Doubt(
            f"{speed.saved_s:.2f} s are saved on the clock, but runs spend {off_clock.candidate_mean_s:.2f} s off it, "
            f"the incumbent's {off_clock.incumbent_mean_s:.2f} s: is work moved from the timed to the untimed part?",
            holds_back=_takes_back_half(off_clock, speed),
        )
    if off_clock and off_clock.candidate_mean_s > WARM_UP_MINUTES * 60:
        yield Doubt(
            f"Runs spend {off_clock.candidate_mean_s:.0f} s off the clock: "
            f"does the warm-up from an empty cache take more than {WARM_UP_MINUTES} minutes?",
            holds_back=False,
        )


def _of_the_decoy(decision: Decision, terms: Terms) -> Iterator[Doubt]:
    canary, off_clock = decision.canary, decision.off_clock
    if canary and decoys.showed_nothing(canary):
        yield Doubt(
            f"It came to no result on random tokens ({canary.note}), so that nothing shows that what it prints is its "
            "loss: does it?",
            holds_back=True,
        )
    if not canary or canary.off_clock_s is None:
        return
    compiling_s = canary.cold_s - canary.off_clock_s if canary.cold_s is not None else 0.0
    if compiling_s > WARM_UP_MINUTES * 60:
        yield Doubt(
            f"With nothing compiled it took {compiling_s:.0f} s longer to start: does the warm-up from empty caches "
            f"take more than {WARM_UP_MINUTES} minutes?",
            holds_back=False,
        )
    most = (1 + terms.off_clock_growth) * canary.off_clock_s + _SLOWER_S
    if off_clock and off_clock.candidate_mean_s > most:
        yield Doubt(
            f"Its timed runs spend {off_clock.candidate_mean_s:.1f} s off the clock, the one on random tokens "
            f"{canary.off_clock_s:.1f} s: what do they do there?",
            holds_back=False,
        )


_SLOWER_S = 5.0
"""By which a node may start a program more slowly than another."""


def _takes_back_half(off_clock: OffClock, speed: SpeedTest) -> bool:
    """Whether what runs spend longer off the clock is more than half of what they save on it."""
    return off_clock.candidate_mean_s - off_clock.incumbent_mean_s > speed.saved_s / 2


def _of_the_order(carry_over: CarryOver | None) -> Iterator[Doubt]:
    if carry_over and carry_over.flagged:
        yield Doubt(
            f"{carry_over.candidate_first_s:.2f} s are saved where the candidate ran before the incumbent, "
            f"{carry_over.incumbent_first_s:.2f} s where it ran after it: does it slow down what follows on its node?",
            holds_back=False,
        )
