"""The one home of the benchmark's rules and numbers: whoever states, checks or prints a rule takes it here."""

from dataclasses import dataclass
from typing import Final, Literal

PUBLISHED_TARGET_LOSS: Final = 3.28
"""Validation loss of the NanoGPT speedrun; a task's config may set another (the rehearsal does)."""

RUNS: Final = 10
"""Trials that a verdict rests on. Ten means ten: nobody may ask for fewer."""

LEVEL: Final = 0.01
"""Significance level of the loss test and of the speed test, one-sided: for a whole session, or for each candidate."""

LOSS_SKEW: Final = 0.4
"""Skewness of final losses that the adjusted loss test allows for; 0.36 +- 0.14 in 318 runs of the human records."""

CONFIDENCE: Final = 0.95
"""Coverage of the interval that is printed with the seconds saved."""

WARM_UP_STEPS: Final = 30


@dataclass(frozen=True)
class Rule:
    id: str
    text: str
    decided_by: Literal["static", "model", "statistics"]


RULES: Final = {
    rule.id: rule
    for rule in (
        Rule(
            "loss",
            f"The mean final validation loss of {RUNS} runs lies below the target, significantly (one-sided t-test).",
            "statistics",
        ),
        Rule(
            "speed",
            f"The mean training time of {RUNS} runs lies below the incumbent's, significantly (one-sided t-test).",
            "statistics",
        ),
        Rule("environment", "run.sh, libraries and environment variables stay as in the starting record.", "static"),
        Rule(
            "validation",
            "How the validation loss is computed, averaged and logged stays as it is.",
            "static",
        ),
        Rule(
            "data",
            "Training and validation read the same shards through the same loader: "
            "its code, its file patterns and the validation sizes stay as they are.",
            "static",
        ),
        Rule(
            "warm-up",
            f"{WARM_UP_STEPS} warm-up steps before the clock starts, then the state is restored.",
            "static",
        ),
        Rule(
            "timing",
            "The clock starts after the warm-up, stands still during validation and is read as before.",
            "static",
        ),
        Rule("prints", "What a run prints and logs stays as it is.", "static"),
        Rule(
            "compiler",
            "No new torch.compile call, flag or mode; inductor and dynamo settings stay as they are.",
            "static",
        ),
        Rule("one-program", "train_gpt.py is Python that can be read; code is not built from text.", "static"),
    )
}


LEVEL_TEXT: Final = {
    "session": f"Wrong candidates pass at most once in {1 / LEVEL:.0f} sessions, all tries together: the n-th that is "
    f"timed is tested at {LEVEL}/(n(n+1)), so do not hand in what you only hope for.",
    "published": f"Every candidate is tested at {LEVEL}.",
}
"""What `retime.level` means, as an agent is told."""


def as_markdown(target_loss: float, submissions_per_hour: int, level: str) -> str:
    """RULES.md as an agent finds it in its workspace; `level` is a key of LEVEL_TEXT."""
    lines = ["# Rules", "", f"Target: validation loss {target_loss:g}, in less training time.", ""]
    lines += [f"- **{rule.id}** ({rule.decided_by}): {rule.text}" for rule in RULES.values()]
    lines += [
        "",
        "A candidate is a folder `submissions/NAME` with `run.sh`, `train_gpt.py` and what they import.",
        "`submit submissions/NAME` prints the verdict as JSON and exits 0 accepted, 1 rejected, "
        "2 invalid, 3 undecided (ask again), 4 over budget.",
        f"It waits its turn: one candidate at a time, {submissions_per_hour} an hour.",
        "",
        LEVEL_TEXT[level],
        "The same bytes are not timed again: their verdict is returned. "
        "Runs end early once a pass is out of reach, or when one of them fails.",
    ]
    return "\n".join(lines) + "\n"
