"""What `--help` says holds: every example composes, and no option goes without its meaning."""

import shlex
import sys
from dataclasses import dataclass, fields

import pytest

from slurm_bench.steps import cli, help_pages
from slurm_bench.words.config import COMMANDS, CommandConfig
from slurm_bench.words.errors import UsageError
from slurm_bench.words.examples import EXAMPLES


@pytest.fixture(autouse=True)
def _own_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads sys.argv, into which a command line is written."""
    monkeypatch.setattr(sys, "argv", ["slurm_bench"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_its_purpose_its_options_and_examples(command: type[CommandConfig]) -> None:
    assert command.__doc__ and len(command.__doc__.splitlines()) == 1
    assert not command.__doc__.startswith(f"{command.__name__}("), "a dataclass makes itself a docstring"
    assert set(help_pages.meanings(command)) == {option.name for option in fields(command)} - {"name"}
    assert 2 <= len(EXAMPLES[command.name]) <= 3


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line, _ in lines])
def test_every_example_is_a_valid_command_line(name: str, line: str) -> None:
    configs = cli.composed(shlex.split(line))
    assert configs
    assert {config.command.name for config in configs} == {name}


def test_an_example_that_is_none_would_be_found() -> None:
    with pytest.raises(UsageError, match="unknown key 'frmat'"):
        cli.composed(["command=budget", "+command.frmat=csv"])


def test_a_meaning_is_the_string_below_its_field() -> None:
    assert help_pages.meanings(Sample) == {"first": "Of two\nlines."}


@dataclass
class Sample(CommandConfig):
    """Not below a field."""

    first: int = 1
    """Of two
    lines."""
    second: int = 2
