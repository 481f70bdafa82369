"""What can be asked of a model."""

from enum import StrEnum


class Output(StrEnum):
    """One of a pass's outcomes."""

    STATES = "states"  # the last hidden states, [tokens, hidden]
    CLASSES = "classes"  # the classification head's logits, [sequences, labels]
    WORDS = "words"  # SPLADE's weight of each word of the vocabulary, see `pooling.splade`: [sequences, vocabulary]
    LEXICAL = "lexical"  # bge-m3's weight of each token, [tokens, 1]
    COLBERT = "colbert"  # bge-m3's vector of each token, not normalised, [tokens, dimensions]
    VECTOR = "vector"  # the states pooled as the model says, not normalised, [hidden]; no backend gives it

    @property
    def source(self) -> "Output":
        """What a backend has to give for it."""
        return Output.STATES if self is Output.VECTOR else self

    @property
    def is_per_token(self) -> bool:
        """Whether it has a row per token, and not one per sequence."""
        return self in {Output.STATES, Output.LEXICAL, Output.COLBERT}
