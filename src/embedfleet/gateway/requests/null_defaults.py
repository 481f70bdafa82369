"""Replacement of nulls that LiteLLM and other clients send, but TEI refuses, by the field's default. Pure.

TEI 1.9 answers ``"encoding_format": null`` with 400, and nulls of similar fields with 422. The rest of the
body stays the same byte for byte, so that a replica still finds other faults in it.
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
    """Compile a pattern that finds a field whose value is null.

    Within a JSON string, a backslash precedes every quote. So the text between two quotes without a backslash is a
    whole string; if a colon follows, it is a key. The pattern begins with the name, because a search for a literal is
    fast in a long body.
    """
    return re.compile(rb'("%b"(?<!\\"%b")[ \t\r\n]*:[ \t\r\n]*)null\b' % (name, name))


_NULLS: Final = tuple((name, _is_null(name), rb"\g<1>" + default) for name, default in _DEFAULTS.items())


def fill_nulls(body: bytes) -> bytes:
    """Replace each null that TEI refuses in a body by the field's default."""
    for name, is_null, filled in _NULLS:
        if name in body:
            body = is_null.sub(filled, body)
    return body
