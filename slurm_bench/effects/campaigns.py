"""Who belongs to a campaign: the one way in which its sessions and calibrations are found, readable or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slurm_bench.effects import folders
from slurm_bench.pure.plain import printable
from slurm_bench.words.campaigns import Unreadable, describe
from slurm_bench.words.errors import UsageError
from slurm_bench.words.paths import (
    CALIBRATIONS,
    DECOYS,
    OPINIONS,
    REPORT,
    CalibrationPaths,
    CampaignPaths,
    SessionPaths,
)

_NO_SESSIONS = (CALIBRATIONS, DECOYS, OPINIONS, REPORT)


@dataclass(frozen=True)
class Members:
    """What is in a campaign, by name."""

    sessions: tuple[SessionPaths, ...]
    calibrations: tuple[CalibrationPaths, ...]
    ledgers: tuple[Path, ...]
    """Their folders, sessions first; also of one that lost its configuration."""
    unreadable: tuple[Unreadable, ...]

    @property
    def readable(self) -> tuple[SessionPaths | CalibrationPaths, ...]:
        return (*self.sessions, *self.calibrations)

    @property
    def begun(self) -> dict[str, SessionPaths]:
        """The sessions that have a record, by name."""
        return {paths.root.name: paths for paths in self.sessions if paths.session.exists()}


def members(campaign: CampaignPaths) -> Members:
    """
    Raises:
        UsageError: this user may not read the campaign itself.
    """
    folders.refuse_closed(campaign.root, f"campaign {campaign.root.name}")
    beside = campaign.root / CALIBRATIONS
    sessions = [SessionPaths(each) for each in _folders(campaign.root) if each.name not in _NO_SESSIONS]
    calibrations = [CalibrationPaths(each) for each in _folders(beside)]
    every: list[SessionPaths | CalibrationPaths] = [*sessions, *calibrations]
    hidden = [each.root for each in every if folders.closed(_records(each))]
    hidden += [beside] if folders.closed([beside]) else []
    there = [each.ledger for each in every if each.root not in hidden]
    return Members(
        sessions=tuple(each for each in sessions if each.root not in hidden and each.config.exists()),
        calibrations=tuple(each for each in calibrations if each.root not in hidden and each.config.exists()),
        ledgers=tuple(ledger for ledger in there if ledger.exists()),
        unreadable=tuple(Unreadable(printable(each.name), folders.owner(each)) for each in hidden),
    )


def session(campaign: CampaignPaths, name: str) -> SessionPaths:
    """Return the session of this name that was begun.

    Raises:
        UsageError: there is none, or this user may not read it.
    """
    found = members(campaign)
    if name not in found.begun:
        raise none_of(name, found, campaign)
    return found.begun[name]


def none_of(name: str, found: Members, campaign: CampaignPaths) -> UsageError:
    """Return the error for a session that is not among those that can be read."""
    if hidden := [each for each in found.unreadable if each.name == name]:
        return UsageError(f"session {name}: {describe(hidden)}")
    names = ", ".join(paths.root.name for paths in found.sessions)
    there = f"session=NAME of {names}" if names else "it has no sessions"
    said = "; ".join(filter(None, (there, describe(found.unreadable))))
    return UsageError(f"session: none of that name in campaign {campaign.root.name}: {said}")


def refuse_empty(found: Members, campaign: CampaignPaths) -> None:
    """
    Raises:
        UsageError: nothing of the campaign is there, or nothing that this user may read.
    """
    if not found.readable:
        hidden = describe(found.unreadable)
        raise UsageError(
            f"no sessions in {campaign.root}{f' but {hidden}' if hidden else ''}; name another with campaign="
        )


def _folders(above: Path) -> list[Path]:
    """The visible folders in a folder that this user may read, by name."""
    if not folders.may_read(above) or not above.is_dir():
        return []
    return [each for each in sorted(above.iterdir()) if not each.name.startswith(".") and each.is_dir()]


def _records(paths: SessionPaths | CalibrationPaths) -> Iterator[Path]:
    """What has to be readable before anything is said of a session or calibration; the rest was made like this."""
    yield from (paths.root, paths.config, paths.ledger)
    if isinstance(paths, CalibrationPaths):
        yield from (paths.calibration, paths.timing.retiming.root)
    else:
        yield from (paths.session, paths.submissions, *_folders(paths.submissions))
