"""The yardsticks of sessions: what the tables say of human progress, and what campaigns timed of it themselves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from slurm_bench.effects import campaigns, human_records, store
from slurm_bench.pure import yardstick
from slurm_bench.pure.human import HumanRecord
from slurm_bench.pure.verdict import training_times
from slurm_bench.pure.yardstick import Conditions, TimedRecord, Yardstick
from slurm_bench.steps import site
from slurm_bench.words.config import Config
from slurm_bench.words.paths import CalibrationPaths, CampaignPaths
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import Calibration, Retiming


@dataclass(frozen=True)
class Humans:
    """What is known of human progress."""

    tables: Path
    records: Sequence[HumanRecord]
    timed: Sequence[TimedRecord]
    until: str | None = None
    """Name of the last record that counts, in the place of what sessions say themselves."""

    def yardsticks(self, config: Config, sealed: Seal | None) -> tuple[Yardstick, ...]:
        """
        Args:
            sealed: the starting record's, where one was taken.
        """
        start = self.start(config, sealed)
        if start is None:
            return ()
        here = yardstick.saved_here(self.timed, start.name, config.cluster.gpu_type, config.cluster.trial_gpus)
        return yardstick.yardsticks(self.records, start.name, self.until or config.task.yardstick_until, here)

    def start(self, config: Config, sealed: Seal | None) -> HumanRecord | None:
        """Return the human record that a session begins with: by its name, or the one whose files its folder has."""
        by_name = {record.name: record for record in self.records}
        named = by_name.get(config.task.record)
        return named or (by_name.get(name_of(sealed, self.tables)) if sealed else None)


def name_of(sealed: Seal, tables: Path = human_records.SHIPPED) -> str:
    """Return the human record that a seal holds; empty for any other program."""
    return human_records.name_of({file.path: file.sha256 for file in sealed.files}, tables)


def known(
    where: Iterable[CampaignPaths] = (), tables: Path = human_records.SHIPPED, until: str | None = None
) -> Humans:
    """Return what the tables say, and what these campaigns timed of it by `command=retime`.

    Raises:
        UsageError: `until` is no human record, or the tables do not fit together.
    """
    human_records.check_name("command.until", until, tables)
    records = human_records.load(tables)
    calibrations = [paths for campaign in where for paths in campaigns.members(campaign).calibrations]
    timed = [each for paths in calibrations for each in _timed(paths, tables)]
    return Humans(tables, records, timed, until)


def _timed(paths: CalibrationPaths, tables: Path) -> Iterator[TimedRecord]:
    """The human records among a calibration's programs, once its array is over."""
    calibration = store.read_if_there(paths.calibration, Calibration)
    retiming = store.read_if_there(paths.timing.retiming.collected, Retiming)
    if calibration is None or retiming is None:
        return
    cluster = site.load_config(paths).cluster
    for sealed, trials in zip(calibration.arms, (retiming.trials, retiming.incumbents), strict=False):
        record, times_s = name_of(sealed, tables), training_times(trials)
        images = {trial.image_sha256 for trial in trials}
        if record and times_s and len(images) == 1:
            conditions = Conditions(images.pop(), cluster.gpu_type, cluster.trial_gpus)
            yield TimedRecord(record, paths.root.name, conditions, fmean(times_s))
