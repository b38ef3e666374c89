"""The front door: Hydra composes the configuration, one command is performed, failures become exit codes."""

import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from slurm_bench.words.config import COMMANDS, Config, refuse_unknown
from slurm_bench.words.errors import BenchError, InfrastructureError
from slurm_bench.words.paths import shipped

# By name, so that --help and a mistyped override need not wait for scipy and submitit.
_COMMANDS = {
    "run": "slurm_bench.steps.launch",
    "budget": "slurm_bench.steps.budget",
    "report": "slurm_bench.steps.report",
    "retime": "slurm_bench.steps.calibration",
    "judge": "slurm_bench.steps.judging",
    "bundle": "slurm_bench.steps.bundle",
    "reverify": "slurm_bench.steps.reverify",
    "baselines": "slurm_bench.steps.baselines",
    "data": "slurm_bench.steps.data",
    "doctor": "slurm_bench.steps.doctor",
}
_USAGE = 2
_INTERRUPTED = 130


def main() -> int:
    """Perform the command line and return its exit code; what goes wrong is one line on standard error."""
    # Hydra would print and exit by itself; this asks it to raise instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in ("submitit", "httpx2"):  # the latter would print every request, with what signs its address
        logging.getLogger(library).setLevel(logging.WARNING)
    register()
    sys.argv[1:] = spelt_out(sys.argv[1:])
    exit_codes = []

    def perform(composed: DictConfig) -> None:
        exit_codes.append(_perform(composed))

    try:
        hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(perform)()
    except YAMLError as error:
        return _say(" ".join(str(error).split()), _USAGE)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _say(_one_line(error), _USAGE)
    except OSError as error:
        return _say(str(error), InfrastructureError.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return max(exit_codes, default=0)


def register() -> None:
    """Make the schema known to Hydra: `schema` for conf/config.yaml, and the command group."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for command in COMMANDS:
        store.store(group="command", name=command.name, node=command)


def spelt_out(overrides: Sequence[str]) -> list[str]:
    """A command's own options in full: after `command=budget`, `format=csv` and `budget.format=csv` stand for
    `command.format=csv`.
    """
    chosen = [override.removeprefix("command=") for override in overrides if override.startswith("command=")]
    own = {option.name for command in COMMANDS if command.name in chosen for option in fields(command)} - {"name"}
    short = {name: name for name in own - {option.name for option in fields(Config)}}
    spelt = {**short, **{f"{command}.{name}": name for command in chosen for name in own}}
    return [_renamed(override, spelt) for override in overrides]


def _renamed(override: str, options: Mapping[str, str]) -> str:
    name, equals, value = override.partition("=")
    return f"command.{options[name]}{equals}{value}" if name in options else override


def _perform(composed: DictConfig) -> int:
    """Perform the command of one configuration (of a sweep, one of several) and return its exit code."""
    try:
        config = OmegaConf.to_object(composed)
        assert isinstance(config, Config)
        refuse_unknown(config)
        importlib.import_module(_COMMANDS[config.command.name]).perform(config)
    except KeyboardInterrupt:
        how = f" with session={composed.session}" if composed.command.name == "run" else ""
        goes_on = "" if composed.command.name == "doctor" else f"; the same command{how} goes on"
        _say(f"interrupted{goes_on}", _INTERRUPTED)
        raise
    except BenchError as error:
        return _say(str(error), error.exit_code)
    except OmegaConfBaseException as error:
        return _say(_one_line(error), _USAGE)
    except OSError as error:
        return _say(str(error), InfrastructureError.exit_code)
    return 0


def _say(message: str, exit_code: int) -> int:
    print(f"slurm_bench: {message}", file=sys.stderr)
    return exit_code


def _one_line(error: Exception) -> str:
    """The first line of an error and of its cause, which names the field."""
    texts = [str(each).splitlines() for each in (error, error.__cause__) if each and str(each)]
    # Hydra's "In 'cluster/ours': … raised while composing config:" goes on in the next line.
    lines = [" ".join(text[: 2 if text[0].endswith(":") else 1]).rstrip(".") for text in texts]
    return ": ".join(dict.fromkeys(lines))
