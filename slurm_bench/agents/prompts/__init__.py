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
    trial_minutes: float
    hours: float
    h100_hours: float
    rules: str
    """The rules as agents find them."""


def texts(facts: Facts) -> dict[str, str]:
    """All prompts by their names, the rules among them."""
    environment = Environment(
        loader=PackageLoader(__name__, ""), undefined=StrictUndefined, autoescape=False, trim_blocks=True
    )
    gpus = {0: "this machine's cores", 1: "one GPU"}.get(facts.gpus, f"{facts.gpus} GPUs")
    words = {name: f"{value:g}" for name, value in asdict(facts).items() if isinstance(value, float)}
    values = {**words, "gpus": gpus, "program": PROGRAM, "launcher": LAUNCHER}
    return {name: environment.get_template(f"{name}.md").render(values) for name in _TEMPLATES} | {RULES: facts.rules}
