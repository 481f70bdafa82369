"""RoBERTa (Liu et al. 2019) and its kin: BERT but for the number of the first position and the heads."""

from typing import ClassVar

from embedfleet.engine.families.bert import Bert
from embedfleet.engine.families.layers import roberta_classes, roberta_words
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig


class Roberta(Bert):
    """See `Family`. Positions begin after the padding id, since fairseq numbered padding as well."""

    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta", "camembert")

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`."""
        return roberta_classes(ops, weights, states, self.hidden_size, labels)

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`."""
        return roberta_words(ops, weights, states, self._words(weights), self._encoder.epsilon)

    def _first_position(self, config: ModelConfig) -> int:
        return config.number("pad_token_id") + 1
