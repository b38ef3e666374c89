"""The NanoGPT speedrun benchmark of autonomous research agents, as a toolkit for Slurm clusters."""
