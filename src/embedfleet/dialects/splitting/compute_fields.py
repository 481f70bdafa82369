"""TEI's ``x-compute-*`` and ``x-*-time`` reply headers, joined over the parts of a request (TEI 1.9, server.rs)."""

from collections.abc import Callable, Iterable, Sequence

from embedfleet.http.message import Header

# What is work adds up; what is time that passed, in whole milliseconds, is that of the slowest part.
_JOINED: dict[bytes, Callable[[Iterable[int]], int]] = {
    b"x-compute-time": sum,
    b"x-compute-characters": sum,
    b"x-compute-tokens": sum,
    b"x-total-time": max,
    b"x-tokenization-time": max,
    b"x-queue-time": max,
    b"x-inference-time": max,
}


def join_fields(parts: Sequence[Sequence[Header]]) -> list[Header]:
    """The fields of the joined reply: the first part's, but for what is counted in all of them.

    A count that a part does not tell is left out, and so is the length of the body, which is another one.

    Args:
        parts: each one's fields, names in lower case.
    """
    told = [dict(reversed(fields)) for fields in parts]
    joined: list[Header] = []
    for name, value in parts[0]:
        join = _JOINED.get(name)
        if join is None:
            if name != b"content-length":
                joined.append((name, value))
            continue
        values = [fields.get(name, b"") for fields in told]
        if all(map(bytes.isdigit, values)):
            joined.append((name, b"%d" % join(map(int, values))))
    return joined
