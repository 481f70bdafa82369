"""Readers of request bodies: each finds the texts in a body of one shape, for the gateway to split.

For a body of another shape, a reader returns None; the body goes whole to a replica, which refuses it in TEI's words.
"""

from abc import ABCMeta, abstractmethod
from array import array
from typing import ClassVar, TypeGuard

from typing_extensions import override

from embedfleet.dialects.json_body import Json
from embedfleet.dialects.splitting.list_reply import PREDICTION
from embedfleet.dialects.splitting.reply import ReplyShape
from embedfleet.dialects.splitting.texts import Inputs, Object, RerankTexts, Sentences, Texts, TextsToClassify
from embedfleet.errors import Validation

_STRING = {str}


class BodyReader(metaclass=ABCMeta):
    """A shape of request bodies.

    Attributes:
        summary: Short description of the shape, for the reference page.
        is_rerank: Whether the texts are ranked by a query.
    """

    __slots__ = ("summary",)

    is_rerank: ClassVar[bool] = False

    def __init__(self, summary: str) -> None:
        self.summary = summary

    @abstractmethod
    def read(self, operation: str, reply: ReplyShape, fields: Object, most: int) -> Texts | None:
        """Find the texts of a request; None if the body has another shape.

        Args:
            operation: Name of the operation in the table of routes.
            reply: Shape of the reply to a list of texts.
            fields: Fields of the body.
            most: Maximum number of texts in a request.

        Raises:
            Validation: The request has more than ``most`` texts.
        """


class InputsReader(BodyReader):
    """Texts or lists of token ids in one field, or a single text or list of ids.

    Args:
        name: Name of the field.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__(f"`{name}`: texts or token ids")
        self._name = name

    @override
    def read(self, operation: str, reply: ReplyShape, fields: Object, most: int) -> Texts | None:
        name = self._name
        value = fields.get(name)
        if type(value) is str:
            return Inputs(operation, fields, [value], reply, name)
        if type(value) is not list:
            return None
        if not value or isinstance(value[0], int):
            return Inputs(operation, fields, [value], reply, name) if _are_ids(value) else None
        _check_count(value, most)
        types = {*map(type, value)}
        if types == _STRING or (types <= {str, list} and all(type(item) is str or _are_ids(item) for item in value)):
            return Inputs(operation, fields, value, reply, name)
        return None


class RerankReader(BodyReader):
    """Texts to rank by a query."""

    __slots__ = ()

    is_rerank = True

    def __init__(self) -> None:
        super().__init__("`query`, and `texts` to rank by it")

    @override
    def read(self, operation: str, reply: ReplyShape, fields: Object, most: int) -> Texts | None:
        texts = fields.get("texts")
        if type(texts) is not list or type(fields.get("query")) is not str:
            return None
        _check_count(texts, most)
        return RerankTexts(operation, fields, texts, reply) if _are_strings(texts) else None


class PredictReader(BodyReader):
    """Texts and pairs: ``"a"`` and ``["a"]`` are one text, ``["a", "b"]`` is a pair, a list of lists is a batch."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("`inputs`: texts and pairs of texts")

    @override
    def read(self, operation: str, reply: ReplyShape, fields: Object, most: int) -> Texts | None:
        value = fields.get("inputs")
        if type(value) is str or _is_text_or_pair(value):
            return TextsToClassify(operation, fields, [value], PREDICTION)
        if type(value) is not list:
            return None
        _check_count(value, most)
        return TextsToClassify(operation, fields, value, reply) if value and all(map(_is_text_or_pair, value)) else None


class SimilarityReader(BodyReader):
    """Sentences to compare with a source sentence."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("`inputs`: a source sentence and sentences")

    @override
    def read(self, operation: str, reply: ReplyShape, fields: Object, most: int) -> Texts | None:
        inputs = fields.get("inputs")
        if type(inputs) is not dict or type(inputs.get("source_sentence")) is not str:
            return None
        sentences = inputs.get("sentences")
        if type(sentences) is not list:
            return None
        _check_count(sentences, most)
        return Sentences(operation, fields, sentences, reply) if _are_strings(sentences) else None


def _check_count(texts: list[Json], most: int) -> None:
    """Refuse too many texts before the reader looks at any of them."""
    if len(texts) > most:
        raise Validation(f"batch size {len(texts)} > maximum allowed batch size {most}")


def _are_strings(value: Json) -> TypeGuard[list[str]]:
    """Whether a value is a list of at least one string."""
    return type(value) is list and {*map(type, value)} == _STRING


def _are_ids(value: list[Json]) -> bool:
    """Whether all items are unsigned 32-bit integers or booleans; a replica refuses the booleans.

    Building an array is much faster than a loop over thousands of ids.
    """
    try:
        array("I", value)
    except (TypeError, OverflowError):
        return False
    return True


def _is_text_or_pair(value: Json) -> bool:
    return type(value) is list and len(value) <= 2 and _are_strings(value)
