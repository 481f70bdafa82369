"""The structs that TEI declares for the bodies of its routes.

Source: TEI 1.9.3 (router/src/http/types.rs). Names and numbers of fields are part of its error messages.
"""

from typing import Any, Final

from embedfleet.dialects.serde.predict_input import PredictInput
from embedfleet.dialects.serde.shapes import (
    ANYTHING,
    Boolean,
    Choice,
    Count,
    Listing,
    Optional,
    Text,
    Untagged,
    are_texts,
)
from embedfleet.dialects.serde.structs import Absent, Field, Struct

_LARGEST_ID: Final = 2**32 - 1


def _is_ids(value: Any) -> bool:  # noqa: ANN401 - a JSON value
    return isinstance(value, list) and all(map(_is_id, value))


def _is_id(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_ID


def _is_one_input(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) or _is_ids(value)


def _is_input(value: Any) -> bool:  # noqa: ANN401
    return _is_one_input(value) or (isinstance(value, list) and all(map(_is_one_input, value)))


def _is_tokenize_input(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) or are_texts(value)


def _is_list_of_ids(value: Any) -> bool:  # noqa: ANN401
    return _is_ids(value) or (isinstance(value, list) and all(map(_is_ids, value)))


_INPUT: Final = Untagged("Input", _is_input)
_FLAG: Final = Boolean()
_TEXT: Final = Text()
_TRUNCATE: Final = Field("truncate", Optional(_FLAG), Absent.DEFAULT)
_DIRECTION: Final = Field(
    "truncation_direction", Choice("Left", "left", "Right", "right"), Absent.DEFAULT, null_default=b'"Right"'
)
_PROMPT: Final = Field("prompt_name", Optional(_TEXT), Absent.NONE)
_RAW_SCORES: Final = Field("raw_scores", _FLAG, Absent.DEFAULT, null_default=b"false")
_DIMENSIONS: Final = Field("dimensions", Optional(Count()), Absent.NONE)

EMBED: Final = Struct(
    "EmbedRequest",
    Field("inputs", _INPUT),
    _TRUNCATE,
    _DIRECTION,
    _PROMPT,
    Field("normalize", _FLAG, Absent.DEFAULT, null_default=b"true"),
    _DIMENSIONS,
)
EMBED_ALL: Final = Struct("EmbedAllRequest", Field("inputs", _INPUT), _TRUNCATE, _DIRECTION, _PROMPT)
EMBED_SPARSE: Final = Struct("EmbedSparseRequest", Field("inputs", _INPUT), _TRUNCATE, _DIRECTION, _PROMPT)
EMBEDDINGS: Final = Struct(
    "OpenAICompatRequest",
    Field("input", _INPUT),
    Field("model", Optional(_TEXT), Absent.NONE),
    Field("user", Optional(_TEXT), Absent.NONE),
    Field("encoding_format", Choice("float", "base64"), Absent.DEFAULT, null_default=b'"float"'),
    _DIMENSIONS,
)
RERANK: Final = Struct(
    "RerankRequest",
    Field("query", _TEXT),
    Field("texts", Listing(_TEXT)),
    _TRUNCATE,
    _DIRECTION,
    _RAW_SCORES,
    Field("return_text", _FLAG, Absent.DEFAULT, null_default=b"false"),
)
PREDICT: Final = Struct(
    "PredictRequest",
    Field("inputs", PredictInput()),
    Field("truncate", Optional(_FLAG), Absent.NONE),
    _DIRECTION,
    _RAW_SCORES,
)
SIMILARITY: Final = Struct(
    "SimilarityRequest",
    Field(
        "inputs",
        Struct("SimilarityInput", Field("source_sentence", _TEXT), Field("sentences", Listing(_TEXT))),
    ),
    Field(
        "parameters",
        Optional(Struct("SimilarityParameters", Field("truncate", Optional(_FLAG), Absent.NONE), _DIRECTION, _PROMPT)),
        Absent.NONE,
    ),
)
TOKENIZE: Final = Struct(
    "TokenizeRequest",
    Field("inputs", Untagged("TokenizeInput", _is_tokenize_input)),
    Field("add_special_tokens", _FLAG, Absent.DEFAULT, null_default=b"true"),
    _PROMPT,
)
DECODE: Final = Struct(
    "DecodeRequest",
    Field("ids", Untagged("InputIds", _is_list_of_ids)),
    Field("skip_special_tokens", _FLAG, Absent.DEFAULT, null_default=b"true"),
)
VERTEX: Final = Struct("VertexRequest", Field("instances", Listing(ANYTHING)))
