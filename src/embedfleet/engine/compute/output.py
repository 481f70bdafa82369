"""Outputs of a model."""

from enum import StrEnum


class Output(StrEnum):
    """An output of a forward pass, or a vector made of it."""

    STATES = "states"  # the last hidden states, [tokens, hidden]
    CLASSES = "classes"  # the classification head's logits, [sequences, labels]
    WORDS = "words"  # SPLADE's weight of each vocabulary word (`pooling.splade`), [sequences, vocabulary]
    LEXICAL = "lexical"  # bge-m3's lexical weight of each token, [tokens, 1]
    COLBERT = "colbert"  # bge-m3's ColBERT vector of each token, not normalised, [tokens, dimensions]
    POOLED = "pooled"  # the pooled states before further layers, of a backend that pools, [sequences, hidden]
    VECTOR = "vector"  # the embedding, not normalised, [dimensions]; `EmbeddingPooler` makes it, not a backend

    @property
    def source(self) -> "Output":
        """The output, of a backend that does not pool, that this one is made of."""
        return Output.STATES if self is Output.VECTOR else self

    @property
    def is_per_token(self) -> bool:
        """Whether it has a row per token instead of one per sequence."""
        return self in {Output.STATES, Output.LEXICAL, Output.COLBERT}
