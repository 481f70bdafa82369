"""DeBERTa-v2 and v3 (He et al. 2021 and 2023): BERT with disentangled attention to content and position."""

import math
from dataclasses import replace
from typing import ClassVar

from typing_extensions import override

from embedfleet.engine.families.bert import BERT_NAMES
from embedfleet.engine.families.disentangled import Disentangled, Norm, Projection
from embedfleet.engine.families.family import Family
from embedfleet.engine.families.ops import ACTIVATIONS, Linear, Ops, V
from embedfleet.engine.families.post_norm_encoder import Embeddings, PostNormEncoder
from embedfleet.engine.families.relative_positions import read_relative_positions
from embedfleet.engine.families.shared_layers import layer_norm, linear, read_attention, word_decoder
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_NAMES = replace(
    BERT_NAMES,
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
)


class DebertaV2(Family):
    """DeBERTa-v2: learned relative positions, one per short distance, in logarithmic buckets for longer ones."""

    model_types: ClassVar[tuple[str, ...]] = ("deberta-v2",)
    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    @override
    def __init__(self, config: ModelConfig) -> None:
        self._file = config.file
        self.hidden_size = config.number("hidden_size", 1536)
        self.vocabulary = config.number("vocab_size")
        types = config.number("type_vocab_size", 0)
        self.token_types = max(1, types)
        self.first_position = 0
        self.max_input_length = config.number("max_position_embeddings", 512)
        self._layers = config.number("num_hidden_layers", 24)
        self._attention = read_attention(config, "num_attention_heads", self.hidden_size)
        self._relative = read_relative_positions(config)
        _refuse_other_sizes(config, self.hidden_size, self._attention.head_size)
        self._encoder = replace(
            PostNormEncoder.from_config(config, _NAMES), epsilon=config.real("layer_norm_eps", 1e-7)
        )
        self._embeddings = Embeddings(
            self.vocabulary,
            types,
            self.max_input_length if config.flag("position_biased_input", default=True) else 0,
            config.number("embedding_size", self.hidden_size),
            self._encoder.epsilon,
        )
        self._kernel_size, self._kernel_groups = _read_kernel(config, self.hidden_size)
        self._kernel_activation = config.choice("conv_act", ACTIVATIONS, "tanh")
        self._pooler_activation = config.choice("pooler_hidden_act", ACTIVATIONS, "gelu")
        self._is_legacy = config.flag("legacy", default=True)

    @override
    def states(self, ops: Ops[V], weights: Weights) -> V:
        embeddings, encoder = self._embeddings, self._encoder
        states = embeddings.sum(ops, weights)
        if embeddings.width != self.hidden_size:
            projection = linear(weights.body, "embeddings.embed_proj", embeddings.width, self.hidden_size, bias=False)
            states = ops.dense(states, projection)
        first = states = encoder.norm(ops, weights, "embeddings.LayerNorm", states)
        for number in range(self._layers):
            prefix = f"encoder.layer.{number}."
            states = self._attend(ops, weights, prefix, states)
            inner = ops.dense(states, linear(weights.body, prefix + _NAMES.up, encoder.width, encoder.inner_width))
            states = encoder.feed_forward_end(ops, weights, prefix, states, ops.activate(inner, encoder.activation))
            if number == 0 and self._kernel_size:
                states = self._convolve(ops, weights, first, states)
        return states

    @override
    def class_logits(self, ops: Ops[V], weights: Weights, states: V, labels: int) -> V:
        width, find = self.hidden_size, weights.head
        pooled = ops.dense(ops.first(states), linear(find, "pooler.dense", width, width))
        pooled = ops.activate(pooled, self._pooler_activation)
        return ops.dense(pooled, linear(find, "classifier", width, labels))

    @override
    def word_logits(self, ops: Ops[V], weights: Weights, states: V) -> V:
        # A model that transformers calls legacy has BERT's head; others have the head of the authors' code.
        head = "cls.predictions" if self._is_legacy else "lm_predictions.lm_head"
        part = f"{head}.transform" if self._is_legacy else head
        find, encoder, words = weights.head, self._encoder, self._embeddings.table(weights)
        width = words.shape[1]
        if not self._is_legacy and width != self.hidden_size:
            raise ModelError(
                f"{self._file}: `embedding_size` is {width}, which the masked-language head does not support",
                f"supported: `hidden_size`, {self.hidden_size}",
            )
        states = ops.dense(states, linear(find, f"{part}.dense", self.hidden_size, width))
        states = ops.activate(states, encoder.activation)
        states = layer_norm(ops, find, f"{part}.LayerNorm", states, width=width, epsilon=encoder.epsilon)
        if not self._is_legacy:
            return ops.dense(states, Linear(words, find(f"{head}.bias", self.vocabulary)))
        return ops.dense(states, word_decoder(weights, f"{head}.decoder", f"{head}.bias", words))

    def _attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V) -> V:
        width, names = self.hidden_size, _NAMES.under(prefix)
        query, key, value, out = (
            linear(weights.body, name, width, width)
            for name in (names.query, names.key, names.value, names.attention_output)
        )
        attention = replace(self._attention, bias=self._bias(weights, prefix, query, key))
        queries = ops.dense(states, query)
        if self._relative.parts > 1:  # a score is divided by the square root of the number of its terms
            queries = ops.scale(queries, 1 / math.sqrt(self._relative.parts))
        mixed = ops.attention(queries, ops.dense(states, key), ops.dense(states, value), attention)
        return self._encoder.norm(ops, weights, names.attention_norm, ops.add(ops.dense(mixed, out), states))

    def _bias(self, weights: Weights, prefix: str, query: Linear, key: Linear) -> Disentangled | None:
        """The relative position bias of a layer; None if it has none.

        Args:
            weights: Weights of the model.
            prefix: Start of the layer's tensor names.
            query: Projection of token states to queries.
            key: Projection of token states to keys.
        """
        relative, width = self._relative, self.hidden_size
        to_position, to_content = relative.has_content_to_position, relative.has_position_to_content
        if not relative.is_relative or relative.parts == 1:
            return None
        if not relative.are_projections_shared:
            own = f"{prefix}attention.self."
            key = linear(weights.body, f"{own}pos_key_proj", width, width) if to_position else key
            query = linear(weights.body, f"{own}pos_query_proj", width, width) if to_content else query
        root = math.sqrt(self._attention.head_size)
        # Relative keys are multiplied by queries that `_attend` has already divided by the root of the number of terms.
        keys = self._project(weights, key, 1 / root) if to_position else None
        queries = self._project(weights, query, 1 / root / math.sqrt(relative.parts)) if to_content else None
        return Disentangled(keys, queries, relative.span, relative.exact, relative.farthest, self.max_input_length)

    def _project(self, weights: Weights, layer: Linear, factor: float) -> Projection:
        width, find, norm = self.hidden_size, weights.body, None
        if self._relative.has_layer_norm:
            name = "encoder.LayerNorm"
            norm = Norm(find(f"{name}.weight", width), find(f"{name}.bias", width), self._encoder.epsilon)
        table = find("encoder.rel_embeddings.weight", 2 * self._relative.span, width)
        return Projection(table, norm, layer.weight, layer.bias, factor)

    def _convolve(self, ops: Ops[V], weights: Weights, first: V, states: V) -> V:
        """Add a convolution of the first layer's input to its output, and normalise."""
        width, find, name = self.hidden_size, weights.body, "encoder.conv.conv"
        weight = find(f"{name}.weight", width, width // self._kernel_groups, self._kernel_size)
        kernel = Linear(weight, find(f"{name}.bias", width))
        beside = ops.activate(ops.convolve(first, kernel, self._kernel_groups), self._kernel_activation)
        return self._encoder.norm(ops, weights, "encoder.conv.LayerNorm", ops.add(states, beside))


def _read_kernel(config: ModelConfig, width: int) -> tuple[int, int]:
    """Read the convolution after the first layer: its kernel size in tokens, 0 for none, and its number of groups."""
    size, groups = config.number("conv_kernel_size", 0), config.number("conv_groups", 1)
    if size and not size % 2:
        raise ModelError(f"{config.file}: `conv_kernel_size` is {size}, an odd number is needed")
    if size and (not groups or width % groups):
        raise ModelError(f"{config.file}: `conv_groups` is {groups}, which does not divide the hidden size, {width}")
    return size, groups


def _refuse_other_sizes(config: ModelConfig, hidden: int, head_size: int) -> None:
    for key, usual in (("attention_head_size", head_size), ("pooler_hidden_size", hidden)):
        if config.number(key, usual) != usual:
            raise ModelError(f"{config.file}: `{key}` is {config.values[key]}", f"supported: {usual}")
