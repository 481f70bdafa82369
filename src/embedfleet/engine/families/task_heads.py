"""Classification heads and masked-language heads that several families share."""

from embedfleet.engine.families.ops import Ops, V
from embedfleet.engine.families.post_norm_encoder import PostNormEncoder
from embedfleet.engine.families.shared_layers import layer_norm, linear, word_decoder
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights


def bert_class_logits(ops: Ops[V], weights: Weights, states: V, width: int, labels: int) -> V:
    """BERT's pooler on each sequence's first token, then a classifier: [tokens, width] → [sequences, labels]."""
    pooled = ops.dense(ops.first(states), linear(weights.body, "pooler.dense", width, width))
    return ops.dense(ops.activate(pooled, "tanh"), linear(weights.head, "classifier", width, labels))


def bert_word_logits(ops: Ops[V], weights: Weights, states: V, encoder: PostNormEncoder, words: Tensor) -> V:
    """BERT's masked-language head: [tokens, width] → [tokens, vocabulary]."""
    head = "cls.predictions"
    states = encoder.word_transform(ops, weights, f"{head}.transform.dense", f"{head}.transform.LayerNorm", states)
    return ops.dense(states, word_decoder(weights, f"{head}.decoder", f"{head}.bias", words))


def roberta_class_logits(ops: Ops[V], weights: Weights, states: V, width: int, labels: int) -> V:
    """RoBERTa's classification head on each sequence's first token: [tokens, width] → [sequences, labels]."""
    hidden = ops.dense(ops.first(states), linear(weights.head, "classifier.dense", width, width))
    return ops.dense(ops.activate(hidden, "tanh"), linear(weights.head, "classifier.out_proj", width, labels))


def roberta_word_logits(ops: Ops[V], weights: Weights, states: V, words: Tensor, epsilon: float) -> V:
    """RoBERTa's masked-language head, always with the exact GELU: [tokens, width] → [tokens, vocabulary]."""
    width = words.shape[1]
    hidden = ops.activate(ops.dense(states, linear(weights.head, "lm_head.dense", width, width)), "gelu")
    hidden = layer_norm(ops, weights.head, "lm_head.layer_norm", hidden, width=width, epsilon=epsilon)
    return ops.dense(hidden, word_decoder(weights, "lm_head.decoder", "lm_head.bias", words))
