"""What `--help` says: a page of the whole, and one of each command, as templates for Hydra to fill in.

A command's purpose is its class's docstring, an option's meaning the string below its field, both in words/config.py.
"""

import ast
import inspect
import json
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from textwrap import indent

from slurm_bench.words.config import COMMANDS, CommandConfig
from slurm_bench.words.examples import EXAMPLES

OVERVIEW = "slurm_bench"
"""Name of the page of the whole; a command's page has the command's name."""

_OVERVIEW = """\
The NanoGPT speedrun benchmark of autonomous research agents, on Slurm clusters.

Usage: python -m slurm_bench [command=NAME] [GROUP=CHOICE ...] [FIELD=VALUE ...] [-m]

Without overrides it rehearses the whole benchmark on this machine: no Slurm, container, GPU or key.

== Commands (command=NAME; command=NAME --help says more of one) ==
{commands}

== Examples ==
{examples}

== Groups and their choices (group=choice) ==
$APP_CONFIG_GROUPS
== The configuration as it stands (override with field=value) ==
$CONFIG
== Hydra's flags ==
$FLAGS_HELP"""

_PAGE = """\
{purpose}

Usage: python -m slurm_bench command={name} [OPTION=VALUE ...] [GROUP=CHOICE ...] [FIELD=VALUE ...]

== Its options, as they stand without an override ==
{options}

== Examples ==
{examples}

== The configuration as it stands (override with field=value; python -m slurm_bench --help lists the groups) ==
$CONFIG"""


def page(name: str) -> dict[str, str]:
    """The node of Hydra's `hydra/help` group for the page of that name."""
    commands = {command.name: command for command in COMMANDS}
    text = _command(commands[name]) if name in commands else _overview()
    return {"app_name": "slurm_bench", "header": "", "footer": "", "template": text}


def chosen(overrides: Sequence[str]) -> str:
    """The name of the page for a command line with these overrides."""
    names = [each.removeprefix("command=") for each in overrides if each.startswith("command=")]
    return names[-1] if names and names[-1] in EXAMPLES else OVERVIEW


def meanings(command: type[CommandConfig]) -> dict[str, str]:
    """What each option of a command means: the strings that stand below its fields."""
    (definition,) = ast.parse(inspect.getsource(command)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _overview() -> str:
    commands = "\n".join(f"{command.name:<10} {inspect.getdoc(command)}" for command in COMMANDS)
    return _OVERVIEW.format(commands=commands, examples=_examples("run"))


def _command(command: type[CommandConfig]) -> str:
    texts = meanings(command)
    own = [each for each in fields(command) if each.name != "name"]
    options = "\n".join(f"{_option(each)}\n{indent(texts.get(each.name, ''), '    ')}" for each in own)
    return _PAGE.format(
        purpose=inspect.getdoc(command),
        name=command.name,
        options=options or "none of its own",
        examples=_examples(command.name),
    )


def _option(option: "Field[object]") -> str:
    default = option.default if option.default_factory is MISSING else option.default_factory()
    kind = option.type.__name__ if isinstance(option.type, type) else option.type
    return f"{option.name}={default if isinstance(default, str) else json.dumps(default)}  ({kind})"


def _examples(name: str) -> str:
    return "\n".join(f"python -m slurm_bench {line}".rstrip() + f"\n    {does}" for line, does in EXAMPLES[name])
