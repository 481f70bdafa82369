"""JSON values as serde_json prints them in its error messages."""

from typing import Any

_LONGEST_PLAIN = 16  # digits before the point of a number without an exponent
_LEAST_PLAIN = -5  # zeros after the point of a number without an exponent, negated
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


def describe(value: Any) -> str:  # noqa: ANN401 - a JSON value
    """Name the type of a value, together with the value where serde prints it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{'true' if value else 'false'}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{format_float(value)}`"
    if isinstance(value, str):
        return f'string "{_quoted(value)}"'
    return "sequence" if isinstance(value, list) else "map"


def format_float(value: float) -> str:
    """Format a number with the fewest digits, as Rust's ryu does: ``1e20``, ``0.00001``, ``1.0``."""
    sign = "-" if repr(value).startswith("-") else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction.rstrip("0")).lstrip("0") if fraction.strip("0") else whole.lstrip("0")
    if not digits:
        return f"{sign}0.0"
    # Digits before the point; negative for numbers such as 0.001.
    point = len(whole) + int(exponent or 0)
    if whole == "0":
        point -= 1 + len(fraction) - len(fraction.lstrip("0"))
    stripped = digits.rstrip("0")
    if 0 < point <= _LONGEST_PLAIN:
        digits = digits.ljust(point, "0")
        return f"{sign}{digits[:point]}.{digits[point:] or '0'}"
    if _LEAST_PLAIN < point <= 0:
        return f"{sign}0.{'0' * -point}{stripped}"
    more = f".{stripped[1:]}" if len(stripped) > 1 else ""
    return f"{sign}{stripped[0]}{more}e{point - 1}"


def _quoted(text: str) -> str:
    """Format a string as Rust's Debug trait does."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.translate({ord(character): _escaped(character) for character in set(text)})


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"
