"""What is computed from a model's last hidden states, once for every backend."""

from embedfleet.engine.model import Kind, ModelSpec
from embedfleet.engine.ops import Ops, V
from embedfleet.engine.output import Output
from embedfleet.engine.weights import Weights

_OUTPUTS: dict[Kind, tuple[Output, ...]] = {
    "embedding": (Output.STATES,),
    "classifier": (Output.CLASSES,),
    "reranker": (Output.CLASSES,),
    "splade": (Output.WORDS,),
}


def outputs_of(spec: ModelSpec) -> tuple[Output, ...]:
    """What can be asked of a model."""
    return _OUTPUTS[spec.kind]


def compute(spec: ModelSpec, ops: Ops[V], weights: Weights) -> dict[Output, V]:
    """The pass of a model: all that can be asked of it, of one run of its body.

    Returns:
        Of each of `outputs_of` its rows; of ``WORDS`` the word logits [tokens, vocabulary], which are still to be
        pooled.

    Raises:
        ModelError: a tensor is missing or not of the config's shape, or the family has no such head.
    """
    states = spec.family.states(ops, weights)
    rows: dict[Output, V] = {}
    for output in outputs_of(spec):
        if output is Output.STATES:
            rows[output] = states
        elif output is Output.CLASSES:
            rows[output] = spec.family.class_logits(ops, weights, states, len(spec.id2label))
        elif output is Output.WORDS:
            rows[output] = spec.family.word_logits(ops, weights, states)
    return rows
