"""Replies to ``/encode``: of each of bge-m3's outputs the lists of the parts of a request, put together.

Shape: see `dialects.serving.bge_m3`. Names stand outside of lists, and nothing within these lists is text but token
ids, so a name is found by its bytes.
"""

from collections.abc import Sequence

import orjson

from embedfleet.dialects.body import Json
from embedfleet.dialects.splitting.answers import MATRICES, VECTORS, Answers, Listing, Part, is_number, parse, unfit


class Encodings(Answers):
    """``{"dense_vecs": [[f32]], "lexical_weights": [{id: f32}], "colbert_vecs": [[[f32]]]}``, at least one of them."""

    __slots__ = ()

    def check(self, count: int, reply: bytes) -> None:
        """See `Answers`."""
        for name, rows in _sections(count, reply).items():
            _LISTINGS[name].check(count, rows)

    def join(self, parts: Sequence[Part]) -> bytes:
        """See `Answers`."""
        found = [(items, _sections(len(items), reply)) for items, reply in parts]
        names = found[0][1].keys()
        for (items, sections), (_, reply) in zip(found, parts, strict=True):
            if sections.keys() != names:
                raise unfit(len(items), reply)
        joined = [
            b'"%b":%b' % (name, _LISTINGS[name].join([(items, sections[name]) for items, sections in found]))
            for name in names
        ]
        return b"{%b}" % b",".join(joined)


def _sections(count: int, reply: bytes) -> dict[bytes, bytes]:
    """The list of each output; of a reply that is not compact, written anew.

    Raises:
        Malformed: it has none, or others.
    """
    starts = {name: reply.find(b'"%b":[' % name) for name in _LISTINGS}
    names = [name for name, start in starts.items() if start >= 0]
    edges = [*(starts[name] for name in names), len(reply)]
    is_compact = names and reply.startswith(b'{"') and reply.endswith(b"]}") and edges == sorted(edges)
    if not is_compact or edges[0] != 1 or not all(reply[edge - 2 : edge] == b"]," for edge in edges[1:-1]):
        value = parse(reply)
        if not isinstance(value, dict) or not value or not {key.encode() for key in value} <= _LISTINGS.keys():
            raise unfit(count, reply)
        return {name: orjson.dumps(value[name.decode()]) for name in _LISTINGS if name.decode() in value}
    return {
        name: reply[start + len(name) + 3 : end - 1] for name, start, end in zip(names, edges, edges[1:], strict=False)
    }


def cut_lexical(reply: bytes) -> list[int] | None:
    """Ends of ``[{id: f32}]``, where a text may have no weights."""
    if b"n" in reply or b"N" in reply or not reply.startswith(b"[{") or not reply.endswith(b"}]"):
        return None
    ends: list[int] = []
    at = reply.find(b"}")
    while at < len(reply) - 2:
        if not reply.startswith(b",{", at + 1):
            return None
        ends.append(at + 1)
        at = reply.find(b"}", at + 1)
    ends.append(len(reply) - 1)
    return ends


def _is_lexical(value: Json) -> bool:
    return isinstance(value, dict) and all(map(is_number, value.values()))


LEXICAL = Listing(cut_lexical, _is_lexical)
ENCODINGS = Encodings()
_LISTINGS: dict[bytes, Listing] = {b"dense_vecs": VECTORS, b"lexical_weights": LEXICAL, b"colbert_vecs": MATRICES}
