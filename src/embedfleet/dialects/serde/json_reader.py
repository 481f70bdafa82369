"""A reader of JSON tokens that fails with serde_json's messages at serde_json's line and column.

Source of the order of checks, the words and the positions: serde_json 1.0 (src/de.rs, src/read.rs, src/error.rs).
"""

import re
from typing import Final

from mypy_extensions import mypyc_attr

_SPACE = re.compile(rb"[ \n\t\r]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_DIGITS = re.compile(rb"[0-9]*")
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES: Final = {
    ord('"'): b'"', ord("\\"): b"\\", ord("/"): b"/", ord("b"): b"\x08", ord("f"): b"\x0c", ord("n"): b"\n",
    ord("r"): b"\r", ord("t"): b"\t",
}  # fmt: skip
_DEPTH: Final = 128  # maximum nesting of lists and objects; skipped ones do not count
_LARGEST: Final = 2**64 - 1
_LEAST: Final = -(2**63)
# Length of the longest integer in this range, with its minus. Python refuses to parse thousands of digits.
_MOST_DIGITS: Final = 20
_LARGEST_EXPONENT: Final = 2**31 - 1

END: Final = -1
QUOTE: Final = ord('"')
MINUS: Final = ord("-")
OPEN_LIST: Final = ord("[")
CLOSE_LIST: Final = ord("]")
OPEN_MAP: Final = ord("{")
CLOSE_MAP: Final = ord("}")
COMMA: Final = ord(",")
COLON: Final = ord(":")
DIGITS: Final = frozenset(b"0123456789")
_WORDS: Final[dict[int, tuple[bytes, bool | None]]] = {
    ord("n"): (b"ull", None),
    ord("t"): (b"rue", True),
    ord("f"): (b"alse", False),
}

EOF_VALUE: Final = "EOF while parsing a value"
EOF_LIST: Final = "EOF while parsing a list"
EOF_MAP: Final = "EOF while parsing an object"
_EOF_STRING: Final = "EOF while parsing a string"
EXPECTED_VALUE: Final = "expected value"
KEY: Final = "key must be a string"
LIST_COMMA: Final = "expected `,` or `]`"
MAP_COMMA: Final = "expected `,` or `}`"
TRAILING_COMMA: Final = "trailing comma"
TRAILING: Final = "trailing characters"
_NUMBER: Final = "invalid number"
_RANGE: Final = "number out of range"
_ESCAPE: Final = "invalid escape"
_LONE: Final = "lone leading surrogate in hex escape"
_END_OF_HEX: Final = "unexpected end of hex escape"
_CODE_POINT: Final = "invalid unicode code point"
_CONTROL: Final = "control character (\\u0000-\\u001F) found while parsing a string"


@mypyc_attr(native_class=False)  # a weak reference to a native class with an interpreted base crashes the process
class Fault(Exception):
    """A fault in a body.

    Attributes:
        message: Message without path and position.
        is_data: Whether the body is JSON of a wrong type; False for a syntax error.
        at: Position of the fault, in bytes; negative until it is known.
        path: Path of the value, such as ``inputs[3]``; None until it is known.
    """

    def __init__(self, message: str, at: int = -1, *, is_data: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.is_data = is_data
        self.path: str | None = None


class JsonReader:
    """A position in a JSON text.

    Attributes:
        body: The text.
        index: Index of the next byte.
    """

    __slots__ = ("_depth", "body", "index")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.index = 0
        self._depth = _DEPTH

    def peek(self) -> int:
        """Return the next byte that is not white space, or `END`; it is not consumed."""
        body = self.body
        at = self.index
        if at < len(body) and body[at] > 32:
            return body[at]
        found = _SPACE.match(body, at)
        if found is not None:
            self.index = found.end()
        return self.bare()

    def bare(self) -> int:
        """Return the next byte, or `END`; it is not consumed."""
        return self.body[self.index] if self.index < len(self.body) else END

    def take(self) -> None:
        """Consume one byte."""
        self.index += 1

    def fault(self, message: str) -> Fault:
        """Make a syntax error at the last consumed byte."""
        return Fault(message, self.index)

    def fault_ahead(self, message: str) -> Fault:
        """Make a syntax error at the next byte."""
        return Fault(message, min(len(self.body), self.index + 1))

    def enter(self) -> None:
        """Consume the opening bracket of a list or an object.

        Raises:
            Fault: It is nested too deeply.
        """
        self._depth -= 1
        if not self._depth:
            raise self.fault_ahead("recursion limit exceeded")
        self.index += 1

    def leave(self) -> None:
        """Record the end of a list or an object."""
        self._depth += 1

    def word(self, first: int) -> bool | None:
        """Consume null, true or false, whose first byte is next.

        Raises:
            Fault: Another word comes next.
        """
        rest, value = _WORDS[first]
        self.index += 1
        for byte in rest:
            found = self.bare()
            if found == END:
                raise self.fault(EOF_VALUE)
            self.index += 1
            if found != byte:
                raise self.fault("expected ident")
        return value

    def string(self) -> str:
        """Consume a string, whose opening quote is next.

        Raises:
            Fault: The string does not end, or has an invalid escape, control character or UTF-8.
        """
        self.index += 1
        pieces: list[bytes] = []
        while True:
            byte = self._plain(pieces)
            self.index += 1
            if byte == QUOTE:
                break
            if byte != ord("\\"):
                raise self.fault(_CONTROL)
            pieces.append(self._escaped())
        try:
            return b"".join(pieces).decode()
        except UnicodeDecodeError:
            raise self.fault(_CODE_POINT) from None

    def skip_string(self) -> None:
        """Skip a string. As in serde_json, invalid UTF-8 and lone surrogates are accepted here, unlike in `string`."""
        self.index += 1
        while True:
            byte = self._plain(None)
            if byte == QUOTE:
                self.index += 1
                return
            if byte != ord("\\"):
                raise self.fault(_CONTROL)
            self.index += 1
            byte = self._next_of_string()
            if byte == ord("u"):
                self._hex()
            elif byte not in _ESCAPES:
                raise self.fault(_ESCAPE)

    def _plain(self, pieces: list[bytes] | None) -> int:
        """Consume the bytes of a string up to a quote, a backslash or a control character, and return that byte."""
        found = _PLAIN.match(self.body, self.index)
        if found is not None:
            self.index = found.end()
            if pieces is not None:
                pieces.append(found.group())
        byte = self.bare()
        if byte == END:
            raise self.fault(_EOF_STRING)
        return byte

    def _next_of_string(self) -> int:
        byte = self._within_string()
        self.index += 1
        return byte

    def _within_string(self) -> int:
        byte = self.bare()
        if byte == END:
            raise self.fault(_EOF_STRING)
        return byte

    def _escaped(self) -> bytes:
        """Consume an escape sequence after its backslash, and return its character in UTF-8."""
        byte = self._next_of_string()
        if byte != ord("u"):
            if byte not in _ESCAPES:
                raise self.fault(_ESCAPE)
            return _ESCAPES[byte]
        number = self._hex()
        if 0xDC00 <= number <= 0xDFFF:
            raise self.fault(_LONE)
        if 0xD800 <= number <= 0xDBFF:
            for byte in b"\\u":
                if self._within_string() != byte:
                    self.index += 1
                    raise self.fault(_END_OF_HEX)
                self.index += 1
            low = self._hex()
            if not 0xDC00 <= low <= 0xDFFF:
                raise self.fault(_LONE)
            number = 0x10000 + ((number - 0xD800) << 10 | low - 0xDC00)
        return chr(number).encode()

    def _hex(self) -> int:
        if self.index + 4 > len(self.body):
            self.index = len(self.body)
            raise self.fault(_EOF_STRING)
        found = _HEX.match(self.body, self.index)
        self.index += 4
        if found is None:
            raise self.fault(_ESCAPE)
        return int(found.group(), 16)

    def number(self, *, is_skipped: bool = False) -> int | float:
        """Consume a number, whose minus or first digit is next.

        Args:
            is_skipped: Whether the value is not needed, so that it may be too large.

        Raises:
            Fault: It is not a number, or too large for a float.
        """
        start = self.index
        if self.bare() == MINUS:
            self.index += 1
        self._integer(is_skipped)
        is_whole = True
        if self.bare() == ord("."):
            is_whole = False
            self._fraction(is_skipped)
        if self.bare() in (ord("e"), ord("E")):
            is_whole = False
            self._exponent(is_skipped)
        text = self.body[start : self.index]
        if is_skipped:
            return 0
        if is_whole and text != b"-0" and len(text) <= _MOST_DIGITS and _LEAST <= int(text) <= _LARGEST:
            return int(text)
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise self.fault(_RANGE)
        return value

    def _integer(self, is_skipped: bool) -> None:
        first = self.bare()
        if first == END and not is_skipped:
            raise self.fault(EOF_VALUE)
        self.index = min(self.index + 1, len(self.body))
        if first not in DIGITS:
            raise self.fault(_NUMBER)
        if first != ord("0"):
            self._digits()
        elif self.bare() in DIGITS:
            raise self.fault_ahead(_NUMBER)

    def _fraction(self, is_skipped: bool) -> None:
        self.index += 1
        if not self._digits():
            raise self.fault_ahead(EOF_VALUE if self.bare() == END and not is_skipped else _NUMBER)

    def _exponent(self, is_skipped: bool) -> None:
        self.index += 1
        sign = self.bare()
        if sign in (ord("+"), MINUS):
            self.index += 1
        first = self.bare()
        if first == END and not is_skipped:
            raise self.fault(EOF_VALUE)
        self.index = min(self.index + 1, len(self.body))
        if first not in DIGITS:
            raise self.fault(_NUMBER)
        self._digits()

    def _digits(self) -> int:
        """Consume digits, and return their number."""
        found = _DIGITS.match(self.body, self.index)
        count = 0 if found is None else found.end() - self.index
        self.index += count
        return count

    def colon(self) -> None:
        """Consume the colon between a key and its value.

        Raises:
            Fault: Something else comes next.
        """
        found = self.peek()
        if found != COLON:
            raise self.fault_ahead(EOF_MAP if found == END else "expected `:`")
        self.index += 1

    def skip(self) -> None:
        """Skip a value of any depth.

        Raises:
            Fault: It is not JSON.
        """
        frames: list[int] = []
        while True:
            found = self.peek()
            if found in (OPEN_LIST, OPEN_MAP):
                frames.append(found)
                self.index += 1
                is_first = True
            else:
                self._skip_one(found)
                is_first = False
            if not self._skip_to_next(frames, is_first):
                return

    def _skip_one(self, found: int) -> None:
        if found == END:
            raise self.fault_ahead(EOF_VALUE)
        if found in _WORDS:
            self.word(found)
        elif found == QUOTE:
            self.skip_string()
        elif found == MINUS or found in DIGITS:
            self.number(is_skipped=True)
        else:
            raise self.fault_ahead(EXPECTED_VALUE)

    def _skip_to_next(self, frames: list[int], is_first: bool) -> bool:
        """Move to the next value in the open lists and objects; return False if none is left open."""
        while frames:
            frame = frames[-1]
            found = self.peek()
            if found == (CLOSE_LIST if frame == OPEN_LIST else CLOSE_MAP):
                frames.pop()
                self.index += 1
                is_first = False
                continue
            if found == END:
                raise self.fault_ahead(EOF_LIST if frame == OPEN_LIST else EOF_MAP)
            if not is_first:
                if found != COMMA:
                    raise self.fault_ahead(LIST_COMMA if frame == OPEN_LIST else MAP_COMMA)
                self.index += 1
            if frame == OPEN_MAP:
                self._skip_key()
            return True
        return False

    def _skip_key(self) -> None:
        found = self.peek()
        if found != QUOTE:
            raise self.fault_ahead(EOF_MAP if found == END else KEY)
        self.skip_string()
        self.colon()
