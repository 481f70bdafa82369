"""Parts that families share: layers and heads that several have, their tensors found by the layers' names."""

from collections.abc import Callable
from dataclasses import dataclass

from embedfleet.engine.families.ops import ACTIVATIONS, Activation, Attention, Linear, Ops, V
from embedfleet.engine.files.tensor import Tensor
from embedfleet.engine.files.weights import Weights
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

Find = Callable[..., Tensor]
"""`Weights.body` or `Weights.head`."""


def heads_of(config: ModelConfig, key: str, width: int) -> Attention:
    """Attention of as many heads as ``key`` says, which share ``width``.

    Raises:
        ModelError: they cannot.
    """
    heads = config.number(key)
    if heads < 1 or width % heads:
        raise ModelError(f"{config.file}: `{key}` is {heads}, which does not divide the width of {width}")
    return Attention(heads, width // heads)


def linear(find: Find, name: str, width: int, out: int, *, bias: bool = True) -> Linear:
    """The dense layer ``name`` from ``width`` to ``out``, with its bias if it has one."""
    return Linear(find(f"{name}.weight", out, width), find(f"{name}.bias", out) if bias else None)


def layer_norm(ops: Ops[V], find: Find, name: str, states: V, *, width: int, epsilon: float) -> V:
    """The layer normalisation ``name`` of states [..., width]."""
    return ops.layer_norm(states, find(f"{name}.weight", width), find(f"{name}.bias", width), epsilon)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """BERT's embeddings, of a width of their own: words, token types and places, added and normalised.

    Attributes:
        words: rows of their table.
        types: rows of theirs; 0 where there is none.
        places: rows of theirs; 0 where there is none.
    """

    words: int
    types: int
    places: int
    width: int
    epsilon: float

    def table(self, weights: Weights) -> Tensor:
        """Of the words, [words, width]."""
        return weights.body("embeddings.word_embeddings.weight", self.words, self.width)

    def sum(self, ops: Ops[V], weights: Weights) -> V:
        """[tokens, width], not normalised yet."""
        states = ops.embed(self.table(weights), ops.ids)
        if self.types:
            types = weights.body("embeddings.token_type_embeddings.weight", self.types, self.width)
            states = ops.add(states, ops.embed(types, ops.types))
        if self.places:
            places = weights.body("embeddings.position_embeddings.weight", self.places, self.width)
            states = ops.add(states, ops.embed(places, ops.positions))
        return states

    def states(self, ops: Ops[V], weights: Weights) -> V:
        """[tokens, width]."""
        name = "embeddings.LayerNorm"
        return layer_norm(ops, weights.body, name, self.sum(ops, weights), width=self.width, epsilon=self.epsilon)


@dataclass(frozen=True, slots=True)
class PostNorm:
    """BERT's layer, whose two parts are each added to their input and then normalised.

    Attributes:
        names: of its layers, in the order of the pass: query, key, value, the dense layer after attention, its
            normalisation, the two dense layers of the feed-forward part, and their normalisation.
        width: of a token's state.
        wide: between the two dense layers.
    """

    names: tuple[str, str, str, str, str, str, str, str]
    width: int
    wide: int
    activation: Activation
    epsilon: float

    @classmethod
    def of(cls, config: ModelConfig, names: tuple[str, str, str, str, str, str, str, str]) -> "PostNorm":
        """As a config with BERT's keys states it.

        Raises:
            ModelError: a key is missing or of a value that is not supported.
        """
        return cls(
            names,
            config.number("hidden_size"),
            config.number("intermediate_size"),
            config.choice("hidden_act", ACTIVATIONS, "gelu"),
            config.real("layer_norm_eps", 1e-12),
        )

    def layer(self, ops: Ops[V], weights: Weights, prefix: str, states: V, attention: Attention) -> V:
        """States [tokens, width] after the layer whose tensors' names begin with ``prefix``."""
        names = [prefix + name for name in self.names]
        states = self.attend(ops, weights, prefix, states, attention)
        inner = ops.dense(states, linear(weights.body, names[5], self.width, self.wide))
        return self.feed(ops, weights, prefix, states, ops.activate(inner, self.activation))

    def attend(self, ops: Ops[V], weights: Weights, prefix: str, states: V, attention: Attention) -> V:
        """The first part of `layer`: attention, added and normalised."""
        find, width = weights.body, self.width
        names = [prefix + name for name in self.names]
        query, key, value, out = (linear(find, name, width, width) for name in names[:4])
        parts = [ops.dense(states, layer) for layer in (query, key, value)]
        mixed = ops.dense(ops.attention(parts[0], parts[1], parts[2], attention), out)
        return self.norm(ops, weights, names[4], ops.add(mixed, states))

    def feed(self, ops: Ops[V], weights: Weights, prefix: str, states: V, inner: V) -> V:
        """The end of `layer`: ``inner`` [tokens, wide] through the second dense layer, added and normalised."""
        down, norm = prefix + self.names[6], prefix + self.names[7]
        outer = ops.dense(inner, linear(weights.body, down, self.wide, self.width))
        return self.norm(ops, weights, norm, ops.add(outer, states))

    def norm(self, ops: Ops[V], weights: Weights, name: str, states: V) -> V:
        """The normalisation ``name`` of the body."""
        return layer_norm(ops, weights.body, name, states, width=self.width, epsilon=self.epsilon)

    def word_transform(self, ops: Ops[V], weights: Weights, names: tuple[str, str], states: V) -> V:
        """What precedes the decoder of BERT's masked-language head: dense, activation, normalisation.

        ``names`` are the dense layer's and the normalisation's, in full; states are [tokens, width].
        """
        dense, norm = names
        states = ops.activate(ops.dense(states, linear(weights.head, dense, self.width, self.width)), self.activation)
        return layer_norm(ops, weights.head, norm, states, width=self.width, epsilon=self.epsilon)


def decoder(weights: Weights, name: str, bias: str, words: Tensor) -> Linear:
    """The decoder to word logits: its own weight where one is stored, else the word table, which it is tied to.

    ``bias`` is the tensor that is its bias where it has none of its own, ``words`` the table, [vocabulary, width].
    """
    own_weight, own_bias = f"{name}.weight", f"{name}.bias"
    weight = weights.head(own_weight, *words.shape) if weights.has(own_weight) else words
    return Linear(weight, weights.head(own_bias if weights.has(own_bias) else bias, words.shape[0]))


def pooled_classes(ops: Ops[V], weights: Weights, states: V, width: int, labels: int) -> V:
    """BERT's pooler on each sequence's first token, and a classifier: [tokens, width] → [sequences, labels]."""
    pooled = ops.dense(ops.first(states), linear(weights.body, "pooler.dense", width, width))
    return ops.dense(ops.activate(pooled, "tanh"), linear(weights.head, "classifier", width, labels))


def bert_words(ops: Ops[V], weights: Weights, states: V, encoder: PostNorm, words: Tensor) -> V:
    """BERT's masked-language head: → [tokens, vocabulary]."""
    head = "cls.predictions"
    names = (f"{head}.transform.dense", f"{head}.transform.LayerNorm")
    states = encoder.word_transform(ops, weights, names, states)
    return ops.dense(states, decoder(weights, f"{head}.decoder", f"{head}.bias", words))


def roberta_classes(ops: Ops[V], weights: Weights, states: V, width: int, labels: int) -> V:
    """RoBERTa's classification head, on each sequence's first token: [tokens, width] → [sequences, labels]."""
    hidden = ops.dense(ops.first(states), linear(weights.head, "classifier.dense", width, width))
    return ops.dense(ops.activate(hidden, "tanh"), linear(weights.head, "classifier.out_proj", width, labels))


def roberta_words(ops: Ops[V], weights: Weights, states: V, words: Tensor, epsilon: float) -> V:
    """RoBERTa's masked-language head, whose activation is always the exact GELU: → [tokens, vocabulary]."""
    width = words.shape[1]
    hidden = ops.activate(ops.dense(states, linear(weights.head, "lm_head.dense", width, width)), "gelu")
    hidden = layer_norm(ops, weights.head, "lm_head.layer_norm", hidden, width=width, epsilon=epsilon)
    return ops.dense(hidden, decoder(weights, "lm_head.decoder", "lm_head.bias", words))
