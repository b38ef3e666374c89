"""The yardstick with what a campaign timed itself, by real runs of a tenth of a second."""

import csv
import hashlib
import shutil
from pathlib import Path, PurePosixPath

import pytest
from omegaconf import OmegaConf

from slurm_bench.effects import human_records, seals
from slurm_bench.pure.yardstick import Source
from slurm_bench.steps import calibration, site, yardsticks
from slurm_bench.words.config import Config, RetimeCommand
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import CampaignPaths, SessionPaths
from slurm_bench.words.records import Seal
from tests import human_tables

JANUARY, NEWEST = "2026-01-19_BigramHashEmbedding", "2026-07-17_FP8DownProjection"


@pytest.fixture
def faster(quick_record: Path) -> Path:
    """As the quick record, in half of its time."""
    folder = quick_record.parent / "faster"
    shutil.copytree(quick_record, folder)
    program = folder / "train_gpt.py"
    program.write_text(program.read_text().replace("SECONDS = 0.08", "SECONDS = 0.04"))
    return folder


@pytest.fixture
def tables(tmp_path: Path, quick_record: Path, faster: Path) -> Path:
    """By which the quick record is that of January, and the faster one the newest."""
    folder = human_tables.write(tmp_path / "tables")
    (folder / "human_rewrites.tsv").write_text("record\tfile\trules\tresult_sha256\n")
    with (folder / "human_records.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for row in rows:
        own = {JANUARY: quick_record, NEWEST: faster}.get(row["record"])
        if own:
            program = (own / "train_gpt.py").read_bytes()
            row |= {"upstream_path": "train_gpt.py", "sha256": hashlib.sha256(program).hexdigest(), "extra_files": ""}
    with (folder / "human_records.tsv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def sealed(folder: Path, store: Path) -> Seal:
    return seals.seal(folder.parent, PurePosixPath(folder.name), store)


@pytest.mark.whole
@pytest.mark.parametrize("design", ["paired", "classic"])
def test_a_record_that_was_timed_here_beside_the_start_stands_by_that(
    config: Config, quick_record: Path, faster: Path, tables: Path, design: str
) -> None:
    """The start is a folder of one's own; its bytes say which record it is."""
    config.retime.design = design
    config.command = RetimeCommand(directory=str(faster), format="json")
    (Path(config.task.data) / "fineweb10B").mkdir(parents=True)
    (Path(config.task.data) / "fineweb10B/fineweb_val_000000.bin").touch()
    calibration.perform(config)
    campaign = CampaignPaths(Path(config.runs) / config.campaign)
    humans = yardsticks.known([campaign], tables)
    every = humans.yardsticks(config, sealed(quick_record, campaign.root / "seals"))[0]
    assert every.start.name == JANUARY
    assert (every.whole.name, every.whole.source) == (NEWEST, Source.HERE)
    assert every.whole.saved_s == pytest.approx(0.04, abs=0.01)
    assert {step.source for step in every.steps[:-1]} == {Source.LEADERBOARD}
    config.cluster.trial_gpus += 1
    assert (
        humans.yardsticks(config, sealed(quick_record, campaign.root / "seals"))[0].whole.source is Source.LEADERBOARD
    )


def test_a_folder_of_ones_own_is_a_human_record_by_its_bytes_alone(
    config: Config, quick_record: Path, tables: Path
) -> None:
    humans = yardsticks.known([], tables)
    assert humans.yardsticks(config, sealed(quick_record, tables / "seals"))[0].start.name == JANUARY
    assert humans.yardsticks(config, None) == (), "nothing was sealed yet"
    renamed = quick_record.rename(quick_record.with_name("2025-09-03_FA3"))
    (renamed / "train_gpt.py").write_text("print('another')")
    config.task.record = str(renamed)
    assert humans.yardsticks(config, sealed(renamed, tables / "seals")) == ()


def test_all_files_of_a_record_count_as_upstream_or_as_the_benchmark_has_them() -> None:
    (january,) = (record for record in human_records.upstream() if record.name == JANUARY)
    program, kernels = january.files
    assert program.sha256 != program.final_sha256
    for files in ({program.name: program.sha256}, {program.name: program.final_sha256}):
        assert human_records.name_of(files | {kernels.name: kernels.final_sha256, "run.sh": "0" * 64}) == JANUARY
        assert human_records.name_of(files | {kernels.name: "0" * 64}) == ""
        assert human_records.name_of(files) == ""
    assert human_records.name_of({}) == ""


def test_sessions_of_before_the_field_keep_their_yardstick(config: Config, tmp_path: Path) -> None:
    paths = SessionPaths(tmp_path / "runs/test/old")
    site.save_config(paths, config)
    stored = OmegaConf.load(paths.config)
    del stored.task["yardstick_until"]
    OmegaConf.save(stored, paths.config)
    assert site.load_config(paths).task.yardstick_until == JANUARY


def test_an_end_that_is_no_human_record_is_refused(config: Config) -> None:
    config.task.yardstick_until = "2026-01-20_Nothing"
    with pytest.raises(
        UsageError, match=r"task.yardstick_until: no human record 2026-01-20_Nothing, only 2025-09-03_FA3 to"
    ):
        site.check_folders(config)
    with pytest.raises(UsageError, match=r"command.until: no human record"):
        yardsticks.known(until="2026-01-20_Nothing")
