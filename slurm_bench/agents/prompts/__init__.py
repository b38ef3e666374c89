"""What agents are told, in our words: templates beside this file, filled with a session's own numbers."""

from dataclasses import asdict, dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from slurm_bench.pure.rules import LAUNCHER, PROGRAM

RULES = "rules"
RESUME = "resume"
_TEMPLATES: Final = ("problem", "execution", "program", RESUME)


@dataclass(frozen=True)
class Facts:
    """What differs from session to session."""

    target_loss: float
    gpus: int
    """Of the agent's own allocation; with 0 there is none beside this machine."""
    timed_gpus: int
    """Of a timed run."""
    experiments: bool
    """Whether the agent asks for a job for each thing that it tries."""
    at_once: int
    """Such jobs that may wait or run."""
    experiment_minutes: float
    """The longest of them."""
    trial_minutes: float
    hours: float
    h100_hours: float
    reserves: float
    """H100-hours that a candidate reserves, about; 0 where its runs are nested in the agent's own allocation."""
    nested: bool
    """Whether candidates are timed in the agent's own allocation."""
    rules: str
    """The rules as agents find them."""


def texts(facts: Facts) -> dict[str, str]:
    """All prompts by their names, the rules among them."""
    environment = Environment(
        loader=PackageLoader(__name__, ""),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    count = facts.timed_gpus if facts.experiments else facts.gpus
    gpus = {0: "this machine's cores", 1: "one GPU"}.get(count, f"{count} GPUs")
    words = {name: f"{value:g}" for name, value in asdict(facts).items() if isinstance(value, float)}
    reserves = f"{facts.reserves:.2g}" if facts.reserves else ""
    modes = {"nested": facts.nested, "allocation": facts.gpus > 0, "reserves": reserves}
    modes |= {"experiments": facts.experiments, "at_once": facts.at_once}
    values = {**words, **modes, "gpus": gpus, "program": PROGRAM, "launcher": LAUNCHER}
    return {name: environment.get_template(f"{name}.md").render(values) for name in _TEMPLATES} | {RULES: facts.rules}
