"""The figures of a report: progress against GPU time, beside the human records; progress over time; GPU time by day.

Nothing else imports matplotlib, which takes half a second: who starts often imports this late.
"""

from slurm_bench.steps.figures.alt_text import about_humans, description
from slurm_bench.steps.figures.dates import trajectory
from slurm_bench.steps.figures.days import budget
from slurm_bench.steps.figures.hours import progress
from slurm_bench.steps.figures.output import files, inline

__all__ = ["about_humans", "budget", "description", "files", "inline", "progress", "trajectory"]
