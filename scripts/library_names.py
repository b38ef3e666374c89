#!/usr/bin/env python3
"""Print slurm_bench/pure/library_names.py anew: library_names.py FOLDER..., each the site-packages of an image.

The names are all that the libraries in these folders import from outside themselves, if it is there or not: torch,
for one, imports opt_einsum where there is one. A candidate's file of such a name would run inside the library.
"""

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

_MODULE = '''\
"""Names that the images' libraries import, if they are there or not. Made by scripts/library_names.py."""

LIBRARY_NAMES = frozenset(
    """
    {}
    """.split()  # noqa: SIM905
)'''
_FINDERS = ("find_spec", "import_module", "__import__", "importorskip")


def main(*folders: str) -> None:
    libraries = [entry for folder in folders for entry in Path(folder).iterdir()]
    files = [file for entry in libraries for file in (entry.rglob("*.py") if entry.is_dir() else [entry])]
    names = {name for file in files if file.suffix == ".py" for name in _imported(file)}
    names |= {entry.name.partition(".")[0] for entry in libraries}
    listed = textwrap.wrap(" ".join(sorted(filter(str.isidentifier, names - sys.stdlib_module_names))), 116)
    print(_MODULE.format("\n    ".join(listed)))


def _imported(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, or looks for by a constant text."""
    try:
        tree = ast.parse(path.read_text("utf-8", "replace"))
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (each.name.partition(".")[0] for each in aliases)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(text)), *_]):
                if name in _FINDERS:
                    yield text.partition(".")[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
