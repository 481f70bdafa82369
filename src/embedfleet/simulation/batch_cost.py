"""The cost of a batch on a modelled replica. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchCost:
    """Cost of one batch: ``a_s + b_s * tokens`` seconds; with padding, ``tokens`` is texts times the longest text.

    Attributes:
        a_s: Seconds per batch.
        b_s: Seconds per token.
        batch_tokens: Maximum number of tokens in one batch (TEI's ``max_batch_tokens``).
        padded: Whether each text costs as much as the longest of its batch.
    """

    a_s: float = 0.003
    b_s: float = 1 / 150_000
    batch_tokens: int = 16_384
    padded: bool = False

    def seconds(self, tokens: list[int]) -> float:
        """Return the time of a batch of texts with the given tokens, in seconds."""
        return self.a_s + self.b_s * self.work(len(tokens), sum(tokens), max(tokens))

    def work(self, texts: int, tokens: int, longest: int) -> int:
        """Return the tokens that a replica computes for a batch, padding included."""
        return texts * longest if self.padded else tokens

    @property
    def tokens_per_s(self) -> float:
        """Throughput in tokens per second with full batches, without padding."""
        return self.batch_tokens / (self.a_s + self.b_s * self.batch_tokens)
