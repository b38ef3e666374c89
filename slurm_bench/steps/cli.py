"""The front door: Hydra composes the configuration, one command is performed, failures become exit codes."""

import importlib
import io
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from tempfile import TemporaryDirectory

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from slurm_bench.pure.plain import printable
from slurm_bench.steps import help_pages, overriding
from slurm_bench.words.config import COMMANDS, Config, refuse_unknown
from slurm_bench.words.errors import BenchError, InfrastructureError, UsageError
from slurm_bench.words.paths import shipped

# By name, so that --help and a mistyped override need not wait for scipy and submitit.
_COMMANDS = {
    "run": "slurm_bench.steps.launch",
    "status": "slurm_bench.steps.status",
    "stop": "slurm_bench.steps.stop",
    "budget": "slurm_bench.steps.budget",
    "report": "slurm_bench.steps.report",
    "retime": "slurm_bench.steps.calibration",
    "judge": "slurm_bench.steps.judging",
    "confirm": "slurm_bench.steps.confirm",
    "bundle": "slurm_bench.steps.bundle",
    "reverify": "slurm_bench.steps.reverify",
    "baselines": "slurm_bench.steps.baselines",
    "records": "slurm_bench.steps.records",
    "data": "slurm_bench.steps.data",
    "doctor": "slurm_bench.steps.doctor",
}
_USAGE = 2
_INTERRUPTED = 130


def main() -> int:
    """Perform the command line and return its exit code; what goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):  # which may be able to say ASCII alone
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # httpx2 would print every request, with what signs its address; fontTools each table of a font.
    for library in ("submitit", "httpx2", "fontTools", "matplotlib"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        return max([_perform(config) for config in composed(sys.argv[1:])], default=0)
    except YAMLError as error:
        return _say(" ".join(str(error).split()), _USAGE)
    except BenchError as error:
        return _say(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return _say(_one_line(error), _USAGE)
    except OSError as error:
        return _say(str(error), InfrastructureError.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED


def composed(argv: Sequence[str]) -> list[Config]:
    """The configurations that a command line asks for: one, or one of each member of a sweep.

    All are checked before the first is performed. Hydra's other flags (--help, --cfg, -sc) print, and leave none.

    Raises:
        UsageError: of the first that is wrong, or where two sessions of a sweep would have the same name.
    """
    # Hydra would print and exit by itself; this asks it to raise instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    overrides, flags = _parted(argv)
    configs: list[Config] = []
    wrong: list[UsageError] = []

    def check(member: DictConfig) -> None:
        try:
            configs.append(_checked(member))
        except (BenchError, OmegaConfBaseException) as error:
            wrong.append(UsageError(_which_member() + _one_line(error)))

    with TemporaryDirectory() as passing:
        # Hydra writes multirun.yaml for each sweep; what it says is in the records of the sweep's sessions.
        # By the name of the console script, for which Hydra's shell completion is.
        sys.argv[:] = ["slurm_bench", f"hydra.sweep.dir='{passing}'", *overrides, *flags]
        hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")(check)()
    if wrong:
        raise wrong[0]
    _refuse_namesakes(configs)
    return configs


def register() -> None:
    """Make known to Hydra what conf/config.yaml rests on: the schema, the command group and `${started:FORMAT}`."""
    # Unlike Hydra's own `now` the same for all members of a sweep.
    OmegaConf.register_new_resolver("started", datetime.now().strftime, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for command in COMMANDS:
        store.store(group="command", name=command.name, node=command)


def _parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides and flags, which may be mixed: argparse would take overrides from one place only."""
    args, others = get_args_parser().parse_known_args(argv)
    overrides = [*args.overrides, *others]
    flags = [each for each in argv if each not in overrides]
    page = [f"hydra/help={_register_help(overrides)}"] if args.help else []
    return [*overriding.in_full(overrides), *page], flags


def _register_help(overrides: Sequence[str]) -> str:
    """Make the page that these overrides ask for known to Hydra, and return its name."""
    name = help_pages.chosen(overrides)
    ConfigStore.instance().store(group="hydra/help", name=name, node=help_pages.page(name))
    return name


def _checked(member: DictConfig) -> Config:
    config = OmegaConf.to_object(member)
    assert isinstance(config, Config)
    refuse_unknown(config)
    if config.command.name == "status" and not _is_given("session"):
        config.session = ""  # the name of a session to begin is none to look at
    return config


def _is_given(field: str) -> bool:
    """Whether the command line itself says it."""
    return any(override.lstrip("+").startswith(f"{field}=") for override in HydraConfig.get().overrides.task)


def _which_member() -> str:
    """The number by which Hydra has just announced this member of a sweep."""
    hydras = HydraConfig.get()
    return f"nothing is started, for #{hydras.job.num}: " if hydras.mode is RunMode.MULTIRUN else ""


def _refuse_namesakes(configs: Sequence[Config]) -> None:
    sessions = Counter(config.session_dir for config in configs if config.command.name == "run")
    twice = [folder.name for folder, times in sessions.items() if times > 1]
    if twice:
        hint = "name what tells them apart, e.g. 'session=${started:%H%M%S}-${agent.effort}-${seed}'"
        raise UsageError(f"session must be another for each member of a sweep, got {twice[0]!r} more than once; {hint}")


def _perform(config: Config) -> int:
    """Perform the command of one configuration (of a sweep, one of several) and return its exit code."""
    try:
        importlib.import_module(_COMMANDS[config.command.name]).perform(config)
    except KeyboardInterrupt:
        how = f" with session={config.session}" if config.command.name == "run" else ""
        goes_on = "" if config.command.name == "doctor" else f"; the same command{how} goes on"
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
    print(f"slurm_bench: {printable(message)}", file=sys.stderr)
    return exit_code


def _one_line(error: Exception) -> str:
    """The first line of an error and of its cause, which names the field."""
    texts = [str(each).splitlines() for each in (error, error.__cause__) if each and str(each)]
    # Hydra's "In 'cluster/ours': … raised while composing config:" goes on in the next line.
    lines = [" ".join(text[: 2 if text[0].endswith(":") else 1]).rstrip(".") for text in texts]
    choices = error.options if isinstance(error, MissingConfigException) else None
    return ": ".join(dict.fromkeys(lines)) + (f"; there are {', '.join(choices)}" if choices else "")
