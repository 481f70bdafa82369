"""Reading and parsing of fleet.toml."""

import codecs
import tomllib
from pathlib import Path
from typing import Any

from embedfleet.errors import Fault

_MOST_BYTES = 1_000_000
_SYNTAX = 'put texts into double quotes, as in gpu = "T4"; see docs/reference/settings.md'


def read_bytes(file: Path) -> tuple[bytes, list[Fault]]:
    """Read a file, which may be a pipe.

    Returns:
        The content without a fault, or empty content with the fault.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        return b"", [Fault(str(file), f"cannot be read: {error.strerror}", _how_to_read(file))]
    if len(content) > _MOST_BYTES:
        return b"", [Fault(str(file), f"has more than {_MOST_BYTES} bytes", "is it the settings file?")]
    return content, []


def parse(content: bytes, name: str) -> tuple[dict[str, Any], list[Fault]]:
    """Parse TOML, with or without a byte-order mark.

    Args:
        content: Content of the file.
        name: Name of the file, for messages.
    """
    try:
        return tomllib.loads(content.removeprefix(codecs.BOM_UTF8).decode()), []
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return {}, [Fault(name, f"is not TOML: line {line} is not UTF-8", "save it as UTF-8")]
    except tomllib.TOMLDecodeError as error:
        return {}, [Fault(name, f"is not TOML: {error}", _SYNTAX)]
    except ValueError:  # Python's limit on the digits of a number (sys.set_int_max_str_digits)
        return {}, [
            Fault(name, "has a number with too many digits", "see docs/reference/settings.md for what is allowed")
        ]
    except RecursionError:
        return {}, [Fault(name, "has brackets nested too deep to be parsed", _SYNTAX)]


def salvage(content: bytes) -> dict[str, Any]:
    """Read ``[fleet]`` from a file that is not valid TOML, by keeping each line that is valid by itself."""
    found: dict[str, Any] = {}
    section = b""
    for line in content.removeprefix(codecs.BOM_UTF8).splitlines():
        if line.lstrip().startswith(b"["):
            section = line.partition(b"#")[0].replace(b" ", b"")
        elif section == b"[fleet]":
            found |= parse(line, "")[0]
        elif not section and line.lstrip().startswith(b"fleet"):
            fleet = parse(line, "")[0].get("fleet")
            found |= fleet if isinstance(fleet, dict) else {}
    return {"fleet": found}


def _how_to_read(file: Path) -> str:
    if file.is_dir():
        return f"name a file, such as {file / 'fleet.toml'}"
    return "name a file that exists and can be read"
