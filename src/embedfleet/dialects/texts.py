"""The texts of a client's request: so that some of them can be asked of one replica and the rest of others.

Source of the paths and shapes: TEI 1.9 (router/src/http/types.rs).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from embedfleet.dialects.answers import Embeddings, Part, Predictions, Ranking, Rows, Shape
from embedfleet.dialects.body import is_id, is_json
from embedfleet.http.message import JSON, Header

_QUOTES = 3  # bytes around a text in a list


class Texts:
    """See the module.

    Attributes:
        count: how many.
        extra: that each part carries besides its own: the sentence that all are compared with.
        is_rerank: whether they are passages to be ranked.
        kin: the same for requests of one text that can be one request of several, None for all others.
        divisible: whether a part of them can be asked for.
    """

    __slots__ = ("_format", "_items", "_value", "count", "divisible", "extra", "is_rerank", "kin")

    def __init__(self, form: "_Format", value: dict[str, Any], items: list[Any], *, divisible: bool) -> None:
        self._format = form
        self._value = value
        self._items = items
        self.count = len(items)
        self.extra = form.extra
        self.is_rerank = form.is_rerank
        self.divisible = divisible
        self.kin: tuple[str, bytes] | None = None

    def costs(self, tokens: Callable[[int], int]) -> list[int]:
        """Tokens of each text.

        Args:
            tokens: of a text with so many characters; an input of token ids needs no estimate.
        """
        measure = self._format.measure
        if self.count == 1:  # as most are
            size, counted = measure(self._value, self._items[0])
            return [tokens(size) if counted else size]
        return [tokens(size) if counted else size for size, counted in (measure(self._value, i) for i in self._items)]

    def characters(self) -> int:
        """Of all texts."""
        measure = self._format.measure
        if self.count == 1:
            size, counted = measure(self._value, self._items[0])
            return size if counted else 0
        return sum(size for size, counted in (measure(self._value, item) for item in self._items) if counted)

    def sizes(self) -> list[int]:
        """Bytes of each text in a body, nearly."""
        return [len(orjson.dumps(item)) + 1 for item in self._items]

    def body(self, items: Sequence[int]) -> bytes:
        """The request for some of them; whatever else it asked stays as it is."""
        return orjson.dumps(self._format.put(self._value, [self._items[item] for item in items]))

    def check(self, count: int, reply: bytes) -> None:
        """Make sure that a reply answers ``count`` of them.

        Raises:
            Malformed: another number of answers, a null, or something else altogether.
        """
        self._shape.check(reply, count)

    def join(self, parts: Sequence[Part]) -> bytes:
        """The reply to all of them, as one replica would have given it.

        Args:
            parts: the texts that were asked for, and the reply; in any order, and each in any order.

        Raises:
            Malformed: they do not answer each text once.
        """
        return self._shape.join(parts, self.count)

    def merged(self, others: Iterable["Texts"]) -> "Texts":
        """This request and others of the same `kin` as one."""
        items = self._items + [item for texts in others for item in texts._items]  # noqa: SLF001 - of its own class
        return Texts(self._format, self._value, items, divisible=True)

    def split(self, reply: bytes) -> list[bytes]:
        """The reply to all of them as replies to each alone, in order; only where there is a `kin`.

        Raises:
            Malformed: another number of answers, a null, or something else altogether.
        """
        return self._shape.split(reply, self.count)

    def rebase(self, item: int, reply: bytes) -> bytes:
        """An error that one of them met with, saying which one it was if there are several."""
        if self.count == 1:
            return reply
        try:
            error = orjson.loads(reply)
        except orjson.JSONDecodeError:
            return reply
        for name in ("error", "message"):
            if isinstance(error, dict) and isinstance(error.get(name), str):
                error[name] = f"{self._format.name}[{item}]: {error[name]}"
                return orjson.dumps(error)
        return reply

    @property
    def _shape(self) -> Shape:
        return self._format.batch if self.divisible or self._format.single is None else self._format.single


def read_texts(path: str, content_type: bytes | None, body: bytes) -> Texts | None:
    """The texts of a POST; None if the path takes none, or the body is not what the path takes: a replica refuses it.

    Args:
        path: without the query.
        content_type: of the body.
        body: as it came.
    """
    form = _FORMATS.get(path)
    if form is None or not is_json(content_type):
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    return form.read(form, value)


def join_fields(replies: Sequence[Sequence[Header]]) -> list[Header]:
    """The fields of a reply that is made of several: what was counted is summed, of times the longest counts."""
    told = [dict(fields) for fields in replies]
    joined: list[Header] = [JSON]
    for name, value in told[0].items():
        if name in _COUNTS:
            joined.append((name, b"%d" % sum(_number(fields.get(name)) for fields in told)))
        elif name in _TIMES:
            joined.append((name, b"%d" % max(_number(fields.get(name)) for fields in told)))
        elif name == b"x-compute-type":
            joined.append((name, value))
    return joined


_COUNTS = frozenset({b"x-compute-characters", b"x-compute-tokens"})
_TIMES = frozenset(
    {b"x-compute-time", b"x-total-time", b"x-tokenization-time", b"x-queue-time", b"x-inference-time"}
)  # in milliseconds


def _number(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() else 0


# size of an item, and whether it is in characters; else it is in tokens
_Size = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class _Format:
    """How one path's requests and replies look.

    Attributes:
        name: of the field, as an error calls it.
        read: finds the texts.
        put: the request with other texts in place of its own.
        measure: the size of a text.
        batch: the reply's shape.
        single: that to a single text, where it differs.
        extra: see `Texts`.
        is_rerank: see `Texts`.
        can_merge: whether several requests can be one, and its reply theirs.
    """

    name: str
    read: "Callable[[_Format, dict[str, Any]], Texts | None]"
    put: Callable[[dict[str, Any], list[Any]], dict[str, Any]]
    measure: Callable[[dict[str, Any], Any], _Size]
    batch: Shape
    single: Shape | None = None
    extra: int = 0
    is_rerank: bool = False
    can_merge: bool = False


def _read_inputs(form: _Format, value: dict[str, Any]) -> Texts | None:
    """A text or a list of token ids is one input, any other list is a batch."""
    given = value.get(form.name)
    if type(given) is str:
        texts = Texts(form, value, [given], divisible=False)
        if form.can_merge:
            texts.kin = _kin(form, value)
        return texts
    if type(given) is not list or not given:
        return None
    if all(map(is_id, given)):
        return Texts(form, value, [given], divisible=False)
    if all(map(_is_input, given)):
        return Texts(form, value, given, divisible=len(given) > 1)
    return None


def _kin(form: _Format, value: dict[str, Any]) -> tuple[str, bytes]:
    if len(value) == 1:
        return form.name, b""
    others = {name: given for name, given in value.items() if name != form.name}
    return form.name, orjson.dumps(others, option=orjson.OPT_SORT_KEYS)


def _read_predict(form: _Format, value: dict[str, Any]) -> Texts | None:
    """A list of lists is a batch, anything else one input."""
    given = value.get(form.name)
    if type(given) is list and given and all(type(item) is list for item in given):
        return Texts(form, value, given, divisible=True) if all(map(_is_sequence, given)) else None
    return Texts(form, value, [given], divisible=False) if type(given) is str or _is_sequence(given) else None


def _read_rerank(form: _Format, value: dict[str, Any]) -> Texts | None:
    texts = value.get("texts")
    if type(value.get("query")) is not str or type(texts) is not list or not _is_strings(texts):
        return None
    return Texts(form, value, texts, divisible=len(texts) > 1)


def _read_similarity(form: _Format, value: dict[str, Any]) -> Texts | None:
    inputs = value.get("inputs")
    if type(inputs) is not dict or type(inputs.get("source_sentence")) is not str:
        return None
    sentences = inputs.get("sentences")
    if type(sentences) is not list or not _is_strings(sentences):
        return None
    return Texts(form, value, sentences, divisible=len(sentences) > 1)


def _is_input(item: object) -> bool:
    return type(item) is str or (type(item) is list and bool(item) and all(map(is_id, item)))


def _is_sequence(item: object) -> bool:
    return type(item) is list and _is_strings(item) and len(item) <= 2


def _is_strings(items: list[Any]) -> bool:
    return bool(items) and all(type(item) is str for item in items)


def _put(name: str) -> Callable[[dict[str, Any], list[Any]], dict[str, Any]]:
    return lambda value, items: value | {name: items}


def _put_sentences(value: dict[str, Any], items: list[Any]) -> dict[str, Any]:
    return value | {"inputs": value["inputs"] | {"sentences": items}}


def _input_size(_: dict[str, Any], item: Any) -> _Size:  # noqa: ANN401 - a text or ids
    return len(item), type(item) is str


def _passage_size(value: dict[str, Any], item: str) -> _Size:
    return len(value["query"]) + len(item), True


def _sequence_size(_: dict[str, Any], item: Any) -> _Size:  # noqa: ANN401 - a text, or a list of one or two
    return (len(item) if type(item) is str else sum(map(len, item))), True


_EMBED = _Format("inputs", _read_inputs, _put("inputs"), _input_size, Rows(2), can_merge=True)
_OPENAI = _Format("input", _read_inputs, _put("input"), _input_size, Embeddings())
_FORMATS = {
    "/embed": _EMBED,
    "/embed_all": _Format("inputs", _read_inputs, _put("inputs"), _input_size, Rows(3)),
    "/embed_sparse": _Format("inputs", _read_inputs, _put("inputs"), _input_size, Rows(2, numbers=False)),
    "/rerank": _Format("texts", _read_rerank, _put("texts"), _passage_size, Ranking(), is_rerank=True),
    "/predict": _Format(
        "inputs",
        _read_predict,
        _put("inputs"),
        _sequence_size,
        Predictions(batch=True),
        single=Predictions(batch=False),
    ),
    "/similarity": _Format("inputs.sentences", _read_similarity, _put_sentences, _input_size, Rows(1), extra=1),
    "/v1/embeddings": _OPENAI,
    "/embeddings": _OPENAI,
}
