"""OpenAI's dialect as TEI 1.9 serves it: ``/v1/embeddings`` (source: OpenAI's API reference)."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedfleet.arrays import Floats
from embedfleet.dialects.json_body import Fields
from embedfleet.dialects.serving.tei import Input, parse_inputs, render


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """Body of ``/v1/embeddings``; ``model`` and ``user`` are checked and ignored."""

    inputs: Sequence[Input]
    batch: bool
    base64: bool
    dimensions: int | None


def parse_embeddings(fields: Fields) -> EmbeddingsRequest:
    """Read ``/v1/embeddings``."""
    inputs, batch = parse_inputs(fields, "input")
    fields.optional_string("model")
    fields.optional_string("user")
    encoding = fields.choice("encoding_format", {"float": "float", "base64": "base64"}, default="float")
    return EmbeddingsRequest(inputs, batch, encoding == "base64", fields.optional_count("dimensions"))


def render_embeddings(vectors: Floats, *, base64: bool, model: str, tokens: int) -> bytes:
    """Write the reply of ``/v1/embeddings``.

    Args:
        vectors: Vectors, [inputs, dimensions].
        base64: Whether to write them as little-endian float32 in standard base64 instead of numbers.
        model: Name of the served model.
        tokens: Number of tokens of all inputs together.
    """
    data: list[dict[str, Any]] = [
        {"object": "embedding", "embedding": _encode(vector) if base64 else vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return render({"object": "list", "data": data, "model": model, "usage": usage})


def _encode(vector: Floats) -> str:
    return b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")
