"""The texts of a request: how many there are, what they will cost, a request for some of them, a reply to all of them.

The gateway sends the texts of one request to several replicas, and its client must not be able to tell. What is read
here is only what is needed for that; what is wrong with a request is for a replica to say. Shapes: TEI 1.9
(router/src/http/types.rs).
"""

from array import array
from collections.abc import Callable, Sequence
from sys import maxsize
from typing import ClassVar, TypeGuard

import orjson

from embedfleet.dialects.body import Json, is_json, repeats_a_key
from embedfleet.dialects.excess import SMALL_BYTES, find_excess
from embedfleet.dialects.failure import name_place
from embedfleet.dialects.splitting.answers import (
    MATRICES,
    NUMBERS,
    PREDICTION,
    PREDICTIONS,
    SPARSE,
    VECTORS,
    Answers,
    Part,
)
from embedfleet.dialects.splitting.bge_m3 import ENCODINGS
from embedfleet.dialects.splitting.doubt import ASKED, Doubt, doubt_of, is_invisible
from embedfleet.dialects.splitting.openai import EMBEDDINGS
from embedfleet.dialects.splitting.ranking import RANKING
from embedfleet.errors import Validation

_Object = dict[str, Json]
_Reader = Callable[[_Object, int], "Texts | None"]

_STRING = {str}
_CUTTING = ("truncate", "truncation_direction", "prompt_name")


class Texts:
    """A request's texts and all else that it says.

    Args:
        path: of the route that they were asked for on; an alias has that of its route.
        fields: of the body.
        texts: as they are in the body.
        answers: the shape of the reply.
        name: of the field that they are in.

    Attributes:
        count: how many texts; 1 for one that is not in a list.
        is_rerank: whether they are ranked by a query.
        extra: inputs that each part has beside its texts, and that count against a replica's batch limit.
    """

    __slots__ = ("_answers", "_fields", "_name", "_path", "_texts", "count")

    is_rerank: ClassVar[bool] = False
    extra: ClassVar[int] = 0

    def __init__(self, path: str, fields: _Object, texts: list[Json], answers: Answers, name: str) -> None:
        self._path = path
        self._fields = fields
        self._texts = texts
        self._answers = answers
        self._name = name
        self.count = len(texts)

    @property
    def divisible(self) -> bool:
        """Whether there is more than one text."""
        return self.count > 1

    def repeats_a_key(self, body: bytes) -> bool:
        """Whether parts could mean something else than the body of which these are the texts: a key is there twice."""
        return repeats_a_key(body, self._fields)

    def characters(self) -> int:
        """As TEI counts them for ``x-compute-characters``: an input of ids has as many as it has ids."""
        return sum(map(len, self._texts))

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """Each text's tokens.

        Args:
            tokens: the estimate for a text of so many characters.
        """
        return [tokens(len(text)) for text in self._texts]

    def sizes(self) -> list[int]:
        """The bytes that each text takes in a body, with its comma."""
        return [len(orjson.dumps(text)) + 1 for text in self._texts]

    def frame_size(self) -> int:
        """The bytes of a body without any text: what each part takes beside its texts."""
        return len(orjson.dumps(self._with([])))

    def body(self, items: Sequence[int]) -> bytes:
        """A request for some of the texts, in the order given, all else as the client said it."""
        if self.count == 1:
            return orjson.dumps(self._fields)
        texts = self._texts
        return orjson.dumps(self._with([texts[item] for item in items]))

    def fingerprints(self) -> list[int]:
        """A number for each text, the same wherever the model computes the same of that text.

        What is only made of the result, such as `normalize`, is not in it, nor is what nobody knows: else a text that
        kills would be another text with each new field beside it.
        """
        frame = hash((self._path, orjson.dumps(self._company())))
        return [hash((frame, tuple(text) if type(text) is list else text)) for text in self._texts]

    def _company(self) -> list[Json]:
        """What else the model is given, and how a text is cut; null is as if it were not there."""
        return [self._fields.get(name) for name in _CUTTING]

    @property
    def prompt_name(self) -> Json:
        """Of the prompt that the request asks for, None if it asks for none."""
        return self._fields.get("prompt_name")

    def doubts(self) -> list[Doubt]:
        """Inputs of which a tokenizer may make no token."""
        for text in self._texts:  # mostly none: a visible character in front tells it at once
            if type(text) is not str or not " " < text[:1] < "\x7f":
                return self._doubted()
        return []

    def _doubted(self) -> list[Doubt]:
        return [
            Doubt(self._place(item), text[:ASKED]) if type(text) is str else Doubt(self._place(item), "", text)
            for item, text in enumerate(self._texts)
            if type(text) is not str or is_invisible(text)
        ]

    def check(self, count: int, reply: bytes) -> None:
        """See that a reply with status 200 holds a whole answer to each of ``count`` texts.

        Raises:
            Malformed: another number of answers, a part of one, or a null or NaN in place of a number.
        """
        self._answers.check(count, reply)

    def join(self, parts: Sequence[Part]) -> bytes:
        """The reply to the whole request, byte for byte as one replica would have written it.

        Args:
            parts: every text is in exactly one of them; in any order.

        Raises:
            Malformed: as for `check`.
        """
        return self._answers.join(parts)

    def rebase(self, item: int, reply: bytes) -> bytes:
        """The error body that one text alone was answered with, saying which text of the request it was."""
        return name_place(reply, self._place(item)) if self.divisible else reply

    def _with(self, texts: list[Json]) -> _Object:
        """The fields with other texts."""
        return {**self._fields, self._name: texts}

    def _place(self, item: int) -> str:
        """Where a text of several is in the body."""
        return f"{self._name}[{item}]"


class Inputs(Texts):
    """Texts, or token ids, to embed."""

    __slots__ = ()

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """See `Texts`; ids are tokens already."""
        return [tokens(len(text)) if type(text) is str else len(text) or 1 for text in self._texts]


class Candidates(Texts):
    """Texts to rank by a query, which is computed with each of them."""

    __slots__ = ("_query_length",)

    is_rerank = True

    def __init__(self, fields: _Object, texts: list[str]) -> None:
        super().__init__("/rerank", fields, texts, RANKING, "texts")
        self._query_length = len(fields["query"])

    def doubts(self) -> list[Doubt]:
        """See `Texts`; only where neither text nor query can be seen."""
        query = self._fields["query"]
        if query and not is_invisible(query):
            return []
        beginning = query[:ASKED]  # the whole is looked at once, not with each text
        found = [doubt_of(self._place(item), (beginning, text)) for item, text in enumerate(self._texts)]
        return [doubt for doubt in found if doubt is not None]

    def _company(self) -> list[Json]:
        return [self._fields["query"], *super()._company()]

    def characters(self) -> int:
        """See `Texts`; the query's count with each text."""
        return self._query_length * self.count + sum(map(len, self._texts))

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """See `Texts`; the query's count with each text."""
        query = self._query_length
        return [tokens(query + len(text)) for text in self._texts]


class Classified(Texts):
    """Texts and pairs of texts to classify."""

    __slots__ = ()

    def __init__(self, fields: _Object, texts: list[Json], answers: Answers) -> None:
        super().__init__("/predict", fields, texts, answers, "inputs")

    def doubts(self) -> list[Doubt]:
        """See `Texts`; of a pair, if neither text can be seen."""
        found = [
            doubt_of(self._place(item), (text,) if type(text) is str else text) for item, text in enumerate(self._texts)
        ]
        return [doubt for doubt in found if doubt is not None]

    def characters(self) -> int:
        """See `Texts`; both texts of a pair count."""
        return sum(map(_length, self._texts))

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """See `Texts`; both texts of a pair count."""
        return [tokens(_length(text)) for text in self._texts]


class Sentences(Texts):
    """Sentences to compare with a source, which goes with each part."""

    __slots__ = ("_source_length",)

    extra = 1

    def __init__(self, fields: _Object, texts: list[str]) -> None:
        super().__init__("/similarity", fields, texts, NUMBERS, "inputs.sentences")
        self._source_length = len(fields["inputs"]["source_sentence"])

    def doubts(self) -> list[Doubt]:
        """See `Texts`; and the source."""
        source = self._fields["inputs"]["source_sentence"]
        found = super().doubts()
        return [Doubt("inputs.source_sentence", source[:ASKED]), *found] if is_invisible(source) else found

    def characters(self) -> int:
        """See `Texts`; the source counts once."""
        return self._source_length + sum(map(len, self._texts))

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """See `Texts`; the source counts once, with the first sentence."""
        costs = [tokens(len(text)) for text in self._texts]
        costs[0] += tokens(self._source_length)
        return costs

    def _company(self) -> list[Json]:
        parameters = self._fields.get("parameters")
        cutting = [parameters.get(name) for name in _CUTTING] if type(parameters) is dict else []
        return [self._fields["inputs"]["source_sentence"], *cutting]

    def _with(self, texts: list[Json]) -> _Object:
        return {**self._fields, "inputs": {**self._fields["inputs"], "sentences": texts}}


def read_texts(
    path: str, content_type: bytes | None, body: bytes, most: int = maxsize, own_path: str = ""
) -> Texts | None:
    """The texts of a POST.

    Args:
        path: that was asked.
        content_type: of the body.
        body: as it came.
        most: texts that a request may have.
        own_path: what the model's own route, ``/`` and ``/invocations``, is an alias of; empty if that is not known.

    Returns:
        None where the path takes none, or the body is not of its shape: then a replica is to refuse it in its own
        words.

    Raises:
        Validation: it has more texts than it may have, or so much of anything that it is not even parsed.
    """
    reader = _READERS.get(path)
    if reader is None and path in _OWN_PATHS:
        reader = _OWN_READERS.get(own_path, _read_by_shape)
    if reader is None or not (content_type == b"application/json" or is_json(content_type)):
        return None
    if len(body) > SMALL_BYTES and (excess := find_excess(body, most)):
        raise Validation(f"the request has over {excess}: send fewer texts at once, and nothing that is not asked for")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return reader(fields, most) if type(fields) is dict else None


def _count(texts: list[Json], most: int) -> None:
    """Refuse too many texts before any of them is looked at."""
    if len(texts) > most:
        raise Validation(f"batch size {len(texts)} > maximum allowed batch size {most}")


def _reader(path: str, name: str, answers: Answers) -> _Reader:
    """Reads the inputs to embed from a field."""

    def read(fields: _Object, most: int) -> Texts | None:
        value = fields.get(name)
        if type(value) is str:
            return Inputs(path, fields, [value], answers, name)
        if type(value) is not list:
            return None
        if not value or isinstance(value[0], int):
            return Inputs(path, fields, [value], answers, name) if _are_ids(value) else None
        _count(value, most)
        types = {*map(type, value)}
        if types == _STRING or (types <= {str, list} and all(type(item) is str or _are_ids(item) for item in value)):
            return Inputs(path, fields, value, answers, name)
        return None

    return read


def _read_candidates(fields: _Object, most: int) -> Texts | None:
    texts = fields.get("texts")
    if type(texts) is not list or type(fields.get("query")) is not str:
        return None
    _count(texts, most)
    return Candidates(fields, texts) if _are_strings(texts) else None


def _read_classified(fields: _Object, most: int) -> Texts | None:
    """``"a"`` and ``["a"]`` are one text, ``["a", "b"]`` is one pair, a list of lists is a batch."""
    value = fields.get("inputs")
    if type(value) is str or _is_text_or_pair(value):
        return Classified(fields, [value], PREDICTION)
    if type(value) is not list:
        return None
    _count(value, most)
    return Classified(fields, value, PREDICTIONS) if value and all(map(_is_text_or_pair, value)) else None


def _read_sentences(fields: _Object, most: int) -> Texts | None:
    inputs = fields.get("inputs")
    if type(inputs) is not dict or type(inputs.get("source_sentence")) is not str:
        return None
    sentences = inputs.get("sentences")
    if type(sentences) is not list:
        return None
    _count(sentences, most)
    return Sentences(fields, sentences) if _are_strings(sentences) else None


def _are_strings(value: Json) -> TypeGuard[list[str]]:
    """Whether it is a list of strings, at least one."""
    return type(value) is list and {*map(type, value)} == _STRING


def _are_ids(value: list[Json]) -> bool:
    """Whether all are whole numbers of 32 bits without sign, or booleans, which a replica is left to refuse.

    To make an array of them is the quickest way to see it: no loop over thousands of ids is.
    """
    try:
        array("I", value)
    except (TypeError, OverflowError):
        return False
    return True


def _is_text_or_pair(value: Json) -> bool:
    return type(value) is list and len(value) <= 2 and _are_strings(value)


def _length(value: str | list[str]) -> int:
    return len(value) if type(value) is str else sum(map(len, value))


def _read_vectors_or_sentences(fields: _Object, most: int) -> Texts | None:
    """An embedder's own route is that for vectors, unless it was started to compare sentences: its clients know."""
    return (_read_sentences if type(fields.get("inputs")) is dict else _read_vectors)(fields, most)


def _read_by_shape(fields: _Object, most: int) -> Texts | None:
    """What can be nothing else; a text alone may be meant for an embedder or for a classifier."""
    if "query" in fields:
        return _read_candidates(fields, most)
    return _read_sentences(fields, most)


_read_vectors = _reader("/embed", "inputs", VECTORS)
_read_sparse = _reader("/embed_sparse", "inputs", SPARSE)
_read_openai = _reader("/v1/embeddings", "input", EMBEDDINGS)
_READERS: dict[str, _Reader] = {
    "/embed": _read_vectors,
    "/embed_all": _reader("/embed_all", "inputs", MATRICES),
    "/embed_sparse": _read_sparse,
    "/encode": _reader("/encode", "inputs", ENCODINGS),
    "/rerank": _read_candidates,
    "/predict": _read_classified,
    "/similarity": _read_sentences,
    "/v1/embeddings": _read_openai,
    "/embeddings": _read_openai,
}
_OWN_PATHS = frozenset({"/", "/invocations"})
_OWN_READERS: dict[str, _Reader] = {
    "/embed": _read_vectors_or_sentences,
    "/embed_sparse": _read_sparse,
    "/rerank": _read_candidates,
    "/predict": _read_classified,
}
