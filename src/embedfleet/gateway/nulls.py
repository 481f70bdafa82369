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
# A quote within a string has a backslash before it. So what stands between two that have none is a whole string, and
# with a colon behind it a key.
_NULL: Final = re.compile(rb'(?<!\\)"(%b)"([ \t\r\n]*:[ \t\r\n]*)null\b' % b"|".join(_DEFAULTS))


def fill_nulls(body: bytes) -> bytes:
    """A request's JSON with the default of each such field that is null."""
    return _NULL.sub(_with_default, body)


def _with_default(found: "re.Match[bytes]") -> bytes:
    return b'"%b"%b%b' % (found[1], found[2], _DEFAULTS[found[1]])
