"""Interface of a model family."""

from abc import ABC, abstractmethod
from typing import ClassVar

from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig


class Family(ABC):
    """A model architecture with the shape that a config.json states.

    Attributes:
        model_types: Values of ``model_type`` in config.json that select this family.
        anchor: Name of a tensor that every checkpoint has. In a checkpoint, the text before this name is the prefix of
            the body's tensors.
        hidden_size: Width of a token's state.
        vocabulary: Number of rows of the word embeddings.
        token_types: Number of token types; 1 if the family has none.
        first_position: Position of a sequence's first token: 0, or the padding id + 1 for RoBERTa and its relatives.
        max_input_length: Longest input that the positions allow, in tokens, including special ones.
    """

    model_types: ClassVar[tuple[str, ...]]
    anchor: ClassVar[str]
    hidden_size: int
    vocabulary: int
    token_types: int
    first_position: int
    max_input_length: int

    @abstractmethod
    def __init__(self, config: ModelConfig) -> None:
        """Read the shape from a config.

        Raises:
            ModelError: The config asks for something unsupported; the message names the key and its value.
        """

    @abstractmethod
    def states(self, ops: Ops[V], weights: Weights) -> V:
        """Compute the last hidden states, [tokens, hidden_size].

        Raises:
            ModelError: A tensor is missing, or its shape is not the config's.
        """

    @abstractmethod
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """Compute the logits of a ``*ForSequenceClassification`` head, [sequences, labels].

        Raises:
            ModelError: A tensor is missing, its shape is not the config's, or the family has no such head.
        """

    @abstractmethod
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """Compute the logits of a ``*ForMaskedLM`` head, [tokens, vocabulary].

        Raises:
            ModelError: A tensor is missing, its shape is not the config's, or the family has no such head.
        """
