"""Layers that several families share: dense layers, layer normalisation, the decoder of a masked-language head."""

from collections.abc import Callable

from embedfleet.engine.families.ops import Attention, Linear, Ops, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

Find = Callable[..., Tensor]
"""A function that finds a tensor by name and shape: `Weights.body` or `Weights.head`."""


def read_attention(config: ModelConfig, key: str, width: int) -> Attention:
    """Read bidirectional attention whose heads split the hidden size evenly.

    Args:
        config: Config of the model.
        key: Key that states the number of heads.
        width: Hidden size.

    Raises:
        ModelError: The number of heads does not divide the hidden size.
    """
    heads = config.number(key)
    if heads < 1 or width % heads:
        raise ModelError(f"{config.file}: `{key}` is {heads}, which does not divide the hidden size, {width}")
    return Attention(heads, width // heads)


def linear(find: Find, name: str, width: int, out: int, *, bias: bool = True) -> Linear:
    """The dense layer ``name`` from ``width`` to ``out`` numbers, with its bias if it has one."""
    return Linear(find(f"{name}.weight", out, width), find(f"{name}.bias", out) if bias else None)


def layer_norm(ops: Ops[V], find: Find, name: str, states: V, *, width: int, epsilon: float) -> V:
    """Apply the layer normalisation ``name`` to states [..., width]."""
    return ops.layer_norm(states, find(f"{name}.weight", width), find(f"{name}.bias", width), epsilon)


def word_decoder(weights: Weights, name: str, bias: str, words: Tensor) -> Linear:
    """The dense layer from states to word logits, tied to the word embeddings if it has no matrix of its own.

    Args:
        weights: Weights of the model.
        name: Name of the decoder.
        bias: Name of the tensor to use as bias if the decoder has no bias of its own.
        words: Word embeddings, [vocabulary, width].
    """
    own_weight, own_bias = f"{name}.weight", f"{name}.bias"
    weight = weights.head(own_weight, *words.shape) if weights.has(own_weight) else words
    return Linear(weight, weights.head(own_bias if weights.has(own_bias) else bias, words.shape[0]))
