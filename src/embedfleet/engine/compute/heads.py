"""What is computed from a model's last hidden states, once for every backend."""

from collections.abc import Sequence

from embedfleet.engine.compute.output import Output
from embedfleet.engine.families.ops import Linear, Ops, V
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.judge import Judge
from embedfleet.engine.model.kind import Kind
from embedfleet.engine.model.spec import COLBERT_FILE, SPARSE_FILE, ModelSpec

_OUTPUTS: dict[Kind, tuple[Output, ...]] = {
    "embedding": (Output.STATES,),
    "classifier": (Output.CLASSES,),
    "reranker": (Output.CLASSES,),
    "splade": (Output.WORDS,),
}


def outputs_of(spec: ModelSpec) -> tuple[Output, ...]:
    """What can be asked of a model."""
    own = _OUTPUTS[spec.kind]
    return (*own, Output.LEXICAL, Output.COLBERT) if spec.has_m3_heads else own


def compute(spec: ModelSpec, ops: Ops[V], weights: Weights, outputs: Sequence[Output]) -> dict[Output, V]:
    """The pass of a model, of one run of its body.

    Args:
        spec: of the model.
        ops: compute.
        weights: of the model.
        outputs: what is asked, some of `outputs_of`.

    Returns:
        Of each of ``outputs`` its rows; of ``WORDS`` the word logits [tokens, vocabulary], which are still to be
        pooled.

    Raises:
        ModelError: a tensor is missing or not of the config's shape, or the family has no such head.
    """
    states = spec.family.states(ops, weights)
    rows: dict[Output, V] = {}
    for output in outputs:
        if output is Output.STATES:
            rows[output] = states
        elif output is Output.CLASSES:
            rows[output] = (
                spec.family.class_logits(ops, weights, states, len(spec.id2label))
                if spec.judge is None
                else _verdict(spec, spec.judge, ops, weights, states)
            )
        elif output is Output.WORDS:
            rows[output] = spec.family.word_logits(ops, weights, states)
        elif output is Output.LEXICAL:
            rows[output] = ops.activate(ops.dense(states, _linear(spec, weights.beside(SPARSE_FILE), rows=1)), "relu")
        elif output is Output.COLBERT:
            rows[output] = ops.dense(states, _linear(spec, weights.beside(COLBERT_FILE)))
    return rows


def _verdict(spec: ModelSpec, judge: Judge, ops: Ops[V], weights: Weights, states: V) -> V:
    """The score of a model that generates, [sequences, 1]: of all words' logits only those that it is of."""
    shape = (spec.family.vocabulary, spec.family.hidden_size)
    words = weights.body(spec.family.anchor, *shape) if judge.tied else weights.head("lm_head.weight", *shape)
    last = ops.last(states)
    score = ops.dense(last, Linear(words.row(judge.yes)))
    return score if judge.no is None else ops.add(score, ops.scale(ops.dense(last, Linear(words.row(judge.no))), -1.0))


def _linear(spec: ModelSpec, tensors: Weights, rows: int | None = None) -> Linear:
    """A head of bge-m3 from its own file, a state dict of ``weight`` and ``bias``; ``rows`` are as many as it has."""
    width = spec.family.hidden_size
    count = (*tensors.shape("weight"), 0)[0] if rows is None else rows
    return Linear(tensors.head("weight", count, width), tensors.head("bias", count))
