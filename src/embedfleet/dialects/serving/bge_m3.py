"""bge-m3's own dialect: requests for any of its three outputs, and the weights of outputs in a score.

The names of the fields are those of FlagEmbedding 1.4 (``BGEM3FlagModel.encode`` and ``compute_score``), which clients
of the model know: ``return_dense``, ``return_sparse``, ``return_colbert_vecs`` → ``dense_vecs``, ``lexical_weights``,
``colbert_vecs``. The other fields of a request are those of TEI's ``/embed``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedfleet.arrays import Floats
from embedfleet.dialects.json_body import Fields, Json
from embedfleet.dialects.serving.tei import EmbedRequest, parse_embed, render
from embedfleet.errors import Validation

_OUTPUTS = {"dense": "dense_vecs", "sparse": "lexical_weights", "colbert": "colbert_vecs"}


@dataclass(frozen=True, slots=True)
class EncodeRequest:
    """Body of ``/encode``: the inputs, and the outputs to return."""

    embed: EmbedRequest
    dense: bool
    sparse: bool
    colbert: bool


@dataclass(frozen=True, slots=True)
class Scoring:
    """Weight of each output in a score; an output of weight 0 is not computed."""

    dense: float = 0.0
    sparse: float = 0.0
    colbert: float = 0.0

    @property
    def total(self) -> float:
        """Sum of the weights; never 0."""
        return self.dense + self.sparse + self.colbert


@dataclass(frozen=True, slots=True)
class Encoding:
    """The outputs for one text; None for those that were not requested.

    Attributes:
        dense: Vector of norm 1, [dimensions].
        lexical: Weights above 0 by token id.
        colbert: Vectors of norm 1, [tokens, dimensions].
    """

    dense: Floats | None = None
    lexical: dict[int, float] | None = None
    colbert: Floats | None = None


def parse_encode(fields: Fields) -> EncodeRequest:
    """Read ``/encode``.

    Raises:
        Validation: The request asks for no output.
    """
    request = EncodeRequest(
        parse_embed(fields),
        dense=fields.boolean("return_dense", default=True),
        sparse=fields.boolean("return_sparse", default=False),
        colbert=fields.boolean("return_colbert_vecs", default=False),
    )
    if not (request.dense or request.sparse or request.colbert):
        raise Validation("no output is requested: set `return_dense`, `return_sparse` or `return_colbert_vecs` to true")
    return request


def parse_scoring(fields: Fields) -> Scoring | None:
    """Read ``score``: the name of an output, or an object with a weight for each; None if it is absent.

    Raises:
        Validation: The value is neither, a weight is negative, or all weights are 0.
    """
    value = fields.optional("score")
    if value is None:
        return None
    weights = {value: 1.0} if isinstance(value, str) else value
    if not isinstance(weights, dict) or not weights.keys() <= _OUTPUTS.keys():
        raise _wrong(value)
    if not all(isinstance(weight, (int, float)) and not isinstance(weight, bool) for weight in weights.values()):
        raise _wrong(value)
    scoring = Scoring(**{name: float(weight) for name, weight in weights.items()})
    if min(scoring.dense, scoring.sparse, scoring.colbert) < 0 or not 0 < scoring.total < float("inf"):
        raise _wrong(value)
    return scoring


def render_encodings(encodings: Sequence[Encoding]) -> bytes:
    """Write the reply of ``/encode``: for each requested output, a list with one answer per text."""
    rows: dict[str, list[Any]] = {}
    for encoding in encodings:
        for name, value in (("dense", encoding.dense), ("sparse", encoding.lexical), ("colbert", encoding.colbert)):
            if value is not None:
                shown = {str(token): weight for token, weight in value.items()} if isinstance(value, dict) else value
                rows.setdefault(_OUTPUTS[name], []).append(shown)
    return render(rows)


def _wrong(value: Json) -> Validation:
    return Validation(
        f"`score` is {value!r}, but must be dense, sparse or colbert, "
        'or an object of weights, none negative and one above 0, such as {"dense": 1, "sparse": 0.3, "colbert": 1}'
    )
