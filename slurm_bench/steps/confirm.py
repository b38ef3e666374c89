"""`command=confirm`: give a session that is over its score, where its end did not."""

from pathlib import Path

from slurm_bench.effects import campaigns
from slurm_bench.steps import report, session
from slurm_bench.words.config import Config
from slurm_bench.words.errors import InfrastructureError
from slurm_bench.words.paths import CampaignPaths


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: there is no such session, it is not over, or it is served.
        InfrastructureError: it has no score yet; its log says why.
    """
    campaign = CampaignPaths(Path(config.runs).absolute() / config.campaign)
    paths = campaigns.session(campaign, config.session)
    session.confirm(paths.root)
    shown = [each for each in report.of_campaign(campaign) if each.session.name == config.session]
    report.show(campaign, shown)
    if shown[0].score.saved is None:
        raise InfrastructureError(f"session {config.session} has no score yet, see {paths.log}")
