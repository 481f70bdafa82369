"""Joining of TEI's ``x-compute-*`` and ``x-*-time`` reply headers over the parts of a request (TEI 1.9, server.rs)."""

from collections.abc import Callable, Iterable, Sequence

from embedfleet.http.message import Header

# Amounts of work, compute time among them, are summed. Of the other times, the longest counts.
_JOINED: dict[bytes, Callable[[Iterable[int]], int]] = {
    b"x-compute-time": sum,
    b"x-compute-characters": sum,
    b"x-compute-tokens": sum,
    b"x-total-time": max,
    b"x-tokenization-time": max,
    b"x-queue-time": max,
    b"x-inference-time": max,
}


def join_headers(parts: Sequence[Sequence[Header]]) -> list[Header]:
    """Make the headers of the joined reply: those of the first part, with counts and times over all parts.

    A count or time that any part lacks is omitted. The length of the body is omitted too, because the joined body has
    another length.

    Args:
        parts: Headers of each part's reply, with names in lower case.
    """
    by_name = [dict(reversed(headers)) for headers in parts]
    joined: list[Header] = []
    for name, value in parts[0]:
        join = _JOINED.get(name)
        if join is None:
            if name != b"content-length":
                joined.append((name, value))
            continue
        values = [headers.get(name, b"") for headers in by_name]
        if all(map(bytes.isdigit, values)):
            joined.append((name, b"%d" % join(map(int, values))))
    return joined
