"""What jobs are for: an agent's own allocation, an experiment of its own, timing a candidate, timing what candidates
have to beat, running both on random tokens first, timing a session's best candidate afresh, and the relay that goes on
with a session."""

from typing import Literal

Kind = Literal["session", "experiment", "retiming", "calibration", "decoy", "confirmation", "relay"]
KINDS: tuple[Kind, ...] = ("session", "experiment", "retiming", "calibration", "decoy", "confirmation")
"""Those that take GPUs, and can count against a budget."""
