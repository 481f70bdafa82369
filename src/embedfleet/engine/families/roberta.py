"""RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: BERT with another first position and other heads."""

from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.bert import Bert
from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.families.task_heads import roberta_class_logits, roberta_word_logits
from embedfleet.engine.files.weights import Weights
from embedfleet.model_folder.config import ModelConfig


class Roberta(Bert):
    """RoBERTa: positions start after the padding id, since fairseq counted the padding too."""

    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta", "camembert")

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        return roberta_class_logits(ops, weights, states, self.hidden_size, labels)

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        return roberta_word_logits(ops, weights, states, self._words(weights), self._encoder.epsilon)

    @override
    def _first_position(self, config: ModelConfig) -> int:
        return config.number("pad_token_id") + 1
