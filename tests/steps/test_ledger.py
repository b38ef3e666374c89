"""Reservations that outlive whoever made them."""

from pathlib import Path

import pytest

from slurm_bench.effects.cluster import Job
from slurm_bench.pure.budget import Terms, held_gpu_seconds
from slurm_bench.steps.ledger import Ledger, Patience
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.errors import BudgetExceeded
from slurm_bench.words.paths import SessionPaths
from tests.fake_cluster import FakeCluster

GRACE_S = 0.1


def job(tmp_path: Path, name: str = "job", tasks: int = 4) -> Job:
    return Job(name, tmp_path / "jobs", ["true"], tasks, 2, 8, False, 1)


def ledger(tmp_path: Path, cluster: FakeCluster, grace_s: float = GRACE_S, limit: float = 1.0) -> Ledger:
    paths = SessionPaths(tmp_path / "campaign" / "session")
    return Ledger(paths, cluster, Terms(limit, 1.0), Patience(grace_s, silence_s=0.1))


def only(book: Ledger) -> LedgerEntry:
    (entry,) = book.entries()
    return entry


def test_what_is_over_is_settled_though_nobody_waited(tmp_path: Path) -> None:
    book = ledger(tmp_path, FakeCluster())
    book.run_to_queue("retiming", job(tmp_path))
    assert held_gpu_seconds(only(book)) == 4 * 2 * (60 + FakeCluster.overrun_s)
    book.settle_finished()
    assert held_gpu_seconds(only(book)) == 8


def test_tasks_without_a_trace_are_cancelled_only_after_the_grace(tmp_path: Path) -> None:
    cluster = FakeCluster(lost={2})
    patient = ledger(tmp_path, cluster, grace_s=3600)
    patient.run_to_queue("retiming", job(tmp_path))
    patient.settle_finished()
    assert only(patient).settled_at is None
    ledger(tmp_path, cluster, grace_s=-1).settle_finished()
    assert only(patient).settled_at
    assert only(patient).charged_gpu_seconds == 6


def test_a_reservation_that_was_never_queued_is_kept_for_its_job(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.dying_after_queueing = True
    book = ledger(tmp_path, cluster)
    with pytest.raises(KeyboardInterrupt):
        book.run_to_queue("retiming", job(tmp_path))
    book.settle_finished()
    assert only(book).settled_at is None
    cluster.dying_after_queueing = False
    assert book.run_to_queue("retiming", job(tmp_path)).job_id == "1"
    assert len(cluster.queued) == 1


def test_reservations_add_up_until_they_are_settled(tmp_path: Path) -> None:
    worst_case = 4 * 2 * (60 + FakeCluster.overrun_s) / 3600
    cluster = FakeCluster(one_by_one=True)
    book = ledger(tmp_path, cluster, limit=1.5 * worst_case)
    book.run_to_queue("retiming", job(tmp_path, "first"))
    with pytest.raises(BudgetExceeded):
        book.run_to_queue("retiming", job(tmp_path, "second"))
    for _ in range(4):
        book.settle_finished()
    assert book.run_to_queue("retiming", job(tmp_path, "second")).job_id == "2"
