"""A replica whose answers depend only on the texts, so that replies to a request and to its parts can be compared."""

from zlib import crc32

import numpy as np
import orjson
from hypothesis import strategies as st

from embedfleet.dialects.json_body import read_object
from embedfleet.dialects.serving import bge_m3, openai, tei

JSON = b"application/json"
_EMBEDDING = ["/embed", "/embed_all", "/embed_sparse", "/encode", "/v1/embeddings", "/embeddings"]
PATHS = [*_EMBEDDING, "/rerank", "/predict", "/similarity"]

LABELS = ["]],[[", '"}],[{"score":null', '\\"}]]']
MODEL = '}],"model":"\\'
# Few values, so that there are ties; some are written with an exponent.
SCORES = np.array([0.0, -0.0, 1.0, 0.1, 0.7, 1e-7, -3.4e14, 2.5e20], dtype=np.float32)


def answer(path, body, *, poison=False):
    """Answer a request; with ``poison``, the answer to its last text is NaN."""
    fields = read_object(JSON, body)
    return _ANSWERS[path](fields, poison)


def _seed(*inputs):
    return crc32(orjson.dumps(inputs))


def _vector(source, size=3):
    vector = np.random.default_rng(source).normal(size=size).astype(np.float32)
    return vector * np.float32(10.0) ** np.float32(source % 30 - 15)


def _nan(arrays, poison):
    if poison:
        arrays[-1] = np.full_like(arrays[-1], np.nan)
    return arrays


def _embed(fields, poison):
    return tei.render(_nan([_vector(_seed(item)) for item in tei.parse_embed(fields).inputs], poison))


def _embed_all(fields, poison):
    inputs = tei.parse_embed(fields).inputs
    return tei.render(_nan([np.array([_vector(_seed(i, n)) for n in range(1 + len(i) % 3)]) for i in inputs], poison))


def _embed_sparse(fields, poison):
    inputs = tei.parse_embed(fields).inputs
    vectors = _nan([_vector(_seed(item), _seed(item) % 3 + poison) for item in inputs], poison)
    return tei.render([[{"index": i * 7, "value": v} for i, v in enumerate(vector)] for vector in vectors])


def _encode(fields, poison):
    request = bge_m3.parse_encode(fields)
    vectors = _nan([_vector(_seed(item)) for item in request.embed.inputs], poison)
    return bge_m3.render_encodings(
        [
            bge_m3.Encoding(
                vector if request.dense else None,
                dict(enumerate(vector[: 1 + int(number) % 3])) if request.sparse else None,
                np.array([vector] * (1 + int(number) % 3)) if request.colbert else None,
            )
            for number, vector in zip(map(_seed, request.embed.inputs), vectors, strict=True)
        ]
    )


def _rerank(fields, poison):
    request = tei.parse_rerank(fields)
    scores = SCORES[[_seed(request.query, text) % len(SCORES) for text in request.texts]]
    if poison:
        scores[-1] = np.nan
    return tei.render_ranks(scores, request.texts if request.return_text else None)


def _predict(fields, poison):
    request = tei.parse_predict(fields)
    rows = [tei.predictions(row, LABELS) for row in _nan([_vector(_seed(i)) for i in request.inputs], poison)]
    return tei.render(rows if request.batch else rows[0])


def _similarity(fields, poison):
    request = tei.parse_similarity(fields)
    scores = [_vector(_seed(request.source, sentence), 1) for sentence in request.sentences]
    return tei.render(np.concatenate(_nan(scores, poison)))


def _embeddings(fields, poison):
    request = openai.parse_embeddings(fields)
    vectors = np.array(_nan([_vector(_seed(item)) for item in request.inputs], poison))
    tokens = sum(2 + len(item) for item in request.inputs)
    return openai.render_embeddings(vectors, base64=request.base64, model=MODEL, tokens=tokens)


_ANSWERS = {
    "/embed": _embed,
    "/embed_all": _embed_all,
    "/embed_sparse": _embed_sparse,
    "/encode": _encode,
    "/rerank": _rerank,
    "/predict": _predict,
    "/similarity": _similarity,
    "/v1/embeddings": _embeddings,
    "/embeddings": _embeddings,
}

_TRAPS = [
    "",
    "],[",
    "null",
    "NaN",
    '{"index":0,"score":1}',
    '},{"index":0,"score":9',
    '"index":1',
    '\\"}],[{"score":',
    "\x00é😀",
]
TEXT = st.sampled_from(_TRAPS) | st.text(max_size=6)
IDS = st.lists(st.integers(0, 2**32 - 1), max_size=3)
MANY = {"min_size": 2, "max_size": 7}


def _object(fields, optional):
    anything = st.recursive(st.none() | st.booleans() | TEXT, lambda children: st.lists(children, max_size=2))
    unknown = st.dictionaries(st.sampled_from(["x", "é"]), anything)
    return st.builds(lambda extra, known: {**extra, **known}, unknown, st.fixed_dictionaries(fields, optional=optional))


_INPUTS = st.lists(TEXT | IDS, **MANY).filter(lambda items: items)
_EMBED = _object({"inputs": _INPUTS}, {"truncate": st.booleans(), "normalize": st.booleans()})
_OPENAI = _object({"input": _INPUTS}, {"encoding_format": st.sampled_from(["float", "base64"]), "user": TEXT})
REQUESTS = {
    "/embed": _EMBED,
    "/embed_all": _EMBED,
    "/embed_sparse": _EMBED,
    "/encode": st.builds(
        lambda request, wanted: request | wanted | ({} if any(wanted.values()) else {"return_sparse": True}),
        _EMBED,
        st.fixed_dictionaries({f"return_{name}": st.booleans() for name in ("dense", "sparse", "colbert_vecs")}),
    ),
    "/rerank": _object({"query": TEXT, "texts": st.lists(TEXT, **MANY)}, {"return_text": st.booleans()}),
    "/predict": _object({"inputs": st.lists(st.lists(TEXT, min_size=1, max_size=2), **MANY)}, {}),
    "/similarity": _object(
        {"inputs": _object({"source_sentence": TEXT, "sentences": st.lists(TEXT, **MANY)}, {})},
        {"parameters": st.just({"truncate": True})},
    ),
    "/v1/embeddings": _OPENAI,
    "/embeddings": _OPENAI,
}
"""Requests of several texts, by path."""


@st.composite
def splits(draw, count):
    """Split the indices of ``count`` texts into parts, in any order."""
    order = list(range(count)) if draw(st.booleans()) else draw(st.permutations(range(count)))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
    return draw(st.permutations([order[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]))
