"""`command=reverify`: a verdict computed again from its archive, on any machine, without asking anybody."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slurm_bench.effects import bundles
from slurm_bench.effects.bundles import Archive
from slurm_bench.pure import reverification
from slurm_bench.pure.evidence import Check, Evidence, compared
from slurm_bench.pure.plain import one_line
from slurm_bench.steps import evidence
from slurm_bench.words.config import Config, ReverifyCommand
from slurm_bench.words.errors import BenchError

_SAID = {True: "ok", False: "DIFFERS", None: "as recorded"}
_LONGEST = 2000
"""Characters of what is found of one thing."""


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: there is no such archive, or it cannot be read.
        BenchError: something in it differs from what follows from the rest.
    """
    assert isinstance(config.command, ReverifyCommand)
    archive = bundles.read(Path(str(config.command.bundle)))
    found = evidence.of(archive)
    checks = [_plain(check) for check in (_archive(archive), *_checks(found, config.command.digest))]
    {"table": _print_table, "json": _print_json}[config.command.format](found, checks)
    differing = [check for check in checks if check.agrees is False]
    if differing:
        raise BenchError(f"not confirmed: {'; '.join(f'{each.what}: {each.found}' for each in differing)}")
    if config.command.format == "table":
        print(_confirmed(checks))


def _confirmed(checks: Sequence[Check]) -> str:
    """The last line, which names what nobody computed again."""
    recorded = _as_recorded(checks)
    return f"confirmed; as recorded: {', '.join(recorded)}" if recorded else "confirmed"


def _as_recorded(checks: Sequence[Check]) -> list[str]:
    return [check.what for check in checks if check.agrees is None]


def _checks(found: Evidence, digest: str | None) -> Iterator[Check]:
    """What is found, up to where the records contradict one another so that nothing follows from them."""
    try:
        yield from reverification.checks(found, digest)
    except Exception as error:  # noqa: BLE001  they are another's, and no desk need have written them
        yield Check("records", f"they do not fit together ({error!r})", False)


def _plain(check: Check) -> Check:
    """What others wrote, harmless on a terminal."""
    return replace(check, found=one_line(check.found, _LONGEST))


def _archive(archive: Archive) -> Check:
    wrong = [f"{name} is not what {bundles.SUMS} says" for name in archive.wrong]
    return compared("archive", wrong, f"{len(archive.hashes)} files, to the byte")


def _print_table(found: Evidence, checks: Sequence[Check]) -> None:
    given, told = found.exhibit.verdict, found.manifest
    title = f"{told.campaign}, session {told.session}, submission {told.submission}: {given.outcome}"
    table = Table("check", "", "found", title=escape(one_line(title)), title_justify="left")
    for check in checks:
        table.add_row(check.what, _SAID[check.agrees], escape(check.found))
    Console().print(table)


def _print_json(found: Evidence, checks: Sequence[Check]) -> None:
    content = {
        "verdict": found.exhibit.verdict.model_dump(mode="json"),
        "confirmed": all(check.agrees is not False for check in checks),
        "as_recorded": _as_recorded(checks),
        "checks": [asdict(check) for check in checks],
    }
    print(json.dumps(content, indent=1))
