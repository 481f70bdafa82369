"""What every model family promises."""

from typing import ClassVar, Protocol

from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig


class Family(Protocol):
    """One architecture, of the shape that a model's config.json states.

    Attributes:
        model_types: config.json's ``model_type`` values that mean it.
        anchor: a tensor that every checkpoint has; what stands before it there is the prefix of the body's tensors.
        hidden_size: width of a token's state.
        vocabulary: rows of the word table.
        token_types: how many there are; at least 1, also where the family has none.
        first_position: the number of a sequence's first token: 0, or pad id + 1 for RoBERTa's kin.
        max_input_length: tokens, specials included, that its positions allow.

    Raises:
        ModelError: from the constructor, naming the key and its value, if the config asks for what is not supported.
    """

    model_types: ClassVar[tuple[str, ...]]
    anchor: ClassVar[str]
    hidden_size: int
    vocabulary: int
    token_types: int
    first_position: int
    max_input_length: int

    def __init__(self, config: ModelConfig) -> None: ...

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """The last hidden states, [tokens, hidden_size].

        Raises:
            ModelError: a tensor is missing or not of the config's shape.
        """

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """The head of a ``*ForSequenceClassification``, [sequences, labels].

        Raises:
            ModelError: a tensor is missing or not of the config's shape, or the family has no such head.
        """

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """The head of a ``*ForMaskedLM``, [tokens, vocabulary].

        Raises:
            ModelError: a tensor is missing or not of the config's shape, or the family has no such head.
        """
