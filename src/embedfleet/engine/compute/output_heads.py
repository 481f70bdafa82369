"""Outputs of a model, computed from its last hidden states by the operations of any backend."""

from collections.abc import Sequence

from embedfleet.engine.compute.output import Output
from embedfleet.engine.families.ops import Linear, Ops, V
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.generative_reranker import LogitScore
from embedfleet.engine.model.model_kind import ModelKind
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.model_folder.file_names import COLBERT_LINEAR, SPARSE_LINEAR

_OUTPUTS: dict[ModelKind, tuple[Output, ...]] = {
    "embedding": (Output.STATES,),
    "classifier": (Output.CLASSES,),
    "reranker": (Output.CLASSES,),
    "splade": (Output.WORDS,),
}


def outputs_of(spec: ModelSpec) -> tuple[Output, ...]:
    """Outputs that a model has."""
    own = _OUTPUTS[spec.kind]
    return (*own, Output.LEXICAL, Output.COLBERT) if spec.has_m3_heads else own


def compute_outputs(spec: ModelSpec, ops: Ops[V], weights: Weights, outputs: Sequence[Output]) -> dict[Output, V]:
    """Run a model's body once and compute outputs from its last hidden states.

    Args:
        spec: Specification of the model.
        ops: Operations of the backend.
        weights: Weights of the model.
        outputs: Outputs to compute, from `outputs_of`.

    Returns:
        Rows of each output. For ``WORDS``, these are word logits [tokens, vocabulary] before pooling.

    Raises:
        ModelError: A tensor is missing, its shape is not the config's, or the family has no such head.
    """
    states = spec.family.states(ops, weights)
    rows: dict[Output, V] = {}
    for output in outputs:
        if output is Output.STATES:
            rows[output] = states
        elif output is Output.CLASSES:
            rows[output] = (
                spec.family.class_logits(ops, weights, states, len(spec.id2label))
                if spec.logit_score is None
                else _logit_score(spec, spec.logit_score, ops, weights, states)
            )
        elif output is Output.WORDS:
            rows[output] = spec.family.word_logits(ops, weights, states)
        elif output is Output.LEXICAL:
            rows[output] = ops.activate(ops.dense(states, _linear(spec, weights.beside(SPARSE_LINEAR), rows=1)), "relu")
        elif output is Output.COLBERT:
            rows[output] = ops.dense(states, _linear(spec, weights.beside(COLBERT_LINEAR)))
    return rows


def _logit_score(spec: ModelSpec, score: LogitScore, ops: Ops[V], weights: Weights, states: V) -> V:
    """Score of a generative reranker, [sequences, 1]; only the logits of its two tokens are computed."""
    shape = (spec.family.vocabulary, spec.family.hidden_size)
    words = weights.body(spec.family.anchor, *shape) if score.is_tied else weights.head("lm_head.weight", *shape)
    last = ops.last(states)
    logit = ops.dense(last, Linear(words.row(score.true_token)))
    if score.false_token is None:
        return logit
    return ops.add(logit, ops.scale(ops.dense(last, Linear(words.row(score.false_token))), -1.0))


def _linear(spec: ModelSpec, tensors: Weights, rows: int | None = None) -> Linear:
    """Find a head of bge-m3 in its own file, a state dict of ``weight`` and ``bias``.

    Args:
        spec: Specification of the model.
        tensors: Tensors of the file.
        rows: Number of rows that the head must have; None for any number.
    """
    width = spec.family.hidden_size
    count = (*tensors.shape("weight"), 0)[0] if rows is None else rows
    return Linear(tensors.head("weight", count, width), tensors.head("bias", count))
