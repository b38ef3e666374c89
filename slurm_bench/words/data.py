"""What is known of the shards in a data folder: shards.json, beside them."""

from datetime import datetime

from slurm_bench.words.records import Record


class Shard(Record):
    """One file that was read whole and found good."""

    name: str
    size: int
    tokens: int
    sha256: str
    stated_by: tuple[str, ...]
    """Who else states this SHA-256: hub, folder (by a shards.json of its own), publication (pure/shards.py)."""
    source: str
    """Endpoint of the hub, or the folder that it was copied from."""
    revision: str | None
    """Commit of the data set; None from a folder that does not say."""
    fetched_at: datetime


class DecoySet(Record):
    """Shards of random tokens in the form of real ones: documents begin where theirs do."""

    of: str
    """Digest of the real shards' names and contents."""
    seed: int
    words: int
    """Tokens of which each is drawn evenly; what begins a document is none of them."""
    word_share: float
    """Of the validation shard's tokens, those that were drawn."""
    sizes: dict[str, int]
    """Bytes of each shard."""


class ShardSet(Record):
    repo: str
    shards: tuple[Shard, ...] = ()

    def find(self, name: str) -> Shard | None:
        return next((shard for shard in self.shards if shard.name == name), None)

    def with_shard(self, shard: Shard) -> "ShardSet":
        others = [each for each in self.shards if each.name != shard.name]
        ordered = tuple(sorted([*others, shard], key=lambda each: each.name))
        return self.model_copy(update={"shards": ordered})
