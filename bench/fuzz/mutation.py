"""Random changes to a request. Pure: the random source is an argument."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
_TYPES = (
    None,
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "APPLICATION/JSON",
    "application/",
    "\t",
)
_NUMBERS = (0, -1, 1, 2**31, 2**32, 2**63, 2**64 - 1, -(2**63), 0.5, -0.0, 1e-320, 1e308, 3.0)
_TEXTS = (
    "", " ", "\x00", "a" * 5000, "\u202e", "\ufeff", "\U0010ffff", "\ud7ff", "é" * 300, "[CLS]", "</s>",
    "[SEP][PAD][MASK]",
    "\U00013000", "\u0301" * 500, "\r\n\r\n", '"', "\\", "null", "日本語" * 100, "word " * 700,
)  # fmt: skip
_RAW = (
    b"NaN",
    b"Infinity",
    b"-",
    b"1e999",
    b'"\\ud800"',
    b'"\xff"',
    b"[" * 3000,
    b"{}}",
    b"01",
    b"tru",
    b'"a":1',
    b"\x00",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send."""

    method: str
    path: str
    body: bytes
    content_type: str | None


def mutated(request: Request, random: Random) -> Request:
    """A request with one to three changes."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        request = random.choices(_MUTATIONS, weights=_WEIGHTS)[0](request, random)
    return request


def _value(request: Request, random: Random) -> Request:
    """Change a value in the body."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return _bytes(request, random)
    return Request(request.method, request.path, orjson.dumps(_replaced(body, random)), request.content_type)


def _replaced(value: Any, random: Random) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: _replaced(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        place = random.randrange(len(value))
        return [*value[:place], _replaced(value[place], random), *value[place + 1 :]]
    return odd_value(random)


def odd_value(random: Random, depth: int = 0) -> Any:  # noqa: ANN401 - JSON
    """An arbitrary value."""
    kind = random.randrange(8 if depth < 4 else 5)
    match kind:
        case 0:
            return random.choice(_NUMBERS)
        case 1:
            return random.choice(_TEXTS)
        case 2:
            return random.choice((None, True, False))
        case 3:
            return "".join(chr(_point(random)) for _ in range(random.randrange(40)))
        case 4:
            return random.randrange(2**32)
        case 5:
            return {
                random.choice(("inputs", "a", "", "texts")): odd_value(random, depth + 1)
                for _ in range(random.randrange(4))
            }
        case _:
            return [odd_value(random, depth + 1) for _ in range(random.choice((0, 1, 2, 5, 40)))]


def _point(random: Random) -> int:
    """A valid character of any Unicode plane."""
    point = random.randrange(random.choice((128, 0x3000, 0x10000, 0x110000)))
    return 0x41 if 0xD800 <= point < 0xE000 else point


def _bytes(request: Request, random: Random) -> Request:
    """Remove, double, flip or insert bytes of the body."""
    body, place = bytearray(request.body), random.randrange(len(request.body) + 1)
    match random.randrange(4):
        case 0:
            del body[place:]
        case 1:
            body += body[place:]
        case 2 if body:
            body[place % len(body)] ^= 1 << random.randrange(8)
        case _:
            body[place:place] = random.choice(_RAW)
    return Request(request.method, request.path, bytes(body), request.content_type)


def _twice(request: Request, random: Random) -> Request:
    """Repeat a key."""
    end = request.body.find(b'"', 2)
    if not request.body.startswith(b'{"') or end < 0:
        return _bytes(request, random)
    name = request.body[1 : end + 1]
    extra = b"{%b:%b," % (name, orjson.dumps(odd_value(random)))
    return Request(request.method, request.path, extra + request.body[1:], request.content_type)


def _frame(request: Request, random: Random) -> Request:
    """Change method, content type or path."""
    match random.randrange(3):
        case 0:
            return Request(random.choice(_METHODS), request.path, request.body, request.content_type)
        case 1:
            return Request(request.method, request.path, request.body, random.choice(_TYPES))
        case _:
            path = request.path + random.choice(("/", "?a=b", "%20", "//", "/..", "%00", ";x", "?" + "y" * 500))
            return Request(request.method, path, request.body, request.content_type)


_MUTATIONS: Sequence[Callable[[Request, Random], Request]] = (_value, _bytes, _twice, _frame)
_WEIGHTS = (12, 4, 2, 1)
