"""The texts of a request: their number and estimated cost, bodies for some of them, and the joined reply.

The gateway sends the texts of one request to several replicas, and the client must not notice. Only the fields that
splitting needs are read here; replicas find and report errors in a request. Shapes: TEI 1.9 (router/src/http/types.rs).
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import orjson
from typing_extensions import override

from embedfleet.dialects.error_body import add_place
from embedfleet.dialects.json_body import Json, repeats_a_key
from embedfleet.dialects.splitting.no_token_texts import (
    EXCERPT_CHARACTERS,
    MaybeTokenless,
    is_invisible,
    maybe_tokenless,
)
from embedfleet.dialects.splitting.reply import PartReply, ReplyShape

_TOKENIZATION_FIELDS = ("truncate", "truncation_direction", "prompt_name")

Object = dict[str, Json]
"""A JSON object."""


class Texts:
    """The texts of a request, and the rest of its body.

    Args:
        operation: Name of the operation in the table of routes; aliases share it.
        fields: Fields of the body.
        texts: Texts, unchanged from the body.
        reply: Shape of the reply.
        name: Name of the field that holds the texts.

    Attributes:
        count: Number of texts; 1 for a text outside of a list.
        reply: Shape of the reply.
        is_rerank: Whether the texts are ranked by a query.
        extra_inputs: Number of inputs that every part repeats besides its texts, and that count towards a replica's
            batch limit.
    """

    __slots__ = ("_fields", "_name", "_operation", "_texts", "count", "reply")

    is_rerank: ClassVar[bool] = False
    extra_inputs: ClassVar[int] = 0

    def __init__(self, operation: str, fields: Object, texts: list[Json], reply: ReplyShape, name: str) -> None:
        self._operation = operation
        self._fields = fields
        self._texts = texts
        self._name = name
        self.count = len(texts)
        self.reply = reply

    @property
    def can_split(self) -> bool:
        """Whether there is more than one text."""
        return self.count > 1

    def repeats_a_key(self, body: bytes) -> bool:
        """Whether a field may occur twice in the body, so that requests for parts could differ in meaning."""
        return repeats_a_key(body, self._fields)

    def characters(self) -> int:
        """Number of characters as TEI counts them for ``x-compute-characters``: a token id counts as one."""
        return sum(map(len, self._texts))

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """Estimate the cost of each text, in tokens.

        Args:
            tokens: Function that estimates the tokens of a text from its number of characters.
        """
        return [tokens(len(text)) for text in self._texts]

    def sizes(self) -> list[int]:
        """Size of each text in a body, with its comma, in bytes."""
        return [len(orjson.dumps(text)) + 1 for text in self._texts]

    def frame_size(self) -> int:
        """Size of a body without any text, in bytes; every part has this besides its texts."""
        return len(orjson.dumps(self._with([])))

    def body(self, items: Sequence[int]) -> bytes:
        """Write a body for some of the texts, in the given order; all other fields stay as the client sent them."""
        if self.count == 1:
            return orjson.dumps(self._fields)
        texts = self._texts
        return orjson.dumps(self._with([texts[item] for item in items]))

    @property
    def can_cache(self) -> bool:
        """Whether answers are worth keeping; those with a vector per token are large for the time that they save."""
        return self._operation != "embed_all" and not self._fields.get("return_colbert_vecs")

    @property
    def counts_tokens(self) -> bool:
        """Whether the reply has a count of tokens in its body, to which an equal text in the same request adds."""
        return self._operation == "embeddings"

    def frame(self) -> bytes:
        """Write all that decides the answers besides the texts; equal bytes mean that equal texts get equal answers.

        The order of the fields does not count, and neither does OpenAI's `user`, which only names who asks.
        """
        others = self._with([])
        if self._operation == "embeddings":
            others.pop("user", None)
        return orjson.dumps([self._operation, type(self.reply).__name__, others], option=orjson.OPT_SORT_KEYS)

    def written(self) -> list[bytes]:
        """Write each text as JSON."""
        return [orjson.dumps(text) for text in self._texts]

    def fingerprints(self) -> list[int]:
        """Make one number per text; equal numbers mean the same computation for the same text.

        Fields that only affect the use of the model's output, such as `normalize`, and unknown fields do not change the
        number. Otherwise a text that kills replicas would look like another text with each new field.
        """
        frame = hash((self._operation, orjson.dumps(self._context())))
        return [hash((frame, tuple(text) if type(text) is list else text)) for text in self._texts]

    def _context(self) -> list[Json]:
        """Values of the fields that change the computation for a text; a null counts as absent."""
        return [self._fields.get(name) for name in _TOKENIZATION_FIELDS]

    @property
    def prompt_name(self) -> Json:
        """Name of the prompt in the request; None if there is none."""
        return self._fields.get("prompt_name")

    def maybe_tokenless(self) -> list[MaybeTokenless]:
        """List the inputs that may have no token."""
        for text in self._texts:  # usually none: a visible first character excludes it
            if type(text) is not str or not " " < text[:1] < "\x7f":
                return self._check_each()
        return []

    def _check_each(self) -> list[MaybeTokenless]:
        return [
            MaybeTokenless(self._place(item), text[:EXCERPT_CHARACTERS])
            if type(text) is str
            else MaybeTokenless(self._place(item), "", text)
            for item, text in enumerate(self._texts)
            if type(text) is not str or is_invisible(text)
        ]

    def check(self, count: int, reply: bytes) -> None:
        """Check that a reply with status 200 has a complete answer to each of ``count`` texts.

        Raises:
            Malformed: The number of answers differs, an answer is incomplete, or a number is null or NaN.
        """
        self.reply.check(count, reply)

    def join(self, parts: Sequence[PartReply]) -> bytes:
        """Join replies into the reply to the whole request, byte for byte as one replica would have written it.

        Args:
            parts: Parts in any order; each text is in exactly one of them.

        Raises:
            Malformed: One of the replies would fail `check`.
        """
        return self.reply.join(parts)

    def locate_error(self, item: int, reply: bytes) -> bytes:
        """Add the place of a text in the request to the error body that a replica gave for it."""
        return add_place(reply, self._place(item)) if self.can_split else reply

    def _with(self, texts: list[Json]) -> Object:
        """Copy of the fields, with the given texts."""
        return {**self._fields, self._name: texts}

    def _place(self, item: int) -> str:
        """Place of one text in the body, such as ``inputs[3]``."""
        return f"{self._name}[{item}]"


class Inputs(Texts):
    """Texts, or token ids, to embed."""

    __slots__ = ()

    @override
    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """Estimate the cost of each text, in tokens; ids are tokens already."""
        return [tokens(len(text)) if type(text) is str else len(text) or 1 for text in self._texts]


class RerankTexts(Texts):
    """Texts to rank by a query; the model reads the query with each text, so it counts once per text."""

    __slots__ = ("_query_length",)

    is_rerank = True

    def __init__(self, operation: str, fields: Object, texts: list[str], reply: ReplyShape) -> None:
        super().__init__(operation, fields, texts, reply, "texts")
        self._query_length = len(fields["query"])

    @override
    def maybe_tokenless(self) -> list[MaybeTokenless]:
        query = self._fields["query"]
        if query and not is_invisible(query):
            return []
        beginning = query[:EXCERPT_CHARACTERS]  # the whole query is checked once, not for each text
        found = [maybe_tokenless(self._place(item), (beginning, text)) for item, text in enumerate(self._texts)]
        return [one for one in found if one is not None]

    @override
    def _context(self) -> list[Json]:
        return [self._fields["query"], *super()._context()]

    @override
    def characters(self) -> int:
        return self._query_length * self.count + sum(map(len, self._texts))

    @override
    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        query = self._query_length
        return [tokens(query + len(text)) for text in self._texts]


class TextsToClassify(Texts):
    """Texts and pairs of texts to classify; both texts of a pair count."""

    __slots__ = ()

    def __init__(self, operation: str, fields: Object, texts: list[Json], reply: ReplyShape) -> None:
        super().__init__(operation, fields, texts, reply, "inputs")

    @override
    def maybe_tokenless(self) -> list[MaybeTokenless]:
        found = [
            maybe_tokenless(self._place(item), (text,) if type(text) is str else text)
            for item, text in enumerate(self._texts)
        ]
        return [one for one in found if one is not None]

    @override
    def characters(self) -> int:
        return sum(map(_length, self._texts))

    @override
    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        return [tokens(_length(text)) for text in self._texts]


class Sentences(Texts):
    """Sentences to compare with a source sentence.

    Every part repeats the source. Its cost counts once, with the first sentence.
    """

    __slots__ = ("_source_length",)

    extra_inputs = 1

    def __init__(self, operation: str, fields: Object, texts: list[str], reply: ReplyShape) -> None:
        super().__init__(operation, fields, texts, reply, "inputs.sentences")
        self._source_length = len(fields["inputs"]["source_sentence"])

    @override
    def maybe_tokenless(self) -> list[MaybeTokenless]:
        """List the inputs that may have no token; the source is one of the inputs."""
        source = self._fields["inputs"]["source_sentence"]
        found = super().maybe_tokenless()
        if is_invisible(source):
            found.insert(0, MaybeTokenless("inputs.source_sentence", source[:EXCERPT_CHARACTERS]))
        return found

    @override
    def characters(self) -> int:
        return self._source_length + sum(map(len, self._texts))

    @override
    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        costs = [tokens(len(text)) for text in self._texts]
        costs[0] += tokens(self._source_length)
        return costs

    @override
    def _context(self) -> list[Json]:
        parameters = self._fields.get("parameters")
        values = [parameters.get(name) for name in _TOKENIZATION_FIELDS] if type(parameters) is dict else []
        return [self._fields["inputs"]["source_sentence"], *values]

    @override
    def _with(self, texts: list[Json]) -> Object:
        return {**self._fields, "inputs": {**self._fields["inputs"], "sentences": texts}}


def _length(text: str | list[str]) -> int:
    """Characters of a text, or of both texts of a pair."""
    return len(text) if type(text) is str else sum(map(len, text))
