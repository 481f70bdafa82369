"""DeBERTa-v2 and v3 (He et al. 2021 and 2023): BERT whose attention tells content and place apart."""

import math
from dataclasses import replace
from typing import ClassVar

from embedfleet.engine.families.bert import NAMES
from embedfleet.engine.families.disentangled import Disentangled, Norm, Projection
from embedfleet.engine.families.layers import Embeddings, PostNorm, decoder, heads_of, layer_norm, linear
from embedfleet.engine.families.ops import ACTIVATIONS, Linear, Ops, V
from embedfleet.engine.families.places import read_places
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_ATTENTION = ("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj")
_WHOLE = "supported: as wide as `hidden_size`"


class DebertaV2:
    """See `Family`. Places are learnt by distance, near ones one by one and farther ones by their logarithm."""

    model_types: ClassVar[tuple[str, ...]] = ("deberta-v2",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    def __init__(self, config: ModelConfig) -> None:
        self._file = config.file
        self.hidden_size = config.number("hidden_size", 1536)
        self.vocabulary = config.number("vocab_size")
        types = config.number("type_vocab_size", 0)
        self.token_types = max(1, types)
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings", 512)
        self._layers = config.number("num_hidden_layers", 24)
        self._attention = heads_of(config, "num_attention_heads", self.hidden_size)
        self._places = read_places(config)
        _refuse(config, self.hidden_size, self._attention.head_size)
        names = (*_ATTENTION, *NAMES[3:])
        self._encoder = replace(PostNorm.of(config, NAMES), names=names, epsilon=config.real("layer_norm_eps", 1e-7))
        self._embeddings = Embeddings(
            self.vocabulary,
            types,
            self.max_input_length if config.flag("position_biased_input", default=True) else 0,
            config.number("embedding_size", self.hidden_size),
            self._encoder.epsilon,
        )
        self._kernel, self._kernel_groups = _kernel(config, self.hidden_size)
        self._kernel_activation = config.choice("conv_act", ACTIVATIONS, "tanh")
        self._pooler_activation = config.choice("pooler_hidden_act", ACTIVATIONS, "gelu")
        self._is_legacy = config.flag("legacy", default=True)

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """See `Family.states`."""
        embeddings, encoder = self._embeddings, self._encoder
        states = embeddings.sum(ops, weights)
        if embeddings.width != self.hidden_size:
            projection = linear(weights.body, "embeddings.embed_proj", embeddings.width, self.hidden_size, bias=False)
            states = ops.dense(states, projection)
        first = states = encoder.norm(ops, weights, "embeddings.LayerNorm", states)
        for number in range(self._layers):
            prefix = f"encoder.layer.{number}."
            states = self._attend(ops, weights, prefix, states)
            inner = ops.dense(states, linear(weights.body, prefix + NAMES[5], encoder.width, encoder.wide))
            states = encoder.feed(ops, weights, prefix, states, ops.activate(inner, encoder.activation))
            if number == 0 and self._kernel:
                states = self._convolve(ops, weights, first, states)
        return states

    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        """See `Family.class_logits`."""
        width, find = self.hidden_size, weights.head
        pooled = ops.dense(ops.first(states), linear(find, "pooler.dense", width, width))
        pooled = ops.activate(pooled, self._pooler_activation)
        return ops.dense(pooled, linear(find, "classifier", width, labels))

    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        """See `Family.word_logits`: of what transformers calls legacy BERT's, else the one of the authors' code."""
        head = "cls.predictions" if self._is_legacy else "lm_predictions.lm_head"
        part = f"{head}.transform" if self._is_legacy else head
        find, encoder, words = weights.head, self._encoder, self._embeddings.table(weights)
        width = words.shape[1]
        if not self._is_legacy and width != self.hidden_size:
            raise ModelError(f"{self._file}: `embedding_size` is {width}, of which this word head cannot be", _WHOLE)
        states = ops.dense(states, linear(find, f"{part}.dense", self.hidden_size, width))
        states = ops.activate(states, encoder.activation)
        states = layer_norm(ops, find, f"{part}.LayerNorm", states, width=width, epsilon=encoder.epsilon)
        if not self._is_legacy:
            return ops.dense(states, Linear(words, find(f"{head}.bias", self.vocabulary)))
        return ops.dense(states, decoder(weights, f"{head}.decoder", f"{head}.bias", words))

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        encoder, width = self._encoder, self.hidden_size
        names = [prefix + name for name in encoder.names]
        query, key, value, out = (linear(weights.body, name, width, width) for name in names[:4])
        attention = replace(self._attention, bias=self._bias(weights, prefix, query, key))
        asked = ops.dense(states, query)
        if self._places.parts > 1:  # scores are divided by the root of how many parts they have
            asked = ops.scale(asked, 1 / math.sqrt(self._places.parts))
        mixed = ops.attention(asked, ops.dense(states, key), ops.dense(states, value), attention)
        return encoder.norm(ops, weights, names[4], ops.add(ops.dense(mixed, out), states))

    def _bias(self, weights: Weights, prefix: str, query: Linear, key: Linear) -> Disentangled | None:
        """What a layer adds to the scores; None where that is nothing."""
        places, width = self._places, self.hidden_size
        if not places.is_relative or places.parts == 1:
            return None
        if not places.are_shared:
            own = f"{prefix}attention.self."
            key = linear(weights.body, f"{own}pos_key_proj", width, width) if places.to_place else key
            query = linear(weights.body, f"{own}pos_query_proj", width, width) if places.to_content else query
        root = math.sqrt(self._attention.head_size)  # the queries are divided by the root of the parts already
        keys = self._project(weights, key, 1 / root) if places.to_place else None
        queries = self._project(weights, query, 1 / root / math.sqrt(places.parts)) if places.to_content else None
        return Disentangled(keys, queries, places.span, places.exact, places.farthest, self.max_input_length)

    def _project(self, weights: Weights, layer: Linear, factor: float) -> Projection:
        width, find, norm = self.hidden_size, weights.body, None
        if self._places.are_normed:
            name = "encoder.LayerNorm"
            norm = Norm(find(f"{name}.weight", width), find(f"{name}.bias", width), self._encoder.epsilon)
        table = find("encoder.rel_embeddings.weight", 2 * self._places.span, width)
        return Projection(table, norm, layer.weight, layer.bias, factor)

    def _convolve(self, ops: Ops[V], weights: Weights, first: V, states: V) -> V:
        """After the first layer, what its input gives with its neighbours is added."""
        width, find, name = self.hidden_size, weights.body, "encoder.conv.conv"
        weight = find(f"{name}.weight", width, width // self._kernel_groups, self._kernel)
        kernel = Linear(weight, find(f"{name}.bias", width))
        beside = ops.activate(ops.convolve(first, kernel, self._kernel_groups), self._kernel_activation)
        return self._encoder.norm(ops, weights, "encoder.conv.LayerNorm", ops.add(states, beside))


def _kernel(config: ModelConfig, width: int) -> tuple[int, int]:
    """Of the convolution after the first layer: how many tokens it is over, 0 where there is none, and its groups."""
    size, groups = config.number("conv_kernel_size", 0), config.number("conv_groups", 1)
    if size and not size % 2:
        raise ModelError(f"{config.file}: `conv_kernel_size` is {size}, an odd number is needed")
    if size and (not groups or width % groups):
        raise ModelError(f"{config.file}: `conv_groups` is {groups}, which does not divide the width of {width}")
    return size, groups


def _refuse(config: ModelConfig, hidden: int, head_size: int) -> None:
    for key, usual in (("attention_head_size", head_size), ("pooler_hidden_size", hidden)):
        if config.number(key, usual) != usual:
            raise ModelError(f"{config.file}: `{key}` is {config.values[key]}", f"supported: {usual}")
