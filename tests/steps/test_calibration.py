"""`command=retime` on this machine, with a program whose runs take a tenth of a second."""

import json
import shutil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from slurm_bench.effects import store
from slurm_bench.effects.campaigns import members
from slurm_bench.steps import budget, calibration
from slurm_bench.words.config import BudgetCommand, Config, RetimeCommand
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import CampaignPaths
from slurm_bench.words.trials import Calibration

pytestmark = pytest.mark.whole


@pytest.fixture(params=["paired", "classic"])
def config(request: pytest.FixtureRequest, config: Config) -> Config:
    config.retime.design = request.param
    config.command = RetimeCommand(format="json")
    data = Path(config.task.data) / "fineweb10B"
    data.mkdir(parents=True)
    (data / "fineweb_val_000000.bin").touch()
    return config


def faster(record: Path) -> Path:
    folder = record.parent / "faster"
    shutil.copytree(record, folder)
    program = folder / "train_gpt.py"
    program.write_text(program.read_text().replace("SECONDS = 0.08", "SECONDS = 0.04"))
    return folder


def perform(config: Config, capsys: pytest.CaptureFixture[str]) -> Any:
    calibration.perform(config)
    return json.loads(capsys.readouterr().out)


def calibrations(config: Config) -> list[str]:
    found = members(CampaignPaths(Path(config.runs) / config.campaign)).calibrations
    return [store.read(paths.calibration, Calibration).program for paths in found]


def test_the_incumbents_distribution(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten runs by themselves in either design, made once."""
    printed = perform(config, capsys)
    assert printed["decision"] is None
    (timed,) = printed["timed"]
    assert timed["name"] == "quick-record"
    assert len(timed["losses"]) == len(timed["training_times_s"]) == 10
    assert all(0.08 <= seconds <= 0.085 for seconds in timed["training_times_s"])
    assert timed["noise"]["loss"] == pytest.approx(stdev(timed["losses"]))
    assert timed["noise"]["time"] == pytest.approx(stdev(timed["training_times_s"]) / mean(timed["training_times_s"]))
    assert printed["human_noise"]["least"]["time"] < printed["human_noise"]["most"]["time"]
    assert perform(config, capsys) == printed, "timed once for the campaign"
    assert calibrations(config) == ["quick-record"]
    check_cost(config, capsys)


def test_another_program_beside_the_incumbent(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(faster(Path(config.task.record)))
    config.command = RetimeCommand(directory=folder, format="json")
    printed = perform(config, capsys)
    assert [timed["name"] for timed in printed["timed"]] == ["faster", "quick-record (incumbent)"]
    assert [len(timed["losses"]) for timed in printed["timed"]] == [10, 10]
    decision = printed["decision"]
    assert (decision["outcome"], decision["level"]) == ("accepted", 0.01)
    assert decision["speed"]["design"] == config.retime.design
    assert 0.03 < decision["speed"]["saved_low_s"] < decision["speed"]["saved_high_s"] < 0.05
    apart = ["faster", "quick-record"]
    assert sorted(calibrations(config)) == (["faster"] if config.retime.design == "paired" else apart)
    config.command = RetimeCommand(directory=folder)
    calibration.perform(config)  # what was timed is shown again
    check_table(capsys.readouterr().out)


def check_table(printed: str) -> None:
    """What people read."""
    said = " ".join(printed.split())
    assert "Handed in, unjudged, it would be accepted: mean loss " in said
    assert "faster" in said and "quick-record" in said
    assert "noise of a run: faster: time " in said and "; quick-record (incumbent): time " in said
    assert "human records: time 0.02 to 0.59 % (median 0.07 %), loss 0.0005 to 0.0036 (median 0.0012)" in said


def check_cost(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """The budget has it."""
    campaign = CampaignPaths(Path(config.runs) / config.campaign)
    (paths,) = members(campaign).calibrations
    (line,) = budget.of_campaign(paths.campaign).accounts[0].lines
    assert (line.kind, line.attempts) == ("calibration", 10)
    config.command = BudgetCommand(format="csv")
    budget.perform(config)
    assert f"{paths.root.name},spent,calibration," in capsys.readouterr().out


def test_runs_that_fail_are_no_distribution(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    Path(config.task.record, "run.sh").write_text("exit 3\n")
    with pytest.raises(UsageError, match=r"quick-record: trial \d crashed: exit 3 \(see .*retiming-failed1\)"):
        calibration.perform(config)
    shutil.copy(faster(Path(config.task.record)) / "train_gpt.py", config.task.record)
    Path(config.task.record, "run.sh").write_text("exec python3 train_gpt.py\n")
    assert len(perform(config, capsys)["timed"][0]["losses"]) == 10


@pytest.mark.parametrize("name", ["my programs", "runs"])
def test_a_folder_that_cannot_be_timed_is_refused_before_anything_runs(config: Config, name: str) -> None:
    folder = Path(config.task.record).parent / name
    folder.mkdir(exist_ok=True)
    config.runs = config.runs if name != "runs" else str(folder / "inside")
    config.command = RetimeCommand(directory=str(folder))
    with pytest.raises(UsageError, match=r"names are letters|lies in command\.directory"):
        calibration.perform(config)
    assert not calibrations(config)
