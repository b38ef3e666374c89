"""What an agent's own model was used for, as Records: tokens and their price, by model."""

from dataclasses import dataclass

from pydantic import Field

from slurm_bench.words.records import Record


class TokenCount(Record):
    """No token is in two of the counts."""

    requests: int = 0
    input_tokens: int = 0
    """Read anew: neither out of the cache nor into it."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens

    def __add__(self, other: "TokenCount") -> "TokenCount":
        return TokenCount(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class ModelUse(Record):
    """Of one session, over all its links."""

    by_model: dict[str, TokenCount] = Field(default_factory=dict)
    usd: float | None = None
    """None where no prices are known."""

    @property
    def tokens(self) -> int:
        return sum(count.total for count in self.by_model.values())


@dataclass(frozen=True)
class Prices:
    """USD per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float
