"""Replaces a ``null`` that TEI refuses, as LiteLLM and other clients send it, by the field's default. Pure.

TEI 1.9 answers ``"encoding_format": null`` with 400, and nulls of similar fields with 422. Everything else of the body
stays byte for byte, so that a replica still finds its other faults.
"""

import re
from typing import Final

from embedfleet.dialects.routes import ROUTES

_DEFAULTS: Final = {
    name.encode(): default
    for route in ROUTES
    if route.struct is not None
    for name, default in route.struct.null_defaults().items()
}


def _is_null(name: bytes) -> "re.Pattern[bytes]":
    """Make a pattern that finds a field whose value is null.

    Every quote within a JSON string has a backslash before it. So what stands between two quotes without one is a whole
    string, and with a colon behind it a key. The pattern begins with the name because that is searched for quickly,
    however long the body is.
    """
    return re.compile(rb'("%b"(?<!\\"%b")[ \t\r\n]*:[ \t\r\n]*)null\b' % (name, name))


_NULLS: Final = tuple((name, _is_null(name), rb"\g<1>" + default) for name, default in _DEFAULTS.items())


def fill_nulls(body: bytes) -> bytes:
    """Replace each null of such a field in a body by the field's default."""
    for name, is_null, filled in _NULLS:
        if name in body:
            body = is_null.sub(filled, body)
    return body
