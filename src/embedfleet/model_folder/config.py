"""Reader of a model's JSON files, whose errors name the file, the key and the value."""

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from embedfleet.errors import ModelError
from embedfleet.model_folder.file import check_file

_LARGEST = 10_000_000  # limit of every size of a model; tables and loops for larger sizes would never end
_SURROGATE = "\\ud"


class ModelConfig:
    """A JSON object on disk, most often config.json.

    Attributes:
        file: File of the object.
        values: Keys and values of the object.

    Raises:
        ModelError: The file is missing, unreadable or not an object.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        values = parse_json(file)
        if not isinstance(values, dict):
            raise ModelError(f"{file} does not hold a JSON object")
        self.values: dict[str, Any] = values

    def filled(self, defaults: Mapping[str, object]) -> "ModelConfig":
        """Copy the config, with ``defaults`` for absent keys."""
        other = copy(self)
        other.values = {**defaults, **self.values}
        return other

    def number(self, key: str, default: int | None = None, at_most: int | None = _LARGEST) -> int:
        """Read a whole number of at least 0.

        Args:
            key: Key of the number.
            default: Number if the key is absent or null; None if the key is required.
            at_most: Largest allowed number; None for no limit.

        Raises:
            ModelError: The value is something else, or missing without a default.
        """
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(f"{self.file}: `{key}` is {value!r}, it must be a whole number")
        if value < 0 or (at_most is not None and value > at_most):
            limits = "at least 0" if at_most is None else f"from 0 to {at_most}"
            raise ModelError(f"{self.file}: `{key}` is {value}, it must be {limits}")
        return value

    def real(self, key: str, default: float) -> float:
        """Read a number; ``default`` if the key is absent or null.

        Raises:
            ModelError: The value is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ModelError(f"{self.file}: `{key}` is {value!r}, it must be a number")
        try:
            return float(value)
        except OverflowError as error:
            raise ModelError(f"{self.file}: `{key}` is {value}, which exceeds the largest number") from error

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false; ``default`` if the key is absent or null.

        Raises:
            ModelError: The value is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ModelError(f"{self.file}: `{key}` is {value!r}, it must be true or false")
        return value

    def choice(self, key: str, allowed: dict[str, Any], default: str) -> Any:  # noqa: ANN401 - the type of the caller's entries
        """Read a string, and return its entry in ``allowed``.

        Args:
            key: Key of a string.
            allowed: Supported value → entry to return.
            default: Value if the key is absent or null.

        Raises:
            ModelError: The value is not in ``allowed``.
        """
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str) or value not in allowed:
            raise ModelError(f"{self.file}: {key} {value!r} is not supported", f"supported: {', '.join(allowed)}")
        return allowed[value]


def parse_json(file: Path) -> object:
    """Read the value of a JSON file.

    Raises:
        ModelError: The file is missing, a git-lfs pointer, or not valid JSON.
    """
    check_file(file)
    try:
        return _parsed(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error


def _parsed(text: str) -> object:
    """Parse JSON, and refuse a lone surrogate: JSON can escape one, but no reply in UTF-8 can contain it.

    Raises:
        ValueError: The text is not JSON, or has a lone surrogate.
    """
    value: object = json.loads(text)
    if _SURROGATE in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
