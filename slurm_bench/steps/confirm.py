"""`command=confirm`: give a session that is over its score, where its end did not."""

from pathlib import Path

from slurm_bench.steps import report, session
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError, UsageError
from slurm_bench.words.paths import CampaignPaths


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: there is no such session, it is not over, or it is served.
        InfrastructureError: it has no score yet; its log says why.
    """
    campaign = CampaignPaths(Path(config.runs).absolute() / config.campaign)
    there = {paths.root.name: paths for paths in campaign.sessions() if paths.session.exists()}
    if config.session not in there:
        raise UsageError(f"session: no {config.session} in {campaign.root}; name one with session=")
    session.confirm(there[config.session].root)
    shown = [each for each in report.of_campaign(campaign) if each.session.name == config.session]
    report.show(campaign, shown)
    if shown[0].score.saved is None:
        raise InfrastructureError(f"session {config.session} has no score yet, see {there[config.session].log}")
