"""What a command line's overrides mean to us, before Hydra reads them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from slurm_bench.words.config import COMMANDS, CommandConfig, Config

_PARSER = OverridesParser.create()


def in_full(overrides: Sequence[str]) -> list[str]:
    """Return overrides with a command's own options in full, and with the text of text fields as it was typed.

    After `command=budget`, `format=csv` and `budget.format=csv` stand for `command.format=csv`. In `session=2026_11_30`
    Hydra by itself would read the number 20261130.
    """
    chosen = [override.removeprefix("command=") for override in overrides if override.startswith("command=")]
    commands = [command for command in COMMANDS if command.name in (chosen or ["run"])]
    spelt = _options(commands)
    return [_as_typed(_renamed(override, spelt), commands) for override in overrides]


def _options(commands: Sequence[type[CommandConfig]]) -> Mapping[str, str]:
    """By each of their names a command's own options."""
    own = {option.name for command in commands for option in fields(command)} - {"name"}
    short = {name: name for name in own - {option.name for option in fields(Config)}}
    return {**short, **{f"{command.name}.{name}": name for command in commands for name in own}}


def _renamed(override: str, options: Mapping[str, str]) -> str:
    name, equals, value = override.partition("=")
    return f"command.{options[name]}{equals}{value}" if name in options else override


def _as_typed(override: str, commands: Collection[type[CommandConfig]]) -> str:
    """An override with what looks like a number, or like true, in quotes where its field takes text."""
    name, equals, text = override.partition("=")
    path = name.lstrip("+").split(".")
    schemas: Collection[Any] = commands if path[0] == "command" else [Config]
    if not equals or not any(_takes_text(schema, path[path[0] == "command" :]) for schema in schemas):
        return override
    is_list = text.startswith("[") and text.endswith("]")
    quoted = ",".join(map(_quoted, (text[1:-1] if is_list else text).split(",")))
    return f"{name}={f'[{quoted}]' if is_list else quoted}"


def _quoted(part: str) -> str:
    """One of the values between commas, in quotes if Hydra would read it as something else than text."""
    try:
        value = _PARSER.parse_override(f"name={part}").value()
    except HydraException:
        return part  # a piece of a longer value, with a comma in it
    return f"'{part}'" if isinstance(value, bool | int | float) else part


def _takes_text(kind: Any, path: Sequence[str]) -> bool:
    """Whether the field at this path below a type is text, or a list of it."""
    for member in _members(kind):
        of = get_args(member)
        if not path:
            found = member is str or (get_origin(member) is list and of == (str,))
        elif get_origin(member) is dict:
            found = _takes_text(of[1], path[1:])
        else:
            hints = get_type_hints(member) if is_dataclass(member) else {}
            found = path[0] in hints and _takes_text(hints[path[0]], path[1:])
        if found:
            return True
    return False


def _members(kind: Any) -> Iterator[Any]:
    """The types of a union, or the one type."""
    if get_origin(kind) in (Union, UnionType):
        yield from get_args(kind)
    else:
        yield kind
