"""`command=bundle`: the verdicts of a session, each as one archive with all that it rests on."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from slurm_bench.effects import bundles, campaigns, store
from slurm_bench.pure import stamps
from slurm_bench.steps import metadata, site
from slurm_bench.steps.site import KeyHolder
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.bundles import ListedExperiment, ListedExperiments, Manifest, Stamp
from slurm_bench.words.config import BundleCommand, Config
from slurm_bench.words.errors import UsageError
from slurm_bench.words.experiments import Experiment, ExperimentPlan
from slurm_bench.words.paths import BundlePaths, CalibrationPaths, CampaignPaths, SessionPaths, SubmissionPaths
from slurm_bench.words.records import Seal, Session
from slurm_bench.words.trials import Retiming, TrialPlan
from slurm_bench.words.verdicts import Verdict

Members = dict[str, Path | bytes]
"""Content by name in the archive."""

_TELLING = ("KEY", "TOKEN", "SECRET", "PASSWORD")
"""How the name of a variable ends that holds what is nobody's business."""
_PASSWORD = re.compile(r"://[^\s/@:]*:[^\s/@]+@")
"""In an address, for a proxy say."""


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: no such session or submission, no verdict of it, or none that was stamped; or a secret is in it.
        InfrastructureError: a record was changed while it was read.
    """
    assert isinstance(config.command, BundleCommand)
    paths = campaigns.session(CampaignPaths(Path(config.runs).absolute() / config.campaign), config.session)
    begun_with = site.load_config(paths)
    _refuse_telling_fields(begun_with)
    out = Path(config.command.out).absolute() if config.command.out else paths.bundles
    members = {number: _members(paths, number) for number in _numbers(paths, config.command.submission)}
    _refuse_keys(begun_with, {name: content for each in members.values() for name, content in each.items()})
    for number, content in members.items():
        archive = out / paths.bundle(number).name
        manifest = _manifest(paths, number)
        text = manifest.model_dump_json(indent=1) + "\n"
        bundles.write(archive, {**content, str(BundlePaths().manifest): text.encode()})
        print(f"{archive}: submission {number}, stamp {manifest.stamp}")
    newest = store.read(paths.stamps()[-1], Stamp)
    print(f"to publish: {stamps.digest(newest)}, the newest stamp (submission {newest.submission})")


def _numbers(paths: SessionPaths, wanted: str | None) -> list[str]:
    """The submissions that are to be exported."""
    begun = [where.root.name for where in paths.timed()]
    stamped = [stamp.parent.name for stamp in paths.stamps()]
    if wanted is None:
        if not stamped:
            raise UsageError(f"session {paths.root.name} has no stamped verdict")
        return stamped
    number = f"{int(wanted):04}"
    if number not in begun:
        there = f"there are {begun[0]} to {begun[-1]}" if begun else "there are none"
        raise UsageError(f"command.submission: no {number} in session {paths.root.name}; {there}")
    if not paths.submission(number).verdict.exists():
        raise UsageError(f"command.submission: {number} is not decided yet; wait for its verdict")
    if number not in stamped:
        raise UsageError(f"command.submission: {number} has no stamp: an older version of this code gave its verdict")
    return [number]


def _manifest(paths: SessionPaths, number: str) -> Manifest:
    session = store.read(paths.session, Session)
    return Manifest(
        campaign=session.campaign,
        session=session.name,
        submission=number,
        stamp=stamps.digest(store.read(paths.submission(number).stamp, Stamp)),
        revision=metadata.own_revision(),
        versions=metadata.computing_versions(),
    )


def _members(paths: SessionPaths, number: str) -> Members:
    """Records by their place in the session's folder; seals and a calibration, which lie elsewhere, in folders of
    their own.
    """
    verdict = store.read(paths.submission(number).verdict, Verdict)
    members: Members = {}
    for path in (paths.config, paths.session, paths.metadata, paths.incumbent, paths.calibration):
        if path.exists():
            members[path.name] = path
    members |= {_name(paths, stamp): stamp for stamp in paths.stamps()}  # later ones too: their digests serve as well
    for told in filter(None, (number, verdict.repeats)):
        members |= _submission(paths, paths.submission(told))
    if verdict.confirms:
        before = (paths.submission(stamp.parent.name).verdict for stamp in paths.stamps())
        members |= {_name(paths, each): each for each in before if each.parent.name < number}
    members |= _sealed(paths, paths.incumbent, "incumbent")
    members |= _sealed(paths, paths.submission(number).seal, "candidate")
    return members | _experiments(paths, verdict.decided_at) | _calibration(paths)


def _submission(paths: SessionPaths, where: SubmissionPaths) -> Members:
    """All of a submission's folder, and the scheduler's rows of its arrays."""
    found: Members = {_name(paths, file): file for file in _files(where.root)}
    plans = [
        store.read_if_there(array.plan, TrialPlan)
        for each in (where.decoy_run, where.retiming)
        for array in (each, each.rerun)
    ]
    entries = [paths.ledger / f"{plan.job_name}.json" for plan in plans if plan]
    return found | {_name(paths, entry): entry for entry in entries if entry.exists()}


def _experiments(paths: SessionPaths, until: datetime) -> Members:
    """A list of what its agent had tried by then, where there is anything: no verdict rests on it."""
    begun = [paths.experiment(plan.parent.name) for plan in sorted(paths.experiments.glob("*/plan.json"))]
    asked = [(store.read(each.experiment, Experiment), store.read(each.plan, ExperimentPlan)) for each in begun]
    listed = tuple(_listed(paths, *each) for each in asked if each[0].received_at <= until)
    text = ListedExperiments(experiments=listed).model_dump_json(indent=1) + "\n"
    return {str(BundlePaths().listed_experiments): text.encode()} if listed else {}


def _listed(paths: SessionPaths, asked: Experiment, plan: ExperimentPlan) -> ListedExperiment:
    entry = store.read_if_there(paths.ledger / f"{plan.run.job_name}.json", LedgerEntry)
    charged = entry.charged_gpu_seconds if entry else 0
    return ListedExperiment(number=asked.number, path=asked.path, gpus=asked.gpus, gpu_seconds=charged)


def _calibration(paths: SessionPaths) -> Members:
    """What the session's calibration was taken from, in the classic design."""
    ours = store.read_if_there(paths.calibration, Retiming)
    for each in campaigns.members(paths.campaign).calibrations if ours else ():
        if store.read_if_there(each.timing.retiming.collected, Retiming) == ours:
            return {str(BundlePaths().origin.root / file.relative_to(each.root)): file for file in _parts(each)}
    return {}


def _parts(calibration: CalibrationPaths) -> Iterator[Path]:
    yield calibration.calibration
    for folder in (calibration.timing.retiming.root, calibration.ledger):
        yield from _files(folder)


def _sealed(paths: SessionPaths, record: Path, arm: str) -> Members:
    sealed = store.read_if_there(record, Seal)
    files = sealed.files if sealed else ()
    folder = paths.seals / sealed.sha256 if sealed else paths.seals
    return {str(BundlePaths().sealed(arm, file.path, file.sha256)): folder / file.path for file in files}


def _files(folder: Path) -> list[Path]:
    """Regular files below a folder that are whole."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in found if not path.name.startswith(".") and path.suffix not in (".lock", ".pkl")]


def _name(paths: SessionPaths, path: Path) -> str:
    return str(path.relative_to(paths.root))


# No secret leaves the machine: records hold none, but a person may have written one into the configuration.


def _refuse_telling_fields(config: Config) -> None:
    environments = {"agent.environment": config.agent.environment, "task.environment": config.task.environment}
    for field, variables in environments.items():
        telling = [name for name, value in variables.items() if value and name.upper().endswith(_TELLING)]
        if telling:
            raise UsageError(f"{field}.{telling[0]} seems to be a secret, and would be in the bundle with config.yaml")
    addresses = {f"{field}.base_url": holder.base_url for field, holder in _holders(config)}
    for field, text in {**addresses, "cluster.setup": "\n".join(config.cluster.setup)}.items():
        if _PASSWORD.search(text or ""):
            raise UsageError(f"{field} has a password in it, and would be in the bundle with config.yaml")


def _refuse_keys(config: Config, members: Members) -> None:
    """Of the keys that the session used, those that this machine has."""
    for field, holder in _holders(config):
        try:
            secret = site.key_of(holder).reveal().encode()
        except UsageError:
            continue
        for name, content in members.items():
            if secret in (content if isinstance(content, bytes) else content.read_bytes()):
                raise UsageError(f"the key of {field} stands in {name}: nothing was written")


def _holders(config: Config) -> Iterator[tuple[str, KeyHolder]]:
    if config.agent.api.maker:
        yield "agent.api", config.agent.api
    for name, model in config.judge.models.items():
        yield f"judge.models.{name}", model
