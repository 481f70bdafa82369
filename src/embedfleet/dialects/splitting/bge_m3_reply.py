"""Joining of replies to ``/encode``: for each of bge-m3's outputs, the lists of all parts become one list.

`dialects.serving.bge_m3` has the shape. The names of the outputs are outside the lists, and the only strings within the
lists are token ids. So the names can be found by their bytes.
"""

from collections.abc import Sequence

import orjson
from typing_extensions import override

from embedfleet.dialects.splitting.list_reply import MATRICES, VECTORS, WEIGHTS, ListReply
from embedfleet.dialects.splitting.reply import PartReply, ReplyShape, mismatch, parse

_LISTS: dict[bytes, ListReply] = {b"dense_vecs": VECTORS, b"lexical_weights": WEIGHTS, b"colbert_vecs": MATRICES}


class BgeM3Reply(ReplyShape):
    """``{"dense_vecs": [[f32]], "lexical_weights": [{id: f32}], "colbert_vecs": [[[f32]]]}``, at least one of them."""

    __slots__ = ()

    @override
    def check(self, count: int, reply: bytes) -> None:
        for name, rows in _sections(count, reply).items():
            _LISTS[name].check(count, rows)

    @override
    def separate(self, reply: bytes, costs: Sequence[int]) -> list[bytes]:
        sections = _sections(len(costs), reply)
        columns = [(name, _LISTS[name].separate(rows, costs)) for name, rows in sections.items()]
        return [
            b"{%b}" % b",".join([b'"%b":%b' % (name, rows[item]) for name, rows in columns])
            for item in range(len(costs))
        ]

    @override
    def join(self, parts: Sequence[PartReply]) -> bytes:
        found = [(items, _sections(len(items), reply)) for items, reply in parts]
        names = found[0][1].keys()
        for (items, sections), (_, reply) in zip(found, parts, strict=True):
            if sections.keys() != names:
                raise mismatch(len(items), reply)
        joined = [
            b'"%b":%b' % (name, _LISTS[name].join([(items, sections[name]) for items, sections in found]))
            for name in names
        ]
        return b"{%b}" % b",".join(joined)


def _sections(count: int, reply: bytes) -> dict[bytes, bytes]:
    """The list of each output, as bytes; a reply that is not compact is parsed and written again.

    Raises:
        Malformed: The reply has no output, or an unknown one.
    """
    starts = {name: reply.find(b'"%b":[' % name) for name in _LISTS}
    names = [name for name, start in starts.items() if start >= 0]
    edges = [*(starts[name] for name in names), len(reply)]
    is_compact = names and reply.startswith(b'{"') and reply.endswith(b"]}") and edges == sorted(edges)
    if not is_compact or edges[0] != 1 or not all(reply[edge - 2 : edge] == b"]," for edge in edges[1:-1]):
        value = parse(reply)
        if not isinstance(value, dict) or not value or not {key.encode() for key in value} <= _LISTS.keys():
            raise mismatch(count, reply)
        return {name: orjson.dumps(value[name.decode()]) for name in _LISTS if name.decode() in value}
    return {
        name: reply[start + len(name) + 3 : end - 1] for name, start, end in zip(names, edges, edges[1:], strict=False)
    }


BGE_M3 = BgeM3Reply(is_per_token=True)
