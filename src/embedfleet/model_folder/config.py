"""A model's JSON files, read with errors that name the file, the key and the value."""

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from embedfleet.errors import ModelError
from embedfleet.model_folder.file import check_file

_LARGEST = 10_000_000  # of any size of a model: beyond, tables and loops that are made of it would not end
_SURROGATE = "\\ud"


class ModelConfig:
    """A JSON object on disk, most often config.json.

    Raises:
        ModelError: it is missing, not readable or not an object.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        values = parse_json(file)
        if not isinstance(values, dict):
            raise ModelError(f"{file} does not hold a JSON object")
        self.values: dict[str, Any] = values

    def filled(self, defaults: Mapping[str, object]) -> "ModelConfig":
        """The same file, with ``defaults`` for keys that are absent."""
        other = copy(self)
        other.values = {**defaults, **self.values}
        return other

    def number(self, key: str, default: int | None = None, at_most: int | None = _LARGEST) -> int:
        """A whole number from 0.

        Raises:
            ModelError: it is something else, or missing with no default.
        """
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(f"{self.file}: `{key}` is {value!r}, a whole number is needed")
        if value < 0 or (at_most is not None and value > at_most):
            raise ModelError(f"{self.file}: `{key}` is {value}, a number from 0 to {at_most} is needed")
        return value

    def real(self, key: str, default: float) -> float:
        """A number.

        Raises:
            ModelError: it is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ModelError(f"{self.file}: `{key}` is {value!r}, a number is needed")
        try:
            return float(value)
        except OverflowError as error:
            raise ModelError(f"{self.file}: `{key}` is {value}, too great for a number") from error

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false.

        Raises:
            ModelError: it is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ModelError(f"{self.file}: `{key}` is {value!r}, true or false is needed")
        return value

    def choice(self, key: str, allowed: dict[str, Any], default: str) -> Any:  # noqa: ANN401 - what the caller maps to
        """What ``allowed`` maps the value of ``key`` to.

        Raises:
            ModelError: it is none of ``allowed``.
        """
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str) or value not in allowed:
            raise ModelError(f"{self.file}: {key} {value!r} is not supported", f"supported: {', '.join(allowed)}")
        return allowed[value]


def parse_json(file: Path) -> object:
    """A JSON file's value.

    Raises:
        ModelError: it is missing, not itself or not readable.
    """
    check_file(file)
    try:
        return _parsed(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _parsed(text: str) -> object:
    """Raises ValueError: it is no JSON, or has half a character, which can be written so but be in no answer."""
    value: object = json.loads(text)
    if _SURROGATE in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
