"""A session whose agent is the test, on whatever cluster and in whatever container."""

import itertools
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from slurm_bench.effects import store
from slurm_bench.effects.cluster import Cluster
from slurm_bench.effects.containers import Container
from slurm_bench.steps import judge, site, workspace
from slurm_bench.steps.desk import Desk
from slurm_bench.steps.retime import Retimer
from slurm_bench.words.accounting import LedgerEntry
from slurm_bench.words.config import Config
from slurm_bench.words.paths import SessionPaths
from slurm_bench.words.verdicts import Verdict


class BaseScene:
    """
    Args:
        identity: what the session's jobs are named by.
    """

    def __init__(self, config: Config, cluster: Cluster, container: Container, identity: str) -> None:
        self.config, self.cluster, self.container, self.identity = config, cluster, container, identity
        self.record = Path(config.task.record)
        self.paths = SessionPaths(config.session_dir)
        self._numbers = itertools.count(1)
        for folder in (self.paths.candidates, self.paths.outbox, self.paths.inbox, Path(config.task.data)):
            folder.mkdir(parents=True, exist_ok=True)
        site.save_config(self.paths, config)
        self.desk = self.another_desk()

    @property
    def retimer(self) -> Retimer:
        """A new one, by the configuration as it is now."""
        ledger = site.ledger_of(self.config, self.paths, self.cluster)
        return Retimer(self.config, self.paths.seals, self.identity, self.cluster, self.container, ledger)

    def another_desk(self) -> Desk:
        judged_by = judge.of(self.config, self.paths.campaign.opinions)
        desk = Desk(self.config, self.paths, self.retimer, judged_by, workspace.mount(self.paths))
        desk.take_incumbent(self.record)
        return desk

    def edited(self, name: str, edits: Iterable[tuple[str, str]], after: str = "") -> Path:
        """A copy of the record in submissions/, its program edited, with more lines after it."""
        folder = self.paths.candidates / name
        shutil.copytree(self.record, folder)
        program = folder / "train_gpt.py"
        text = program.read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        program.write_text(text + after)
        return folder

    def request(self, path: Path | str, request: str = "") -> str:
        """Put a request into the outbox as the shim does, and return its id: the one given, or a1, a2 and so on.

        Args:
            path: as it is called outside the container.
        """
        request = request or f"a{next(self._numbers)}"
        mount = workspace.mount(self.paths)
        inside = str(path).replace(str(mount.outside), self.container.inside(mount), 1)
        text = json.dumps({"version": 1, "id": request, "path": inside})
        (self.paths.outbox / f"{request}.json").write_text(text)
        return request

    def submit(self, path: Path | str, request: str = "") -> Verdict:
        request = self.request(path, request)
        self.desk.serve()
        return store.read(self.paths.verdict_in_inbox(request), Verdict)

    def ledger(self) -> dict[str, LedgerEntry]:
        """The entries of the session's jobs, by what sets their names apart."""
        retimer = self.retimer
        return {entry.job_name.removeprefix(retimer.job_name("")): entry for entry in retimer.ledger.entries()}
