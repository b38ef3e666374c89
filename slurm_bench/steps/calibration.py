"""`command=retime`: a program's runs outside any session; above all the incumbent's, which `classic` compares with.

A calibration serves all sessions of its campaign that time under the same conditions. Whoever needs it first makes
it, the others wait.
"""

import json
import logging
import math
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np

from slurm_bench.effects import human_records, locking, seals, store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.effects.containers import Container
from slurm_bench.pure import decoys, human, verdict, yardstick
from slurm_bench.pure.blocks import is_clean
from slurm_bench.pure.human import Noise, NoiseRange
from slurm_bench.pure.rules import RUNS
from slurm_bench.pure.verdict import Terms, losses, training_times
from slurm_bench.pure.yardstick import Progress
from slurm_bench.steps import conditions, decoy, site, yardsticks
from slurm_bench.steps.decoy import DecoyStep
from slurm_bench.steps.ledger import Ledger
from slurm_bench.steps.retime import Retimer, Timing
from slurm_bench.words.config import Config, RetimeCommand
from slurm_bench.words.errors import InfrastructureError, UsageError
from slurm_bench.words.paths import (
    CalibrationPaths,
    CampaignPaths,
    RetimingPaths,
    SubmissionPaths,
    starting_record,
    trial_output,
)
from slurm_bench.words.records import Seal
from slurm_bench.words.trials import Calibration, Decoy, Design, Retiming, SpeedTest, Trial, TrialOutcome
from slurm_bench.words.verdicts import Decision, Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    name: str
    folder: Path


@dataclass(frozen=True)
class Timed:
    """A program's runs, for people and as JSON."""

    name: str
    losses: Sequence[float]
    training_times_s: Sequence[float]
    nodes: Mapping[str, int]
    """Runs by node."""
    noise: Noise


@dataclass(frozen=True)
class _Said:
    timed: Sequence[Timed]
    decision: Decision | None
    human_progress: Sequence[Progress]
    human_noise: NoiseRange


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: there is no such program, or it failed a run by itself.
        InfrastructureError: there are no ten clean runs.
    """
    if config.retime.is_nested:
        raise UsageError("retime.where must be fresh with command=retime: there is no session whose job it could use")
    site.make_absolute(config)
    config = site.with_guesses(config)
    assert isinstance(config.command, RetimeCommand)
    cluster, container = site.check(config), site.container_of(config.container)
    incumbent = _record(config.task.record)
    program = _wanted(config.command, incumbent, config.runs)
    _seal_all(config, [program, incumbent])  # what is wrong with a folder is said before anything runs
    site.prepare_data(config)
    timed, decision = [], None
    if program == incumbent:
        timed = [_timed(program, calibrate(config, cluster, container, [program]).trials)]
    else:
        retiming, beside = _beside_incumbent(config, cluster, container, program, incumbent)
        named = Program(f"{incumbent.name} (incumbent)", incumbent.folder)
        timed = [_timed(program, retiming.trials), _timed(named, beside)]
        decision = verdict.on_retiming(retiming, beside, Terms.of(config.retime, config.task))
    progress = _human_progress(config, incumbent, decision.speed) if decision and decision.speed else ()
    said = _Said(timed, decision, progress, human.noise_range(human.noises(human_records.runs()).values()))
    {"table": _print_table, "json": _print_json}[config.command.format](said)


def _wanted(command: RetimeCommand, incumbent: Program, runs: str) -> Program:
    if command.directory is not None:
        folder = site.candidate_folder(command.directory, runs)
        return Program(folder.name, folder)
    if command.record is not None:
        return _record(command.record)
    return incumbent


def _record(name: str) -> Program:
    """A record, or a folder by its absolute path, as `task.record` names it."""
    folder = starting_record(name)
    if not folder.is_dir():
        raise UsageError(f"no record {name}: there is no folder {folder}")
    site.check_record(name)
    return Program(Path(name).name, folder)


def _human_progress(config: Config, incumbent: Program, speed: SpeedTest) -> tuple[Progress, ...]:
    humans = yardsticks.known([CampaignPaths(Path(config.runs) / config.campaign)])
    return yardstick.progress(humans.yardsticks(config, *_seal_all(config, [incumbent])), speed)


def _beside_incumbent(
    config: Config, cluster: Cluster, container: Container, program: Program, incumbent: Program
) -> tuple[Retiming, Sequence[Trial]]:
    """A program's runs, and the incumbent's that they are compared with."""
    if Design(config.retime.design) is Design.PAIRED:
        retiming = calibrate(config, cluster, container, [program, incumbent])
        return retiming, retiming.incumbents
    beside = calibrate(config, cluster, container, [incumbent]).trials
    return calibrate(config, cluster, container, [program]), beside


def calibrate(
    config: Config,
    cluster: Cluster,
    container: Container,
    programs: Sequence[Program],
    payer: Ledger | None = None,
) -> Retiming:
    """Ten runs of a program under this configuration's conditions: those of the campaign, or made now.

    Args:
        programs: it, and the incumbent if that runs beside it in each block.
        payer: the ledger of the session that it is for, and that has to afford it.

    Raises:
        UsageError: the program, or the incumbent, failed a run by itself.
        BudgetExceeded: its worst case does not fit.
        InfrastructureError: there are no ten clean runs. They are set aside: the next call times anew.
    """
    left = _decoys(config, cluster, container, programs, payer)
    program, sealed = programs[0], _seal_all(config, programs)
    paths = _paths(config, program.name, conditions.digest(config, container, sealed, Path(config.task.data)))
    with locking.lock(paths.lock):
        calibration = store.once(paths.calibration, Calibration, lambda: _new(program, sealed))
        retimer = _retimer(config, cluster, container, paths, payer)
        name = f"calibration{len(paths.timing.failed_retimings()) + 1}"
        timing = Timing("calibration", name, calibration.arms, look=verdict.on_failure)
        _announce(program, timing, retimer.job_name(name), paths.timing.retiming)
        retiming = retimer.retime(decoy.with_caches(timing, left), paths.timing.retiming)
        _set_aside_if_unclean(program, retiming, paths.timing)
    return retiming


def decoy_step(asked_by: Retimer, program: Program, payer: Ledger | None) -> DecoyStep:
    """Return the decoy run of a session's starting record, to be queued and waited for: that of its campaign.

    Args:
        asked_by: the session's, whose agent is watched and kept at rest meanwhile.
        payer: the ledger of the session that has to afford it; None where its campaign alone does.
    """
    step = _decoy_step(asked_by.config, asked_by.cluster, asked_by.container, program, payer)
    return replace(step, retimer=replace(step.retimer, watch=asked_by.watch, rest=asked_by.rest))


def _decoy_step(
    config: Config, cluster: Cluster, container: Container, program: Program, payer: Ledger | None
) -> DecoyStep:
    (sealed,) = _seal_all(config, [program])
    data = Path(config.task.data)
    paths = _paths(config, f"decoy-{program.name}", conditions.digest(config, container, [sealed], data))
    with locking.lock(paths.lock):
        store.once(paths.calibration, Calibration, lambda: _new(program, [sealed]))
        retimer = _retimer(config, cluster, container, paths, payer)
        _set_aside_if_void(paths.timing)
    failed = len(paths.timing.failed_decoy_runs())
    return DecoyStep(retimer, f"calibration{failed + 1}", sealed, paths.timing)


def _decoys(
    config: Config, cluster: Cluster, container: Container, programs: Sequence[Program], payer: Ledger | None
) -> tuple[Decoy, ...]:
    """The decoy runs of all programs, side by side; none where runs begin with empty caches."""
    if config.retime.caches != "decoy":
        return ()
    steps = [_decoy_step(config, cluster, container, program, payer) for program in programs]
    left = decoy.made(steps)
    for program, step, each in zip(programs, steps, left, strict=True):
        check_decoy(program.name, each, step.where)
    return left


_SHOW_NOTHING = (TrialOutcome.INFRASTRUCTURE, TrialOutcome.CRASHED)


def check_decoy(name: str, left: Decoy, where: SubmissionPaths) -> None:
    """
    Args:
        where: it was made.

    Raises:
        UsageError: the decoy run of a program that has no judge proves something against it.
        InfrastructureError: the program ended with an error, which is no candidate's fault; it is run anew next time.
    """
    failed = decoys.crashed(left)
    if failed:
        half = where.decoy_run.trials if failed is left.trial else where.decoy_run.incumbents
        raise InfrastructureError(f"{name} itself fails here: {failed.note}; see {trial_output(half, failed.index)}")
    rejected = decoys.rejection(left.canary)
    if rejected:
        raise UsageError(f"{name}: {rejected.reason}")
    if decoys.showed_nothing(left.canary):
        log.warning("%s comes to no result on random tokens: %s", name, left.canary.note)


def _retimer(
    config: Config, cluster: Cluster, container: Container, paths: CalibrationPaths, payer: Ledger | None
) -> Retimer:
    if not paths.begun():
        site.save_config(paths, config)
    most = math.inf
    if payer and "calibration" in config.budget.counts:
        payer.rest_on(paths)
        own = site.ledger_of(config, paths, cluster).held_h100_hours()  # which counts for the payer already
        most = payer.balances().tightest.left + own
    ledger = site.ledger_of(config, paths, cluster, most)
    ledger.settle_finished()
    identity = store.read(paths.calibration, Calibration).id
    return Retimer(config, paths.seals, identity, cluster, container, ledger)


def _announce(program: Program, timing: Timing, job_name: str, where: RetimingPaths) -> None:
    if where.collected.exists():
        written = datetime.fromtimestamp(where.collected.stat().st_mtime, UTC)
        log.info("%s was timed for this campaign, on %s UTC", program.name, f"{written:%Y-%m-%d at %H:%M}")
    else:
        log.info("timing %s (%d runs, jobs %s)", program.name, RUNS * len(timing.arms), job_name)


def set_aside_if_unfinished(where: SubmissionPaths) -> None:
    """What was cancelled is of no use: the next call of `calibrate` times anew, and not only the one after."""
    if where.retiming.plan.exists() and not where.retiming.collected.exists():
        where.retiming.root.rename(where.next_failed_retiming())
    if where.decoy_run.plan.exists() and not where.decoy_run.collected.exists():
        where.decoy_run.root.rename(where.next_failed_decoy_run())


def _set_aside_if_void(where: SubmissionPaths) -> None:
    """A decoy run that the site failed, or that crashed, shows nothing: the next who needs one makes it anew."""
    run = store.read_if_there(where.decoy_run.collected, Retiming)
    if run and any(trial.outcome in _SHOW_NOTHING for trial in (*run.trials, *run.incumbents)):
        where.decoy.unlink(missing_ok=True)
        where.decoy_run.root.rename(where.next_failed_decoy_run())


def _set_aside_if_unclean(program: Program, retiming: Retiming, where: SubmissionPaths) -> None:
    unclean = [trial for trial in (*retiming.trials, *retiming.incumbents) if not is_clean(trial)]
    if unclean:
        aside = where.next_failed_retiming()
        where.retiming.root.rename(aside)
        _raise(program, unclean, aside)


def _raise(program: Program, unclean: Sequence[Trial], aside: Path) -> NoReturn:
    own = [trial for trial in unclean if verdict.failed_by_itself(trial)]
    first = (own or unclean)[0]
    problem = f"{program.name}: trial {first.index} {first.outcome}: {first.note} (see {aside})"
    raise UsageError(problem) if own else InfrastructureError(problem)


def _new(program: Program, sealed: Sequence[Seal]) -> Calibration:
    return Calibration(id=uuid.uuid4().hex[:12], program=program.name, arms=tuple(sealed))


def _seal_all(config: Config, programs: Sequence[Program]) -> list[Seal]:
    """The seals of programs, in the store that all calibrations of a campaign share."""
    folder = CampaignPaths(Path(config.runs) / config.campaign).calibration_seals
    return [seals.seal(each.folder.parent, PurePosixPath(each.folder.name), folder) for each in programs]


def _paths(config: Config, name: str, digest: str) -> CalibrationPaths:
    return CampaignPaths(Path(config.runs) / config.campaign).calibration(f"{name}-{digest}")


def _timed(program: Program, trials: Sequence[Trial]) -> Timed:
    nodes = Counter(trial.node for trial in trials)
    sample, times_s = losses(trials), training_times(trials)
    return Timed(program.name, sample, times_s, dict(nodes), human.noise(sample, times_s))


def _print_table(said: _Said) -> None:
    # A tenth of a second, which every desk, session and relay would spend: they calibrate, and print no table.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("program", "runs", "loss", "training time", "nodes", caption="mean ± standard deviation")
    for each in said.timed:
        time_s = f"{_mean_and_deviation(each.training_times_s, 3)} s"
        nodes = ", ".join(sorted(each.nodes))
        table.add_row(each.name, str(len(each.losses)), _mean_and_deviation(each.losses, 4), time_s, nodes)
    console = Console()
    console.print(table)
    for line in _lines_below(said):
        console.print(line, markup=False, highlight=False)


def _lines_below(said: _Said) -> Iterator[str]:
    yield human.describe_noise({each.name: each.noise for each in said.timed}, said.human_noise)
    if said.decision:
        accepted = said.decision.outcome is Outcome.ACCEPTED
        would = "would be accepted" if accepted else f"would be rejected by {said.decision.rejected_by}"
        yield f"Handed in, unjudged, it {would}: {said.decision.reason}"
    yield from map(yardstick.describe, said.human_progress)


def _mean_and_deviation(sample: Sequence[float], digits: int) -> str:
    return f"{np.mean(sample):.{digits}f} ± {np.std(sample, ddof=1):.{digits}f}"


def _print_json(said: _Said) -> None:
    content = {**asdict(said), "decision": said.decision.model_dump(mode="json") if said.decision else None}
    print(json.dumps(content, indent=1))
