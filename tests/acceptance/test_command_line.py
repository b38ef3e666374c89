"""The front door: one clear line and the right exit code, never a traceback."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from slurm_bench.steps import cli, overriding
from slurm_bench.words.config import (
    COMMANDS,
    BudgetCommand,
    BudgetConfig,
    CommandConfig,
    JudgeCommand,
    JudgeConfig,
    RetimeCommand,
    RetimeConfig,
)
from slurm_bench.words.errors import UsageError
from slurm_bench.words.examples import EXAMPLES
from tests.conftest import REPOSITORY
from tests.upstream_repository import git
from tests.waiting import LONG_S

FIRST = "2025-09-03_FA3"

IN_ITS_JOB = ("cluster=dev", "retime.where=allocation")


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        (["command=budget", "format=csv"], "command.format=csv"),
        (["command=budget", "budget.format=csv"], "command.format=csv"),
        (["command=doctor", "doctor.gpu=true"], "command.gpu=true"),
        (["command=baselines", "baselines.only=[a,b]"], "command.only=[a,b]"),
        (["command=stop", "all=true"], "command.all=true"),
        (["command=status", "format=json"], "command.format=json"),
        (["command=judge", "judge.parallel=2"], "command.parallel=2"),
        (["command=bundle", "submission=3"], "command.submission='3'"),
        (["command=bundle", "session=one"], "session=one"),
        (["command=reverify", "bundle=one.tar"], "command.bundle=one.tar"),
        (["command=judge", "judge.models.x.effort=low"], "judge.models.x.effort=low"),
        (["command=retime", "retime.design=classic"], "retime.design=classic"),
        (["command=run", "budget.format=csv"], "budget.format=csv"),
        (["command=budget", "budget.h100_hours=8"], "budget.h100_hours=8"),
    ],
)
def test_a_commands_own_options_go_without_prefix_or_with_its_name(given: list[str], spelt: str) -> None:
    assert overriding.in_full(given) == [given[0], spelt]


@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ("session=2026_11_30", "session='2026_11_30'"),
        ("session=1e5,two,inf", "session='1e5',two,'inf'"),
        ("cluster.account=2024e01", "cluster.account='2024e01'"),
        ("cluster.gpu_type=4090", "cluster.gpu_type='4090'"),
        ("cluster.account=null", "cluster.account=null"),
        ("agent.program.argv=[true,1]", "agent.program.argv=['true','1']"),
        ("+task.environment.PACE=0.30", "+task.environment.PACE='0.30'"),
        ("task.target_loss=3.28", "task.target_loss=3.28"),
        ("cluster.parallel=1,2", "cluster.parallel=1,2"),
        ("session='1,5'", "session='1,5'"),
        ("hydra.sweep.dir=1", "hydra.sweep.dir=1"),
    ],
)
def test_text_is_taken_as_it_was_typed(given: str, typed: str) -> None:
    assert overriding.in_full([given]) == [typed]


@pytest.mark.parametrize(
    "option", ["array", "clusters", "exclu", "output", "test_only", "time", "tres_per_task", "uid", "wait", "wrap"]
)
def test_only_options_that_change_nothing_of_a_trial_go_to_sbatch(option: str) -> None:
    for field in ("sbatch", "cpu_sbatch"):
        with pytest.raises(UsageError, match=rf"cluster\.{field} must be of options that .* got '{option}'"):
            cli.composed(["cluster=slurm", f"+cluster.{field}.{option}=x"])
    (config,) = cli.composed(["cluster=slurm", "+cluster.sbatch={mail-user: me, exclude: 'a,b'}"])
    assert config.cluster.sbatch == {"mail-user": "me", "exclude": "a,b"}


def test_hydra_makes_no_number_of_a_name() -> None:
    (config,) = cli.composed(["session=2026_11_30", "cluster.account=2024e01"])
    assert (config.session, config.cluster.account) == ("2026_11_30", "2024e01")


def test_no_option_of_a_command_hides_one_of_a_group_of_its_name() -> None:
    for command, group in ((BudgetCommand, BudgetConfig), (RetimeCommand, RetimeConfig), (JudgeCommand, JudgeConfig)):
        assert not {option.name for option in fields(command)} & {option.name for option in fields(group)}


def slurm_bench(*overrides: str, cwd: Path = REPOSITORY, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "slurm_bench", *overrides],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["budgt.h100_hours=1"], "'budgt'"),
        (["budget.hours=1"], "'hours' not in 'BudgetConfig'"),
        (["+cluster.gpus=8"], "unknown key 'gpus'"),
        (["budget.h100_hours=-1"], "budget.h100_hours must be above 0 and finite, got -1.0"),
        (["budget.h100_hours=many"], "budget.h100_hours"),
        (["budget.h100_hours=nan"], "budget.h100_hours must be above 0"),
        (["cluster.parallel=0"], "cluster.parallel must be above 0"),
        (["cluster.gpu_type=b200"], "budget.weights"),
        (["cluster.trial_gpus=2"], "cluster.trial_gpus must be 1 to cluster.node_gpus (1)"),
        (["task.trial_minutes=inf"], "task.trial_minutes must be above 0 and finite"),
        (["agent=null"], "Config group override"),
        (["budget=null"], "Config group override"),
        (["runs=/dev/null/x"], "runs: "),
        (["runs='/tmp/a,b'"], "runs: "),
        (["session=" + "x" * 300], "session must be at most"),
        (["cluster=moon"], "'cluster/moon'; there are dev, local, slurm"),
        (
            ["agent=cluade"],
            "'agent/cluade'; there are autoresearch, claude, claude_current, codex, codex_azure, codex_current, ",
        ),
        (["command=budegt"], "'command/budegt'; there are baselines, budget, bundle"),
        (["command=budegt", "--help"], "'command/budegt'; there are baselines, budget, bundle"),
        (["agent.kind=hal"], "agent.kind must be scripted"),
        (["session=../elsewhere"], "session"),
        (["session='a b'"], "session must be"),
        (["task.record=2031-01-01_Unknown"], "no train_gpt.py in"),
        (["task.synthetic=null", "task.data=/nowhere"], "task.data: no fineweb10B/fineweb_val_*.bin in /nowhere"),
        (["container=apptainer", "container.image=nowhere.sif"], "scripts/build_image nowhere"),
        (["command=budget", "campaign=none-of-this-name"], "no sessions in"),
        (["command=report", "campaign=none-of-this-name"], "no sessions in"),
        (["command=status", "campaign=none-of-this-name"], "no sessions in"),
        (["command=status", "format=table"], "command.format must be live, plain, json or null, got 'table'"),
        (["command=stop", "campaign=none-of-this-name"], "campaign none-of-this-name: it has no sessions"),
        (["command=stop", "all=true"], "no sessions in"),
        (["command=budget", "format=pdf"], "command.format must be table, csv or json, got 'pdf'"),
        (["command=budget", "guard=on"], "command.guard must be show, check or null, got 'on'"),
        (["command=budget", "guard=show", "sessions=0"], "command.sessions must be above 0"),
        (["command=budget", "guard=show"], "command.guard needs a Slurm cluster, got cluster.kind=local"),
        (["format=csv"], "'format'"),
        (["command=retime", "record=2031-01-01_Unknown"], "no record 2031-01-01_Unknown"),
        (["command=retime", "directory=/nowhere"], "command.directory: no folder /nowhere"),
        (["command=retime", "record=a", "directory=b"], "command.directory must be null where command.record is set"),
        (["command=confirm", "session=nobody"], "session: none of that name in campaign rehearsal: it has no sessions"),
        (["retime.where=here"], "retime.where must be fresh or allocation, got 'here'"),
        (["retime.where=allocation"], "retime.where must be fresh with cluster.kind=local, got 'allocation'"),
        ([*IN_ITS_JOB, "cluster.session_gpus=4"], "cluster.session_gpus must be cluster.trial_gpus (8) or more, got 4"),
        ([*IN_ITS_JOB, "cluster.session_gpus=8"], "cluster.session_hours must be 3.0 or more with retime.where"),
        ([*IN_ITS_JOB, "cluster.session_gpus=8", "command=retime"], "retime.where must be fresh with command=retime"),
        (["retime.stop_below=1"], "retime.stop_below must be 0 or more, and below 1"),
        (["session=calibrations"], "session must be another name"),
        (["session=opinions"], "session must be another name"),
        (["judge=anthropic", "judge.models.anthropic.key_variable=NO_SUCH"], "variable NO_SUCH is missing or empty"),
        (["judge=anthropic", "judge.models.anthropic.key_file=/nowhere"], "/nowhere"),
        (["judge=panel", "judge.quorum=3"], "judge.quorum must be 1 to 2, the number of models"),
        (["judge=static", "judge.minutes=0"], "judge.minutes must be above 0"),
        (["command=judge"], "command.directory or command.cases must be given"),
        (["command=judge", "cases=/nowhere"], "command.cases: no folder /nowhere"),
        (["command=judge", "directory=/nowhere"], "command.directory: no folder /nowhere"),
        (["command=baselines", "only=[2031-01-01_Unknown]"], "command.only: no human record 2031-01-01_Unknown"),
        (["command=baselines", "source=/nowhere"], "command.source: /nowhere is no git repository"),
        (["command=baselines", "source=''"], "command.source must be a git URL or the path of a clone"),
        (["command=baselines", "only=all"], "command.only"),
        (["command=records"], "command.source must be the path of a clone of upstream"),
        (["command=records", "source=/nowhere"], "command.source: /nowhere is no git repository"),
        (["cluster=dev", "cluster.slurm_conf=/nowhere/slurm.conf"], "scripts/dev_cluster up"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(overrides: list[str], words: str, tmp_path: Path) -> None:
    done = slurm_bench(f"runs={tmp_path}/runs", *overrides)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("slurm_bench: ")
    assert not (tmp_path / "runs").exists()


def test_a_users_home_that_is_not_there(tmp_path: Path) -> None:
    """Paths with ~ are said as they were typed, and nothing needs a HOME or an entry of the user's."""
    key = "judge.models.openai.key_file"
    done = slurm_bench("command=judge", "judge=openai", f"{key}='~nobody-of-this-name/key'", f"directory={tmp_path}")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "nobody-of-this-name/key" in done.stderr
    done = slurm_bench("command=status", f"runs={tmp_path}/runs", HOME="")
    assert done.returncode == 2 and "no sessions in" in done.stderr


def test_a_cluster_without_sbatch(tmp_path: Path) -> None:
    done = slurm_bench(f"runs={tmp_path}/runs", "cluster=slurm", PATH="/nonexistent")
    assert done.returncode == 2
    assert done.stderr.startswith("slurm_bench: cluster.kind=slurm needs sbatch")
    assert len(done.stderr.splitlines()) == 1


def test_a_clone_that_is_not_upstreams(tmp_path: Path) -> None:
    """The record and its commit are named, and nothing is left beside the tables."""
    before = set((REPOSITORY / "human_baselines").glob("20*"))
    git(tmp_path, "init", "--quiet")
    done = slurm_bench("command=baselines", f"source={tmp_path}", f"only=[{FIRST}]")
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"slurm_bench: {FIRST}: command.source: {tmp_path} has no commit 838681199ba6")
    assert len(done.stderr.splitlines()) == 1
    assert set((REPOSITORY / "human_baselines").glob("20*")) == before


def test_baselines_need_git() -> None:
    done = slurm_bench("command=baselines", f"source={REPOSITORY}", f"only=[{FIRST}]", PATH="/nonexistent")
    assert done.returncode == 2
    assert done.stderr == "slurm_bench: this command needs git, which is not on the PATH\n"


def test_help_names_the_groups_and_imports_nothing_heavy() -> None:
    done = slurm_bench("--help")
    assert done.returncode == 0
    for group in (
        "agent: autoresearch, claude, claude_current, codex, codex_azure, codex_current, command, opencode, scripted",
        "cluster: dev, local, slurm",
        "command: baselines, budget, bundle, confirm, data, doctor, judge, records, report, retime, reverify, run, "
        "status, stop",
        "judge: anthropic, azure, openai, panel, static",
    ):
        assert group in done.stdout
    probe = "import sys; import slurm_bench.steps.cli; print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    models = ("anthropic", "openai")
    for heavy in ("torch", "scipy", "submitit", "pydantic", "numpy", "jinja2", "huggingface_hub", *models):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize("step", ["launch", "session", "relay"])
def test_what_starts_often_imports_nothing_that_it_rarely_needs(step: str) -> None:
    probe = f"import sys; import slurm_bench.steps.{step}; print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    for heavy in ("aiohttp", "matplotlib", "torch", "scipy.stats", "rich"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_of_the_whole_has_a_line_for_each_command(command: type[CommandConfig], overview: str) -> None:
    assert f"\n{command.name:<10} {command.__doc__}\n" in overview


def test_help_of_the_whole_shows_examples_and_flags(overview: str) -> None:
    for line, does in EXAMPLES["run"]:
        assert f"python -m slurm_bench {line}".rstrip() + f"\n    {does}\n" in overview
    assert "command=NAME --help" in overview
    assert "--multirun,-m" in overview


@pytest.fixture(scope="module")
def overview() -> str:
    return slurm_bench("--help").stdout


@pytest.mark.parametrize("help_at", range(4))
def test_help_of_a_command_wherever_it_is_asked_for(help_at: int) -> None:
    line = ["command=budget", "campaign=mine", "format=csv"]
    line.insert(help_at, "--help")
    done = slurm_bench(*line)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{BudgetCommand.__doc__}\n")
    assert "\nformat=table  (str)\n    table, csv or json.\n" in done.stdout
    assert "\nguard=null  (str | None)\n    A limit of the campaign in Slurm itself" in done.stdout
    assert all(f"\npython -m slurm_bench {line}\n" in done.stdout for line, _ in EXAMPLES["budget"])
    assert "\n  format: csv\n" in done.stdout, "the configuration as composed"


@pytest.mark.parametrize(
    "line",
    [
        ["command=report", "campaign=a"],
        ["-m", "command=report", "campaign=a,b"],
        ["-m", "seed=1,2", "task.synthetic=null", "task.data=/nowhere"],
        ["-m", "seed=1,2", "session=same"],
        ["-m", "seed=1,two"],
        ["--help"],
        ["--cfg=job", "seed=2"],
    ],
)
def test_nothing_is_left_in_the_current_directory(line: list[str], tmp_path: Path) -> None:
    """No outputs/, multirun/, .hydra or runs/ of a command that started nothing."""
    done = slurm_bench(*line, cwd=tmp_path)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "account"), [([], "of-this-job"), (["cluster.account=ours"], "ours"), (["cluster=dev"], "lab")]
)
def test_in_a_job_its_account_is_the_default(overrides: list[str], account: str) -> None:
    shown = ("--cfg=job", "--resolve", "--package=cluster")
    done = slurm_bench(*shown, "cluster=slurm", *overrides, SLURM_JOB_ACCOUNT="of-this-job")
    assert f"account: {account}\n" in done.stdout, done.stderr
    outside = slurm_bench(*shown, "cluster=slurm", SLURM_JOB_ACCOUNT="")
    assert "account: ''\n" in outside.stdout, "no account is named"


@pytest.mark.parametrize("gpu_type", ["4090", "2080ti", "a100-sxm4-80gb", "1g.10gb"])
def test_the_weight_of_any_type_of_gpu_is_given_as_the_refusal_says(gpu_type: str, tmp_path: Path) -> None:
    """Hydra reads a key of 4090 as a number."""
    overrides = [f"runs={tmp_path}", "command=budget", f"cluster.gpu_type={gpu_type}"]
    refused = slurm_bench(*overrides)
    assert refused.returncode == 2
    (told,) = re.findall(r"\((.*)\)", refused.stderr)
    (hint,) = shlex.split(told.replace("H100-HOURS", "0.5"))
    assert "no sessions in" in slurm_bench(*overrides, hint).stderr
    (config,) = cli.composed([*overrides, hint])
    assert config.h100_weight == 0.5
