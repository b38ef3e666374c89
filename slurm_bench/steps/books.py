"""The ledgers of a campaign, each with what is needed to read it; those of one site share a cluster and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from slurm_bench.effects import folders
from slurm_bench.effects.cluster import Cluster, Queued
from slurm_bench.steps import site
from slurm_bench.steps.ledger import Ledger
from slurm_bench.words.config import ClusterConfig, Config
from slurm_bench.words.paths import CalibrationPaths, TimingPaths

_SITE = ("kind", "slurm_conf", "accounting", "shared_poll")
"""What of a cluster's configuration says whom to ask, and how."""


@dataclass(frozen=True)
class Book:
    paths: TimingPaths
    config: Config
    cluster: Cluster
    ledger: Ledger

    @property
    def name(self) -> str:
        return self.paths.root.name

    @property
    def is_kept_here(self) -> bool:
        """Whether this user keeps it; a colleague's he only reads, and a calibration is everybody's who may write."""
        ours = isinstance(self.paths, CalibrationPaths) or folders.is_ours(self.paths.root)
        return ours and folders.may_write(self.paths.ledger)

    @property
    def is_open(self) -> bool:
        """Whether anything is reserved for and not settled."""
        return any(entry.settled_at is None for entry in self.ledger.entries())


def open_all(members: Sequence[TimingPaths]) -> list[Book]:
    """
    Raises:
        UsageError: a configuration cannot be read, or its cluster not be reached from this machine.
    """
    clusters: list[tuple[ClusterConfig, Cluster]] = []
    books = []
    for paths in members:
        config = site.load_config(paths)
        same = [cluster for known, cluster in clusters if _is_same_site(known, config.cluster)]
        cluster = same[0] if same else site.cluster_of(config)
        clusters.append((config.cluster, cluster))
        books.append(Book(paths, config, cluster, site.ledger_of(config, paths, cluster)))
    return books


def _is_same_site(one: ClusterConfig, other: ClusterConfig) -> bool:
    """Whether one question serves both."""
    return all(getattr(one, name) == getattr(other, name) for name in _SITE)


def by_cluster(books: Sequence[Book]) -> dict[Cluster, list[Book]]:
    found: dict[Cluster, list[Book]] = {}
    for book in books:
        found.setdefault(book.cluster, []).append(book)
    return found


def settle(books: Sequence[Book]) -> None:
    """Settle what is over, with a question a cluster for all of its ledgers; a colleague's is left to him.

    Raises:
        SchedulerError: no answer; everything stays reserved.
    """
    for cluster, ours in by_cluster(books).items():
        entries = [entry for book in ours for entry in book.ledger.entries() if entry.settled_at is None]
        # Each ledger below finds its answer there.
        cluster.look([Queued(each.job_name, each.reserved_at, each.tasks) for each in entries])
        for book in ours:
            if book.is_kept_here:
                book.ledger.settle_finished()
