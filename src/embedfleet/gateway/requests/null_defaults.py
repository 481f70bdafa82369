"""Defaults for fields that are ``null`` although TEI does not accept that, as LiteLLM and other clients send them.

TEI 1.9 refuses ``"encoding_format": null`` with 400, and other such fields with 422. The default is written in place of
the null; everything else stays byte for byte, so that a replica still finds what is wrong with the rest.
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
    """Return the pattern of a field that is null.

    A quote within a string has a backslash before it. So the text between two quotes without one is a whole string, and
    with a colon behind it a key. The pattern begins with the name, so that long bodies are searched quickly.
    """
    return re.compile(rb'("%b"(?<!\\"%b")[ \t\r\n]*:[ \t\r\n]*)null\b' % (name, name))


_NULLS: Final = tuple((name, _is_null(name), rb"\g<1>" + default) for name, default in _DEFAULTS.items())


def fill_nulls(body: bytes) -> bytes:
    """Return a request's JSON with the default in place of each such null."""
    for name, is_null, filled in _NULLS:
        if name in body:
            body = is_null.sub(filled, body)
    return body
