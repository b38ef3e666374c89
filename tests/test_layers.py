"""Imports go downward only: steps use effects, effects use pure, all use words; the rehearsal uses nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "slurm_bench"
MAY_IMPORT = {
    "words": {"words"},
    "pure": {"pure", "words"},
    "agents": {"agents", "pure", "words"},
    "effects": {"effects", "pure", "words"},
    "steps": {"steps", "agents", "effects", "pure", "words", "rehearsal"},
    "rehearsal": {"rehearsal"},
}
UNCLEAN = {"os", "pathlib", "time", "subprocess", "socket", "random", "tempfile", "shutil", "logging"}
READING_ORDER = [
    "cli",
    "overriding",
    "help_pages",
    "launch",
    "relay",
    "chain",
    "status",
    "status_formats",
    "stop",
    "confirm",
    "report",
    "page",
    "report_tables",
    "figures",
    "summaries",
    "budget",
    "budget_formats",
    "books",
    "guard",
    "judging",
    "bundle",
    "reverify",
    "evidence",
    "doctor",
    "site_file",
    "visit",
    "examination",
    "premises",
    "baselines",
    "records",
    "data",
    "session",
    "metadata",
    "meter",
    "conversation",
    "mail",
    "transcript",
    "enclosure",
    "workspace",
    "experiments",
    "desk",
    "outbox",
    "judge",
    "calibration",
    "decoy",
    "conditions",
    "stamping",
    "link",
    "retime",
    "experiment",
    "trial",
    "yardsticks",
    "site",
    "ledger",
]


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_downward(room: str) -> None:
    assert modules(room)
    for module in modules(room):
        rooms = {name.split(".")[1] for name in imported(module) if name.startswith("slurm_bench.")}
        assert rooms <= MAY_IMPORT[room], f"{module} imports {rooms - MAY_IMPORT[room]}"


def test_every_module_is_in_a_room() -> None:
    loose = {path.name for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__.py", "__main__.py"}
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(MAY_IMPORT)


def test_pure_has_no_effects() -> None:
    for module in modules("pure"):
        assert not {name.split(".")[0] for name in imported(module)} & UNCLEAN, module


def test_steps_import_only_later_steps() -> None:
    for module in modules("steps"):
        parts = module.relative_to(PACKAGE / "steps").with_suffix("").parts
        if parts == ("__init__",):
            continue
        own = READING_ORDER.index(parts[0])
        names = (name.split(".") for name in imported(module))
        used = {name[2] for name in names if name[:2] == ["slurm_bench", "steps"] and len(name) > 2}
        earlier = {name for name in used if READING_ORDER.index(name) < own}
        assert not earlier, f"{module} imports the earlier step {earlier}"


def test_only_one_module_starts_processes() -> None:
    users = {
        module.name for room in ("pure", "effects", "words") for module in modules(room) if uses_subprocess(module)
    }
    assert users == {"processes.py"}


def uses_subprocess(module: Path) -> bool:
    return "subprocess" in set(imported(module))
