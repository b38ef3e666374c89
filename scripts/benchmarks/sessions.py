"""Configurations as the command line would compose them, and what sessions left behind."""

from collections.abc import Iterator, Sequence

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from slurm_bench.effects import store
from slurm_bench.steps import site
from slurm_bench.steps.cli import register
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.paths import SessionPaths, shipped
from slurm_bench.words.records import Submission


def composed(overrides: Sequence[str]) -> Config:
    register()
    with initialize_config_dir(str(shipped("conf").absolute()), version_base="1.3"):
        config = OmegaConf.to_object(compose("config", overrides=["agent.name=scripted", *overrides]))
    assert isinstance(config, Config)
    site.make_absolute(config)
    return config


def waits_for_queue(paths: SessionPaths) -> Iterator[float]:
    """Seconds from each request's file to the line in the ledger that its first job is queued: its decoy run.

    A confirmation has no request of its own: the desk begins it when the session is over.
    """
    entries = [store.read(path, LedgerEntry) for path in paths.ledger.glob("*.json")]
    for record in sorted(paths.submissions.glob("*/submission.json")):
        submission = store.read(record, Submission)
        if submission.confirms:
            continue
        names = tuple(f"-{submission.number}{part}" for part in ("", "-decoy"))
        queued = [entry.queued_at for entry in entries if entry.job_name.endswith(names) and entry.queued_at]
        if queued:
            yield min(queued).timestamp() - asked_at(paths, submission)


def waits_for_verdict(paths: SessionPaths) -> Iterator[float]:
    """Seconds from each request's file to its verdict's in the inbox."""
    for record in sorted(paths.submissions.glob("*/submission.json")):
        submission = store.read(record, Submission)
        yield paths.verdict_in_inbox(submission.request).stat().st_mtime - asked_at(paths, submission)


def asked_at(paths: SessionPaths, submission: Submission) -> float:
    return (paths.outbox / f"{submission.request}.json").stat().st_mtime
