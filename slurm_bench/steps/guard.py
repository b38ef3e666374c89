"""`command=budget guard=…`: the budget's second fence, a limit inside Slurm. An administrator makes it, we look."""

from rich.console import Console

from slurm_bench.effects import qos, slurm_commands
from slurm_bench.pure import guard
from slurm_bench.pure.guard import Found, Guard
from slurm_bench.steps import retime, site
from slurm_bench.words.config import BudgetCommand, Config
from slurm_bench.words.errors import UsageError


def perform(config: Config) -> None:
    """Print how to make the limit (show), or point by point whether it is in force (check).

    Raises:
        UsageError: no Slurm, no account, or the limit is not in force: the first thing wrong, and its remedy.
        SchedulerError: Slurm does not answer.
    """
    if config.cluster.kind != "slurm":
        raise UsageError(f"command.guard needs a Slurm cluster, got cluster.kind={config.cluster.kind}")
    config = site.with_guesses(config)
    named = slurm_commands.environment(config.cluster.slurm_conf)
    settings = qos.site(named)
    cluster = settings.get("ClusterName", "")
    association = qos.association(named, cluster, config.cluster.account, config.cluster.partition)
    wanted = _wanted(config, cluster, association)
    assert isinstance(config.command, BudgetCommand)
    if config.command.guard == "show":
        _show(wanted)
    else:
        used = qos.used_gpu_minutes(named, wanted.qos)
        before = qos.before(named, config.cluster.partition)
        _check(config, wanted, Found(settings, qos.find(named, wanted.qos), used, association, before))


def _wanted(config: Config, cluster: str, association: guard.Association | None) -> Guard:
    account = association.account if association else config.cluster.account
    if account is None:
        raise UsageError(f"cluster.account must be given: {qos.me()} has no default account on cluster {cluster}")
    return Guard(
        qos=(config.cluster.qos or f"slurm_bench-{config.campaign}").lower(),
        gpu_minutes=guard.gpu_minutes(_campaign_h100_hours(config), config.h100_weight),
        user=qos.me(),
        account=account,
        cluster=cluster,
    )


def _campaign_h100_hours(config: Config) -> float:
    """What all jobs of a campaign may use; Slurm counts those too that our budgets leave out."""
    assert isinstance(config.command, BudgetCommand)
    sessions, beside = config.command.sessions, 0.0
    if config.retime.confirm and "confirmation" not in config.budget.counts:
        beside = sessions * retime.worst_case_of_scores_h100_hours(config)
    return (config.budget.campaign_h100_hours or sessions * config.budget.h100_hours) + beside


def _show(wanted: Guard) -> None:
    """As a shell script, whose comments are for its reader."""
    lines = [
        "# An administrator of the cluster runs:",
        *guard.commands(wanted),
        "# Your configuration, or each command line, then names it:",
        f"# cluster.qos={wanted.qos}",
    ]
    _console().print("\n".join(lines))


def _check(config: Config, wanted: Guard, found: Found) -> None:
    points = guard.points(wanted, found, config.cluster.qos)
    for point in points:
        _console().print(
            f"{'holds' if point.holds else 'fails'}  {point.text}", style="" if point.holds else "bold red"
        )
    failed = [point for point in points if not point.holds]
    if failed:
        raise UsageError(f"{failed[0].text}: {failed[0].remedy}")


def _console() -> Console:
    return Console(markup=False, highlight=False, soft_wrap=True)
