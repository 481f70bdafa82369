"""Options: fields of a settings record that carry their help and their bounds.

Name, type and default are the field's own; help and bounds are in its metadata. Flags, environment variables, keys of
fleet.toml and the reference page are all made from these fields.
"""

import math
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Scalar = bool | int | float | str
Value = Scalar | tuple[str, ...]

_KEY = "option"
_LONGEST_S = 10**9  # every float option is a time in seconds, and clocks and timers overflow above this
_LARGEST = 2**53  # above this, JSON readers may lose precision
_SHOWN = 100  # maximum characters of a value in a message
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Option:
    """The definition of one option.

    Attributes:
        name: Key in fleet.toml; the flag has dashes for underscores.
        types: Types of a value: bool, int, float, str, or tuple for a list of texts.
        choices: Allowed words; empty if every text is allowed.
        default: Value of an option that is not set.
        help: Help text, one line.
        minimum: Smallest allowed number; None for no bound.
        maximum: Largest allowed number; None for no bound.
        may_be_empty: Whether the empty text is a value.
    """

    name: str
    types: tuple[type, ...]
    choices: tuple[str, ...]
    default: Value
    help: str
    minimum: float | None
    maximum: float | None
    may_be_empty: bool

    @property
    def flag(self) -> str:
        """Name of the command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def takes(self) -> str:
        """Description of the allowed values, for messages."""
        if self.types == (bool,):
            return "true or false"
        words = {int: "a whole number", float: "a number", str: "a text", tuple: "a list of texts"}
        parts = [words[kind] for kind in self.types if kind is not str or not self.choices]
        parts += [f'"{choice}"' for choice in self.choices]
        bounds = {
            (False, False): "",
            (True, False): f", at least {self.minimum}",
            (False, True): f", at most {self.maximum}",
            (True, True): f", {self.minimum} to {self.maximum}",
        }
        return " or ".join(parts) + bounds[self.minimum is not None, self.maximum is not None]

    def check(self, value: object) -> str:
        """Describe what is wrong with a parsed value; empty if it is valid."""
        if isinstance(value, list | tuple):
            sound = tuple in self.types and value and all(isinstance(item, str) and item for item in value)
            return "".join(map(_text_fault, value)) if sound else self._not_taken(value)
        kinds = (*self.types, int) if float in self.types else self.types
        if type(value) not in kinds or (isinstance(value, str) and self.choices and value not in self.choices):
            return self._not_taken(value)
        if isinstance(value, str):
            return _text_fault(value) if value or self.may_be_empty else "is empty"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number_fault(value)
        return ""

    def is_unset(self, text: str) -> bool:
        """Whether the text of a flag or variable leaves the option unset, such as `${X:-}` without X."""
        return not text and not self.may_be_empty

    def parse(self, text: str) -> object:
        """Convert the text of a flag or variable to a value; return an invalid text unchanged, for `check` to refuse.

        Commas separate a list of texts.
        """
        if bool in self.types:
            return _WORDS.get(text.lower(), text)
        for kind in (int, float):
            if kind in self.types:
                try:
                    return kind(text)
                except ValueError:
                    continue
        if tuple in self.types and text not in self.choices:
            return tuple(part.strip() for part in text.split(","))
        return text

    def _number_fault(self, value: float) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return self._not_taken(value)
        maximum = (_LONGEST_S if float in self.types else _LARGEST) if self.maximum is None else self.maximum
        if self.minimum is not None and value < self.minimum:
            return f"{show(value)} is below {self.minimum}"
        return f"{show(value)} is above {maximum}" if value > maximum else ""

    def _not_taken(self, value: object) -> str:
        return f"{show(value)} is not {self.takes}"


def option(
    default: Value,
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    may_be_empty: bool = False,
) -> Any:  # noqa: ANN401 - typed as `dataclasses.field` is, for the same reason
    """Make a dataclass field that is an option; an option with an empty default may be empty."""
    return field(default=default, metadata={_KEY: (text, minimum, maximum, may_be_empty or default == "")})


def show(value: object) -> str:
    """Return a value as text for a message, truncated if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with too many digits, or tables nested too deep
        return "a value that is too long to show"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _text_fault(text: str) -> str:
    """Describe characters that no file name, flag or reply can contain; empty if there are none."""
    if "\0" in text:
        return f"{show(text)} has a null character"
    try:
        text.encode()
    except UnicodeEncodeError:  # Python decodes variables and flags that are not UTF-8 to lone surrogates
        return f"{show(text)} is not UTF-8"
    return ""


def options_of(record: type) -> dict[str, Option]:
    """List the options of a settings record, by name."""
    hints = get_type_hints(record)
    found = {}
    for item in fields(record):
        if _KEY in item.metadata:
            types, choices = _types(hints[item.name])
            default: Any = item.default
            found[item.name] = Option(item.name, types, choices, default, *item.metadata[_KEY])
    return found


def _types(hint: Any) -> tuple[tuple[type, ...], tuple[str, ...]]:  # noqa: ANN401 - a type annotation
    """Read the types and the allowed words from an annotation such as ``int | Literal["auto"]``."""
    parts = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    types: list[type] = []
    choices: list[str] = []
    for part in parts:
        if get_origin(part) is Literal:
            types.append(str)
            choices += get_args(part)
        else:
            types.append(get_origin(part) or part)
    return tuple(types), tuple(choices)
