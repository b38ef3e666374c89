"""`command=data`: the shards that the task trains on, got from the hub or a folder, checked, and written down.

A shard is filled under a name of its own, read whole there, and renamed only if it is good; then it is entered into
shards.json. So whatever has a shard's name was good once, and a run that is ended anywhere is gone on with by the next.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from slurm_bench.effects import decoy_shards, locking, shards, store
from slurm_bench.effects.hub import Hub
from slurm_bench.effects.sources import Folder, Offer, Offered, Source
from slurm_bench.pure.shards import FOLDER, PUBLISHED, RECORD, is_foreign, names, problem, size_of
from slurm_bench.words.config import Config, DataCommand
from slurm_bench.words.data import Shard, ShardSet
from slurm_bench.words.errors import BenchError, UsageError
from slurm_bench.words.paths import expanded

log = logging.getLogger(__name__)


def perform(config: Config) -> None:
    """
    Raises:
        UsageError: a shard that is there, or that the source has, is not what it should be; or there is no room.
        InfrastructureError: the source failed; the same command goes on.
    """
    assert isinstance(config.command, DataCommand)
    command = config.command
    folder = _folder(config)
    collect(command, folder, _source(command))
    if config.retime.caches == "decoy" and folder.parent == Path(os.path.abspath(config.task.data)):
        made, where = decoy_shards.prepare(folder.parent, Path(os.path.abspath(config.runs)))
        print(f"random tokens in the form of these shards (docs/decoys.md): {len(made.sizes)} shards in {where}")


def collect(command: DataCommand, folder: Path, source: Source) -> None:
    """Have all shards of the command in the folder, got from the source where they are not there.

    Raises:
        As perform.
    """
    if folder.is_symlink():
        raise UsageError(f"command.folder: {folder} is a link, and a container sees only what lies in task.data itself")
    busy = f"command.folder: another run is getting shards into {folder}; wait until it is over"
    folder.mkdir(parents=True, exist_ok=True)
    with locking.lock(folder.parent / f".{FOLDER}.lock", busy=busy):
        collection = _Collection(command, folder)
        collection.check_in_place()
        if collection.needs_source():
            offer = source.offer(names(command.training_shards), collection.revision())
            collection.check_offer(offer)
            for name in collection.missing():
                collection.get(offer, name, source)
    print(collection.summary())


class _Collection:
    """The shards of one folder, and what is written down of them."""

    def __init__(self, command: DataCommand, folder: Path) -> None:
        self._command, self._folder, self._got = command, folder, 0
        try:
            self._record = store.read_if_there(folder / RECORD, ShardSet) or ShardSet(repo=command.repo)
        except BenchError as error:
            raise UsageError(f"{error}: remove it, and run again; shards that are there are taken in anew") from None
        if self._record.repo != command.repo:
            raise UsageError(f"command.repo: {folder} holds shards of {self._record.repo}: name another folder=")

    def check_in_place(self) -> None:
        """Refuse what has a shard's name and is none."""
        for name in self._names:
            path, shard = self._folder / name, self._record.find(name)
            if not path.is_file():
                continue
            if shard is None:
                wrong = shards.quick_problem(path, self._command.shard_tokens)
            else:
                wrong = shards.recorded_problem(self._folder, shard, self._command.verify)
            if wrong:
                self._refuse(path, path.name, wrong)
            if shard is not None and self._command.verify:
                log.info("%s: SHA-256 %s, as recorded", name, shard.sha256)

    def missing(self) -> Sequence[str]:
        return [name for name in self._names if not self._is_kept(name)]

    def needs_source(self) -> bool:
        return bool(self.missing()) or self._command.revision not in (None, *self._revisions())

    def revision(self) -> str | None:
        """The one to ask for: what is there and what comes must be of one commit."""
        return self._command.revision or next(iter(self._revisions()), None)

    def check_offer(self, offer: Offer) -> None:
        """See that the source has what is missing, and this machine room for it, before anything is fetched."""
        for name in self.missing():
            offered = offer.files.get(name)
            if offered is None:
                raise UsageError(f"command.source: no {name} in {self._command.repo} at {offer.origin}")
            size = size_of(self._command.shard_tokens)
            if offered.size != size:
                raise UsageError(
                    f"command.source: {name} at {offer.origin} has {offered.size:,} bytes instead of {size:,}: "
                    "it was cut off or is another data set's; name another source="
                )
        self._check_revision(offer)
        self._check_room(offer)

    def get(self, offer: Offer, name: str, source: Source) -> None:
        """Fetch one shard, or the rest of it, and take it in if it is good."""
        offered = offer.files[name]
        final, partial = self._folder / name, self._partial(offered)
        if partial.is_symlink():  # nobody's but whoever wants its target overwritten
            partial.unlink()
        if final.is_file():  # nobody has entered it, so it is held against what the source states
            final.replace(partial)
        if partial.is_file() and partial.stat().st_size > offered.size:
            partial.unlink()
        log.info("%s: from %s", name, offer.origin)
        try:
            source.fetch(offered, partial)
        except BenchError:
            if partial.is_file() and is_foreign(shards.start(partial)):  # going on with it would be of no use
                wrong = shards.quick_problem(partial, self._command.shard_tokens)
                self._refuse(partial, name, f"from {offer.origin} {wrong}")
            raise
        self._take_in(offer, offered, partial)

    def summary(self) -> str:
        kept = [shard for shard in self._record.shards if shard.name in self._names]
        stated = sum(bool(shard.stated_by) for shard in kept)
        how = "by SHA-256" if self._command.verify else "by header and size (verify=true: by SHA-256)"
        size = sum(shard.size for shard in kept) / 1e9
        return (
            f"{len(kept)} shards, {size:.3g} GB, in {self._folder}\n"
            f"{self._got} got and read whole, {len(kept) - self._got} were there, checked {how}; "
            f"of {stated} somebody else states the same SHA-256"
        )

    @property
    def _names(self) -> Sequence[str]:
        return names(self._command.training_shards)

    def _is_kept(self, name: str) -> bool:
        return self._record.find(name) is not None and (self._folder / name).is_file()

    def _revisions(self) -> Sequence[str]:
        shards_in_place = [shard for shard in self._record.shards if self._is_kept(shard.name)]
        return sorted({shard.revision for shard in shards_in_place if shard.revision})

    def _partial(self, offered: Offered) -> Path:
        """Where the file grows; another content grows elsewhere."""
        content = offered.sha256 or offered.revision or "unstated"
        return self._folder / f".{offered.name}.{content[:12]}.incomplete"

    def _check_revision(self, offer: Offer) -> None:
        """See that all shards are of one commit, or all of a folder that does not say."""
        offered = {each.revision for each in offer.files.values()}
        if len(offered) > 1:
            mixed = " and ".join(sorted(map(_revision_said, offered)))
            raise UsageError(f"command.source: {offer.origin} has shards of {mixed} together: name another source=")
        others = {self._revision_of(shard, offer) for shard in self._record.shards if self._is_kept(shard.name)}
        others -= offered
        if offered and others:
            raise UsageError(
                f"command.revision: {self._folder} holds shards of {_revision_said(others.pop())}, and {offer.origin} "
                f"has those of {_revision_said(offered.pop())}: name another folder="
            )

    def _revision_of(self, shard: Shard, offer: Offer) -> str | None:
        """Its commit; of a shard without one the offer's, if it has the hash that is stated there."""
        there = offer.files.get(shard.name)
        is_same = shard.revision is None and there is not None and there.sha256 == shard.sha256
        return there.revision if there is not None and is_same else shard.revision

    def _check_room(self, offer: Offer) -> None:
        files = [offer.files[name] for name in self.missing()]
        there = [path for each in files for path in (self._partial(each), self._folder / each.name)]
        needed = sum(each.size for each in files) - sum(path.stat().st_size for path in there if path.is_file())
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise UsageError(
                f"command.folder: {self._folder} has room for {free / 1e9:.3g} GB, and {needed / 1e9:.3g} GB are to "
                "come: make room, or name another folder="
            )

    def _take_in(self, offer: Offer, offered: Offered, partial: Path) -> None:
        contents = shards.inspect(partial)
        stated = _stated(offer, offered, self._command.repo)
        wrong = problem(offered.name, contents, self._command.shard_tokens, stated)
        if wrong:
            self._refuse(partial, offered.name, f"from {offer.origin} {wrong}")
        store.settle(partial, self._folder / offered.name)
        shard = Shard(
            name=offered.name,
            size=contents.size,
            tokens=self._command.shard_tokens,
            sha256=contents.sha256,
            stated_by=tuple(stated),
            source=offer.origin,
            revision=offered.revision,
            fetched_at=datetime.now(UTC),
        )
        self._record = self._record.with_shard(shard)
        store.write(self._folder / RECORD, self._record)
        self._got += 1
        log.info("%s: SHA-256 %s, stated by %s", offered.name, contents.sha256, " and ".join(stated) or "nobody else")

    def _refuse(self, path: Path, name: str, wrong: str) -> NoReturn:
        """Put a file aside, where no training reads it, and say so."""
        aside = self._folder / f"{name}.refused"
        path.replace(aside)
        raise UsageError(f"{name} {wrong}; it lies in {aside} now: run again, or name another source=")


def _folder(config: Config) -> Path:
    """Where the shards go.

    Raises:
        UsageError: the synthetic language lives there.
    """
    assert isinstance(config.command, DataCommand)
    if config.command.folder is None and config.task.synthetic:
        raise UsageError("command.folder: this task writes its own data; name task=nanogpt_speedrun, or a folder=")
    return Path(os.path.abspath(config.command.folder or config.task.data)) / FOLDER


def _source(command: DataCommand) -> Source:
    if command.source is None or command.source.startswith(("http://", "https://")):
        return Hub(command.source, command.repo)
    return Folder(Path(os.path.abspath(expanded(command.source))), command.repo)


def _revision_said(revision: str | None) -> str:
    return revision or "no stated revision"


def _stated(offer: Offer, offered: Offered, repo: str) -> Mapping[str, str]:
    """The file's SHA-256 by who states it."""
    said = {offer.kind: offered.sha256, "publication": PUBLISHED.get(repo, {}).get(offered.name)}
    return {who: sha256 for who, sha256 in said.items() if sha256}
