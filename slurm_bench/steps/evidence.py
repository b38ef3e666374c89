"""From an archive's members to the records of a verdict. All of it may be made up by whoever made the archive.

Of the submission's own records only those count that its stamp names.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from slurm_bench.effects import static_checker
from slurm_bench.effects.bundles import Archive
from slurm_bench.pure import judge_text, record_facts
from slurm_bench.pure.evidence import Array, Evidence, Exhibit, Sealed
from slurm_bench.pure.plain import one_line
from slurm_bench.pure.review import Review
from slurm_bench.pure.rules import LAUNCHER, MAX_BYTES, MAX_PROGRAM_BYTES, PROGRAM
from slurm_bench.words import paths
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.bundles import Manifest, Stamp
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError, UsageError
from slurm_bench.words.metadata import Metadata
from slurm_bench.words.opinions import Opinion
from slurm_bench.words.paths import BundlePaths, RetimingPaths
from slurm_bench.words.records import Record, Seal, Session, Submission
from slurm_bench.words.trials import Decoy, EarlyStop, Retiming, Trial, TrialPlan
from slurm_bench.words.verdicts import Verdict

R = TypeVar("R", bound=Record)

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where there is one, reads the same in a tenth of the time."""
_NAMES = BundlePaths()
_MOST_RECORD = 16 * 2**20
"""Bytes of a record."""
_MOST_CONFIG = 256 * 2**10
"""Bytes of a configuration."""
_DEEPEST = 16
"""Levels of one."""


def of(archive: Archive) -> Evidence:
    """
    Raises:
        UsageError: a record is missing, or is none.
    """
    whole = _Members(archive.contents)
    manifest = whole.need(_NAMES.manifest, Manifest)
    try:
        return _evidence(whole, manifest, archive.hashes)
    except _Unreadable as problem:
        hint = f"if another version wrote it, verify with revision {one_line(manifest.revision)}, which exported it"
        raise UsageError(f"{problem}; {hint}") from None


class _Unreadable(UsageError):
    """A record or configuration that this version cannot read."""


def _evidence(whole: "_Members", manifest: Manifest, hashes: Mapping[str, str]) -> Evidence:
    exhibit = _exhibit(whole, manifest.submission)
    incumbent = _sealed(whole, "incumbent", whole.need(_NAMES.incumbent, Seal))
    candidate = _sealed(whole, "candidate", exhibit.seal) if exhibit.seal else None
    metadata = whole.find(_NAMES.metadata, Metadata)
    repeats = _earlier(exhibit.verdict)
    config = _config(whole.bytes(_NAMES.config))
    facts = record_facts.of(incumbent.text, config.task.facts)
    stamps = tuple(whole.need(Path(name), Stamp) for name in sorted(whole.contents) if name.endswith("/stamp.json"))
    return Evidence(
        manifest=manifest,
        config=config,
        config_sha256=hashlib.sha256(whole.bytes(_NAMES.config)).hexdigest(),
        session=whole.need(_NAMES.session, Session),
        images=frozenset(digest for start in metadata.starts for digest in start.images.values()) if metadata else None,
        incumbent=incumbent,
        candidate=candidate,
        stamps=stamps,
        hashes=hashes,
        exhibit=exhibit,
        repeated=_exhibit(whole, repeats) if repeats else None,
        earlier=_earlier_verdicts(whole, stamps, exhibit) if exhibit.verdict.confirms else (),
        calibration=whole.only(exhibit.stamp.files).find(_NAMES.calibration, Retiming),
        calibration_arrays=_arrays(whole, whole, _NAMES.origin.timing.retiming, _NAMES.origin.ledger),
        review=_review(incumbent, candidate),
        facts=facts,
        rules=judge_text.rules_digest(facts),
    )


class _Members:
    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = contents

    def only(self, names: Mapping[str, str]) -> "_Members":
        return _Members({name: content for name, content in self.contents.items() if name in names})

    def bytes(self, path: Path) -> bytes:
        if str(path) not in self.contents:
            raise UsageError(one_line(f"bundle: there is no {path} in it"))
        return self.contents[str(path)]

    def need(self, path: Path, kind: type[R]) -> R:
        content = self.bytes(path)
        if len(content) > _MOST_RECORD:
            raise UsageError(one_line(f"bundle: {path} in it has more than {_MOST_RECORD // 2**20} MiB"))
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            problem = one_line(f"{path} in it is no {kind.__name__} record: {where}: {first['msg']}")
            raise _Unreadable(f"bundle: {problem}") from None

    def find(self, path: Path, kind: type[R]) -> R | None:
        return self.need(path, kind) if str(path) in self.contents else None


def _exhibit(whole: _Members, number: str) -> Exhibit:
    where = _NAMES.submission(number)
    stamp = whole.need(where.stamp, Stamp)
    stamped = whole.only(stamp.files)
    return Exhibit(
        stamp=stamp,
        submission=stamped.need(where.submission, Submission),
        verdict=stamped.need(where.verdict, Verdict),
        seal=stamped.find(where.seal, Seal),
        opinion=stamped.find(where.opinion, Opinion),
        second_opinion=stamped.find(where.second_opinion, Opinion),
        arrays=_arrays(stamped, whole, where.retiming, _NAMES.ledger),
        decoy=stamped.find(where.decoy, Decoy),
        decoy_arrays=_arrays(stamped, whole, where.decoy_run, _NAMES.ledger),
        stopped=stamped.find(where.retiming.stopped, EarlyStop),
        collected=stamped.find(where.retiming.collected, Retiming),
    )


def _earlier_verdicts(whole: _Members, stamps: Sequence[Stamp], exhibit: Exhibit) -> tuple[Verdict, ...]:
    before = [stamp for stamp in stamps if stamp.submission < exhibit.stamp.submission]
    return tuple(whole.only(each.files).need(_NAMES.submission(each.submission).verdict, Verdict) for each in before)


def _earlier(given: Verdict) -> str | None:
    """The submission that a verdict repeats, if it names one before it."""
    named = given.repeats or ""
    return named if re.fullmatch(r"[0-9]{4}", named) and named < given.submission else None


def _arrays(stamped: _Members, whole: _Members, where: RetimingPaths, ledger: Path) -> tuple[Array, ...]:
    plans = [(each, stamped.find(each.plan, TrialPlan)) for each in (where, where.rerun)]
    if plans[0][1] is None:  # nothing can have been run once more
        return ()
    return tuple(_array(stamped, whole, each, plan, ledger) for each, plan in plans if plan)


def _array(stamped: _Members, whole: _Members, where: RetimingPaths, plan: TrialPlan, ledger: Path) -> Array:
    folders = list(enumerate((where.trials, where.incumbents)))[: len(plan.arms)]
    runs = [(place, index, folder) for place, folder in folders for index in plan.indices]
    records = {(place, index): stamped.find(paths.trial_record(folder, index), Trial) for place, index, folder in runs}
    logs = {(place, index): stamped.contents.get(str(paths.trial_log(folder, index))) for place, index, folder in runs}
    return Array(
        plan=plan,
        records={key: record for key, record in records.items() if record},
        logs={key: log.decode("utf-8", "replace") for key, log in logs.items() if log is not None},
        entry=whole.find(ledger / f"{plan.job_name}.json", LedgerEntry),
    )


def _sealed(whole: _Members, arm: str, seal: Seal) -> Sealed:
    """A seal with its files. The modes are the seal's own word, which its hash holds to."""
    data = {file.path: whole.bytes(_NAMES.sealed(arm, file.path, file.sha256)) for file in seal.files}
    if sum(map(len, data.values())) > MAX_BYTES or any(
        len(data[path]) > MAX_PROGRAM_BYTES for path in data if path.endswith(".py")
    ):
        raise UsageError(f"bundle: the {arm} in it is larger than can be sealed")
    contents = {file.path: (file.mode, data[file.path]) for file in seal.files}
    return Sealed(seal, contents, {path: _text(content) for path, content in data.items()})


def _text(content: bytes) -> str:
    """As the judge reads a sealed file."""
    return TextIOWrapper(BytesIO(content), "utf-8", "replace").read()


def _review(incumbent: Sealed, candidate: Sealed | None) -> Review | None:
    """What the static checker says, in its own process and within its limits; None where there is nothing to check."""
    needed = {LAUNCHER, PROGRAM}
    if candidate is None or not needed <= set(candidate.text) & set(incumbent.text):
        return None
    try:
        return static_checker.check(incumbent.text, candidate.text)
    except InfrastructureError as error:  # its text may come from what it read
        raise InfrastructureError(one_line(str(error))) from None


def _config(text: bytes) -> Config:
    """The configuration as plain values: nothing in it refers to anything, here or elsewhere."""
    if len(text) > _MOST_CONFIG:
        raise UsageError(f"bundle: config.yaml in it has more than {_MOST_CONFIG // 2**10} KiB")
    try:
        _refuse_bombs(text)
        return _schema().validate_python(yaml.load(text, _Loader), extra="forbid")
    except (yaml.YAMLError, ValidationError, ValueError, TypeError, AttributeError) as error:  # a section is missing
        problem = one_line(f"config.yaml in it cannot be read: {error}")
        raise _Unreadable(f"bundle: {problem}") from None


@cache
def _schema() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _refuse_bombs(text: bytes) -> None:
    """
    Raises:
        ValueError: it would grow, or take long, when it is read.
    """
    level = 0
    for event in yaml.parse(text, _Loader):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > _DEEPEST or isinstance(event, yaml.AliasEvent):
            raise ValueError("it nests too deeply, or refers to itself")
