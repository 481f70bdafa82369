"""``null`` for a field that TEI takes no null for, as LiteLLM and other clients send it: the field's default, pure.

TEI 1.9 refuses ``"encoding_format": null`` with 400, and its kin with 422. The default is written in its place, and all
else stays byte for byte: so a replica still finds what is wrong with the rest.
"""

import re
from typing import Final

_DEFAULTS: Final = {
    b"encoding_format": b'"float"',
    b"normalize": b"true",
    b"raw_scores": b"false",
    b"return_text": b"false",
    b"truncation_direction": b'"Right"',
    b"add_special_tokens": b"true",
    b"skip_special_tokens": b"true",
}


def _is_null(name: bytes) -> "re.Pattern[bytes]":
    """A field that is null.

    A quote within a string has a backslash before it. So what stands between two that have none is a whole string, and
    with a colon behind it a key. The name comes first, for that is what is searched for quickly, however long the body.
    """
    return re.compile(rb'("%b"(?<!\\"%b")[ \t\r\n]*:[ \t\r\n]*)null\b' % (name, name))


_NULLS: Final = tuple((name, _is_null(name), rb"\g<1>" + default) for name, default in _DEFAULTS.items())


def fill_nulls(body: bytes) -> bytes:
    """A request's JSON with the default of each such field that is null."""
    for name, is_null, filled in _NULLS:
        if name in body:
            body = is_null.sub(filled, body)
    return body
