"""Measures what the project promises of itself, and prints it beside its limit.

Exit codes: 0, 1 a limit is missed, 2 wrong input, 3 something could not be measured.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import catalogue, machine, tables
from benchmarks.figures import Benchmark, Figure
from slurm_bench.effects.slurm_commands import last_line
from slurm_bench.words.errors import BenchError

DOCS = Path(__file__).parents[1] / "docs"


def main(arguments: Sequence[str]) -> int:
    asked = parsed(arguments)
    if asked.list:
        for each in catalogue.ALL:
            where = ", on the development cluster" if each.on_cluster else ""
            print(f"{each.name:<12} {each.about}{where} ({each.seconds} s)")
        return 0
    here = machine.read()
    chosen = [catalogue.BY_NAME[name] for name in asked.names] or list(catalogue.ALL)
    measured = measure(chosen)
    Console(width=200 if not sys.stdout.isatty() else None).print(tables.on_terminal(measured, here))
    whole = len(measured) == len(chosen)
    if asked.write and whole:
        (DOCS / "bench.md").write_text(tables.as_markdown(measured, here))
        (DOCS / "bench.json").write_text(tables.as_json(measured, here))
        print(f"wrote {DOCS / 'bench.md'} and bench.json")
    if not whole:
        print("bench: not all was measured (above)" + "; nothing written" * asked.write, file=sys.stderr)
        return 3
    return int(any(figure.missed for figures in measured.values() for figure in figures))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure what the project promises of itself.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="measure only these (all, on a quiet machine)")
    parser.add_argument("--list", action="store_true", help="list the names")
    parser.add_argument("--write", action="store_true", help="write docs/bench.md and docs/bench.json, from all names")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(catalogue.BY_NAME))
    if unknown:
        stop(f"no {', '.join(unknown)}; --list names what there is")
    if asked.write and asked.names:
        stop("--write: the table is of one run on one machine; leave the names out")
    return asked


def stop(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr)
    sys.exit(2)


def measure(chosen: Sequence[Benchmark]) -> dict[str, list[Figure]]:
    """Figures by name; one that could not be measured is said, and left out."""
    measured: dict[str, list[Figure]] = {}
    lacking = machine.what_the_cluster_lacks()
    with tempfile.TemporaryDirectory(prefix="slurm_bench-bench-") as folder:
        for number, benchmark in enumerate(chosen, 1):
            print(f"[{number}/{len(chosen)}] {benchmark.name}: {benchmark.about} ({benchmark.seconds} s)", flush=True)
            if benchmark.on_cluster and lacking:
                print(f"  left out: {lacking}", flush=True)
                continue
            try:
                measured[benchmark.name] = printed(benchmark, Path(folder) / benchmark.name)
            except (BenchError, RuntimeError) as error:
                print(f"  could not be measured: {error}", flush=True)
            except subprocess.CalledProcessError as error:
                print(f"  could not be measured: {error}: {last_line(error.stderr or '')}", flush=True)
    return measured


def printed(benchmark: Benchmark, folder: Path) -> list[Figure]:
    figures = []
    for figure in benchmark.measure(folder):
        limit = f" (limit {figure.limit_text})" if figure.limit is not None else ""
        print(f"  {figure.what}: {figure.text}{limit}; {figure.note}", flush=True)
        figures.append(figure)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
