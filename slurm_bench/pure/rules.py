"""The one home of the benchmark's rules and numbers: whoever states, checks or prints a rule takes it here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

PROGRAM: Final = "train_gpt.py"
LAUNCHER: Final = "run.sh"
"""What a candidate has to consist of."""

MAX_FILES: Final = 64
MAX_BYTES: Final = 4 * 2**20
MAX_PROGRAM_BYTES: Final = 256 * 2**10
"""Of one Python file: the judge builds its tree, which takes a thousand times the memory."""
MAX_ALL_PROGRAMS_BYTES: Final = 512 * 2**10
"""Of all together: the checker's minute is enough for them."""
MAX_DEPTH: Final = 4
SUFFIXES: Final = (".py", ".sh", ".cpp", ".cu", ".h", ".toml", ".yaml", ".md", ".txt")
"""What a candidate may consist of."""

SEPARATOR: Final = "=" * 100
"""The line of a training log after which its results come."""

PUBLISHED_TARGET_LOSS: Final = 3.28
"""Validation loss of the NanoGPT speedrun; a task's config may set another (the rehearsal does)."""

RUNS: Final = 10
"""Trials that a verdict rests on. Ten means ten: nobody may ask for fewer."""

CONFIRMATION_RUNS: Final = 20
"""Blocks of a confirmation: nineteen of twenty true gains of 0.3 s at the humans' median margin pass."""

MOST_CONFIRMATIONS: Final = 3
"""Candidates of a session that are timed afresh until one is confirmed."""

LEVEL: Final = 0.01
"""Significance level of the loss test and of the speed test, one-sided: of each candidate, and of a session's score."""

LOSS_SKEW: Final = 0.4
"""Skewness of final losses that the adjusted loss test allows for.

It is 0.31 +- 0.14 in 318 runs of the human records, but -0.49 +- 0.38 in 41 reruns: an allowance, not an estimate.
"""

CONFIDENCE: Final = 0.95
"""Coverage of the interval that is printed with the seconds saved."""

WARM_UP_MINUTES: Final = 10

Decider = Literal["static", "model", "statistics"]

_DECIDERS: Final[Mapping[Decider, str]] = {
    "static": "a program that reads the code",
    "model": "a model that reads it",
    "statistics": "the timed runs",
}


@dataclass(frozen=True)
class Rule:
    id: str
    text: str
    decided_by: tuple[Decider, ...]
    """Who can reject by it. What the static checker cannot prove it passes on to the model as a suspicion."""
    follows_record: bool = False
    """Whether it says "as in the starting record": `pure/record_facts.py` then says what that is."""


RULES: Final = {
    rule.id: rule
    for rule in (
        Rule(
            "loss",
            f"The mean final validation loss of {RUNS} runs lies below the target, significantly (one-sided t-test).",
            ("statistics",),
        ),
        Rule(
            "speed",
            f"The mean training time of {RUNS} runs lies below the incumbent's, significantly (one-sided t-test).",
            ("statistics",),
        ),
        Rule(
            "environment",
            "run.sh stays to the byte; environment variables and libraries stay as in the starting record: nothing of "
            "a library is replaced, and nothing reaches past Python (ctypes, importlib, subprocess, signal and the "
            "like) or into other functions' variables (frames, gc.get_referrers, unittest.mock and the like).",
            ("static", "model"),
        ),
        Rule(
            "readable",
            "All code is Python or kernel source that can be read: none is built from text or data while it runs, "
            "no constant is a wall of letters, and no extension is compiled or loaded. Each Python file is imported "
            "by name, and has no name that a library imports. Text is UTF-8 whose lines end with a newline.",
            ("static", "model"),
        ),
        Rule(
            "steps",
            "The number of steps is fixed before the run; it may be another than the starting record's. "
            "No run ends, or changes what it reports, by what it measures on its way.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule(
            "validation",
            "The statements that validate stay: the shards, how many tokens in which batches, a fresh loader for each "
            "pass that does not align to documents, inputs and targets one token apart, the current step's window, "
            "the mean over all batches and ranks. They may be renamed and moved, not rewritten.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule(
            "comparable",
            "The loss that is printed is the one that earlier records would print for the same model: the mean "
            "cross-entropy in nats of each token, predicted from those before it only, by weights that validation "
            "does not change. The model does not behave otherwise because it is validated.",
            ("static", "model"),
        ),
        Rule(
            "data",
            "Training reads the training shards through the starting record's loader. When and by which thread it "
            "reads may change; which tokens come out, in which batches and in which order stays, and nothing is "
            "written into them. No token of the validation shards is trained on. The static checker cannot tell what "
            "a rewritten loader yields: a model or a person has to look.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule(
            "objective",
            "Training minimises the starting record's loss on the training tokens and nothing else in its place: "
            "it smooths, weights and leaves out no targets that the starting record does not, and adds no tokens.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule(
            "compiler",
            "torch.compile gets no new flag or mode, and settings of inductor and dynamo stay.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule(
            "timing",
            "The clock starts after the warm-up, stands still during validation only, and is read, summed and printed "
            "as in the starting record.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule("prints", "What a run prints and logs, and how often, stays: prints are not made cheaper.", ("static",)),
        Rule(
            "warm-up",
            "Before the clock starts the starting record's warm-up is run, step for step; then the state of the model "
            "and of every optimizer is put back, and nothing that was learnt is kept.",
            ("static", "model"),
            follows_record=True,
        ),
        Rule(
            "warm-up-time",
            f"From an empty cache the warm-up, compilation included, takes less than {WARM_UP_MINUTES} minutes.",
            ("model",),
        ),
        Rule(
            "off-clock",
            "Nothing that serves training moves from the timed to the untimed part: "
            "the start, the warm-up and the validation do what they did in the starting record.",
            ("model",),
        ),
        Rule(
            "tuning",
            "Nothing is searched by brute force on the validation set, and no weights or results come along.",
            ("static", "model"),
        ),
        Rule(
            "draws",
            "Runs are independent draws: nothing sets the seed of a global generator.",
            ("static",),
        ),
    )
}
JUDGED: Final = tuple(rule for rule in RULES.values() if rule.decided_by != ("statistics",))
"""The rules that a judge may reject by."""

FOLLOWING: Final = tuple(rule.id for rule in RULES.values() if rule.follows_record)
"""The rules that ask for what the starting record does."""


SCORE_TEXT: Final = {
    True: f"Every candidate is tested at {LEVEL}, loss and speed each. When the session is over, its best accepted "
    f"candidate is timed again in {CONFIRMATION_RUNS} fresh blocks, by a stricter test. Your score is the "
    "seconds that it saves there: what passed by luck scores nothing.",
    False: f"Every candidate is tested at {LEVEL}, loss and speed each.",
}
"""What `retime.confirm` means, as an agent is told."""


WHERE_TEXT: Final = {
    "fresh": "Its runs are jobs of their own, beside the session's.",
    "allocation": "Its runs take this node, one after the other: all your processes are stopped until they are over. "
    "End what uses a GPU before you hand in, or the verdict is undecided. "
    "What may take longer than this job lasts is not begun: hand in early.",
    "experiments": "Its runs are jobs of their own, as all that needs a GPU: `experiment FOLDER` runs the `run.sh` of "
    "a copy there, and asks the same of its files as of a candidate's.",
}
"""What `retime.where` means, and `agent.gpus=experiments`, as an agent is told."""


LEFT_OUT_TEXT: Final = "`data`, `logs`, `__pycache__`, hidden files, and files that end in .log or .pyc"


def is_left_out(path: str) -> bool:
    """Return whether a file or folder of a candidate, by its path in it, is no part of it.

    A run leaves such behind, or finds the data by it. A timed run has its own in their place.
    """
    first, *_, name = path.split("/") if "/" in path else (path, path)
    made = name == "__pycache__" or name.startswith(".") or name.endswith((".log", ".pyc"))
    return made or first in ("data", "logs")


def as_markdown(
    target_loss: float, submissions_per_hour: int, confirm: bool, where: str, facts: Mapping[str, str]
) -> str:
    """RULES.md as an agent finds it in its workspace.

    Args:
        confirm, where: keys of the texts above.
        facts: by rule, what the starting record does.
    """
    lines = ["# Rules", "", f"Target: validation loss {target_loss:g}, in less training time.", ""]
    lines += [f"- {describe(rule, facts)}" for rule in RULES.values()]
    lines += [
        "",
        f"A candidate is a folder `submissions/NAME` with `{LAUNCHER}`, `{PROGRAM}` and what they import. "
        f"Its files end in {' '.join(SUFFIXES)}, at most {MAX_FILES} of them with {MAX_BYTES // 2**20} MiB, "
        f"{MAX_PROGRAM_BYTES // 2**10} KiB a Python file, folders at most {MAX_DEPTH} deep. "
        f"What a run leaves behind is no part of it: {LEFT_OUT_TEXT} are left out, and the verdict lists them.",
        "`submit submissions/NAME` prints the verdict as JSON and exits 0 accepted, 1 rejected, "
        "2 invalid, 3 undecided (ask again), 4 over budget.",
        f"It waits its turn: one candidate at a time, {submissions_per_hour} an hour. {WHERE_TEXT[where]}",
        "`$BENCHMARK_INBOX/budget-left.json` says what is left of the budget (H100-hours), and when the session ends.",
        "",
        SCORE_TEXT[confirm],
        "The same bytes are not timed again: their verdict is returned. "
        "Runs end early once a pass is out of reach, or when one of them fails.",
    ]
    return "\n".join(lines) + "\n"


def describe(rule: Rule, facts: Mapping[str, str]) -> str:
    """Return a rule in one line, with who can reject by it and what it means for the starting record."""
    record = f" (In the starting record: {facts[rule.id]}.)" if rule.id in facts else ""
    deciders = ", then ".join(_DECIDERS[each] for each in rule.decided_by)
    return f"**{rule.id}** (decided by {deciders}): {rule.text}{record}"
