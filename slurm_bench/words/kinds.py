"""What jobs are for: an agent's own allocation, timing a candidate, timing what candidates have to beat, running
both on random tokens first, and the relay that decides how a session goes on."""

from typing import Literal

Kind = Literal["session", "retiming", "calibration", "decoy", "relay"]
KINDS: tuple[Kind, ...] = ("session", "retiming", "calibration", "decoy")
"""Those that take GPUs, and can count against a budget."""
