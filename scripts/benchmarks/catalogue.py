"""Every benchmark by its name, in the order of the table."""

from benchmarks import designs, desks, ledger, rehearsals, scheduler, start_up, verdicts
from benchmarks.figures import Benchmark

ALL = (
    Benchmark("start-up", "until --help is there", 5, start_up.help_time),
    Benchmark("ledger", "the books of 100,000 rows of sacct: time and memory", 15, ledger.at_scale),
    Benchmark("gpu-hours", "GPU-hours a verdict, with and without early stopping", 5, designs.gpu_hours),
    Benchmark("speed-ups", "smallest speed-up that each design resolves", 15, designs.smallest_speed_ups),
    Benchmark("scheduler", "calls a minute with 1, 10 and 100 sessions", 240, scheduler.calls_a_minute),
    Benchmark("desks", "what 50 desks handle, at once and one after the other", 200, desks.both),
    Benchmark("rehearsal", "the rehearsal on this machine, submit latency in it", 40, rehearsals.local),
    Benchmark("slurm", "the same with Slurm and Apptainer", 60, rehearsals.on_slurm, on_cluster=True),
    Benchmark("bare-array", "a verdict beside a bare array", 150, verdicts.beside_bare_array, on_cluster=True),
    Benchmark(
        "sequential",
        "a verdict with 1, 2 and 4 nodes beside a sequential validator",
        840,
        verdicts.beside_sequential_validator,
        on_cluster=True,
    ),
)
BY_NAME = {benchmark.name: benchmark for benchmark in ALL}
