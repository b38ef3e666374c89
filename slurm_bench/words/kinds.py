"""What jobs are for: an agent's own allocation, timing a candidate, timing what candidates have to beat."""

from typing import Literal, get_args

Kind = Literal["session", "retiming", "calibration"]
KINDS: tuple[Kind, ...] = get_args(Kind)
