"""What a benchmark is, and a figure that it measures."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    what: str
    measured: float
    unit: str
    limit: float | None = None
    """The most that it may be; None promises nothing."""
    note: str = ""

    @property
    def missed(self) -> bool:
        return self.limit is not None and self.measured > self.limit

    @property
    def text(self) -> str:
        return with_unit(self.measured, self.unit)

    @property
    def limit_text(self) -> str:
        return "" if self.limit is None else f"{self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Benchmark:
    """Figures that are measured together."""

    name: str
    """That scripts/bench knows it by."""
    about: str
    seconds: int
    """That it takes, roughly, on two cores."""
    measure: Callable[[Path], Iterator[Figure]]
    """In a folder of its own that is not there yet."""
    on_cluster: bool = False
    """Whether it needs the development cluster, Apptainer and the rehearsal's image."""

    @property
    def command(self) -> str:
        return f"scripts/bench {self.name}"


def with_unit(value: float, unit: str) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(f"  … {text}", file=sys.stderr, flush=True)
