"""Keys of answers: digests of all that decides a replica's answer to a text. Pure, but for the secret of a model.

Two texts have the same key if the model, the operation, all fields of the body, the query of the target and the fields
of the head that a replica might read are equal. What cannot change an answer is a list (`_WITHOUT_EFFECT`); any other
field counts, so a field that is unknown here may cost hits, but never gives one client what only another may see. In
particular, ``authorization`` counts.

A key is BLAKE2b with 16 bytes under a secret that is new for each model. So nobody can search for two texts of one key,
and chance makes one among 10^9 texts with a probability of 10^-21.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import orjson

from embedfleet.dialects.coalescing import frame_of
from embedfleet.dialects.splitting.texts import Texts
from embedfleet.http.message import Header

KEY_BYTES: Final = 16
"""Length of a key."""
SECRET_BYTES: Final = 32
"""Length of a secret."""

# Who asks, over which hops, with which tools, how urgently, and in which form the reply may come back.
_WITHOUT_EFFECT: Final = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"baggage",
        b"cache-control",
        b"connection",
        b"content-type",
        b"date",
        b"dnt",
        b"expect",
        b"forwarded",
        b"from",
        b"host",
        b"keep-alive",
        b"origin",
        b"pragma",
        b"priority",
        b"proxy-connection",
        b"referer",
        b"te",
        b"traceparent",
        b"tracestate",
        b"transfer-encoding",
        b"upgrade-insecure-requests",
        b"user-agent",
        b"via",
        b"x-priority",
        b"x-real-ip",
        b"x-request-id",
        b"x-request-timeout-ms",
    }
)
_PREFIXES: Final = (b"x-forwarded-", b"x-b3-", b"x-stainless-", b"sec-")
_PASSING_BY: Final = (b"no-cache", b"no-store")
_MOST_FRAMES: Final = 1024
_MOST_FRAME_BYTES: Final = 1024  # longer ones, such as with a long query, are digested each time

BYPASS: Final = b"-"
"""Scope of a request that asks for a computation of its own, with ``Cache-Control: no-cache`` or ``no-store``."""


def scope_of(target: bytes, headers: Iterable[Header]) -> bytes:
    """Return what decides an answer in the head of a request, or `BYPASS`.

    Args:
        target: Path and query.
        headers: Fields, with names in lower case.
    """
    parts = [b"+" + target.partition(b"?")[2]]
    for name, value in sorted(headers):
        if name == b"cache-control" and any(one in value.lower() for one in _PASSING_BY):
            return BYPASS
        if name not in _WITHOUT_EFFECT and not name.startswith(_PREFIXES):
            parts.append(b"%b: %b" % (name, value))
    return b"\n".join(parts)


class AnswerKeys:
    """Makes the keys of one model's answers.

    Args:
        secret: Secret of the model, `SECRET_BYTES` long.

    Attributes:
        secret: Secret of the model.
    """

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._frames: dict[tuple[bytes, bytes], bytes] = {}
        self._lone: dict[tuple[bytes, bytes], bytes] = {}

    def of(self, scope: bytes, texts: Texts) -> list[bytes]:
        """Make the key of each text of a request.

        Args:
            scope: What decides an answer in the head of the request (`scope_of`).
            texts: Texts, and the rest of the body.

        Raises:
            orjson.JSONEncodeError: The body is nested too deep to be written.
        """
        key = self._frame_key(scope, texts.frame())
        return [blake2b(text, key=key, digest_size=KEY_BYTES).digest() for text in texts.written()]

    def of_lone(self, scope: bytes, text: str, others: bytes) -> bytes:
        """Make the key of the text of a request for one vector, as `of` would make it, but faster.

        Args:
            scope: What decides an answer in the head of the request (`scope_of`).
            text: The text.
            others: Rest of the body, as `coalescing.read_single` returns it.
        """
        key = self._lone.get((scope, others))
        if key is None:
            key = self._frame_key(scope, frame_of(others))
            _remember(self._lone, (scope, others), key)
        return blake2b(orjson.dumps(text), key=key, digest_size=KEY_BYTES).digest()

    def _frame_key(self, scope: bytes, frame: bytes) -> bytes:
        """Return the secret of all texts with the same rest of the request."""
        key = self._frames.get((scope, frame))
        if key is None:
            key = blake2b(b"%d %b%b" % (len(scope), scope, frame), key=self.secret, digest_size=32).digest()
            _remember(self._frames, (scope, frame), key)
        return key


def _remember(known: dict[tuple[bytes, bytes], bytes], frame: tuple[bytes, bytes], key: bytes) -> None:
    if len(frame[0]) + len(frame[1]) <= _MOST_FRAME_BYTES:
        if len(known) >= _MOST_FRAMES:
            known.clear()
        known[frame] = key
