"""Logging to stderr, as text lines or as one JSON object a line."""

import atexit
import json
import logging
import re
import sys
import time
from textwrap import indent
from typing import Any

from typing_extensions import override

from embedfleet.system.standard_streams import buffered_streams, unblock

log = logging.getLogger(__name__)

# Characters that end a line, move a terminal's cursor, change its colours, or reverse the direction of text.
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]")
# Attributes of every record; all others come from `extra` and are fields of the event.
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats records as one JSON object per line: time, level, logger, message, the event's fields, any traceback."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Formats records as lines with time, level and message, and a traceback indented below.

    Control characters in a message are escaped, so that data from outside cannot forge a line.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if not message.isprintable():
            message = _CONTROL.sub(_escaped, message)
        line = f"{_timestamp(record)} {record.levelname.lower():7} {message}"
        if not record.exc_info:
            return line
        told = "\n".join(_CONTROL.sub(_escaped, row) for row in self.formatException(record.exc_info).splitlines())
        return f"{line}\n{indent(told, '  ')}"


def set_up(level: str, style: str) -> None:
    """Send this process's log to stderr, and make stdout and stderr non-blocking.

    Args:
        level: Lowest severity: debug, info, warning or error.
        style: Format: text or json.
    """
    formatter = JsonFormatter() if style == "json" else TextFormatter()

    def missing(lines: int) -> str:
        text = "%d lines were dropped here, because nothing read them"
        record = log.makeRecord(log.name, logging.WARNING, "", 0, text, (lines,), None, extra={"dropped": lines})
        return formatter.format(record) + "\n"

    sys.stdout, sys.stderr = unblock(sys.stdout, missing), unblock(sys.stderr, missing)
    for stream in buffered_streams():
        atexit.register(stream.drain)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def dropped_lines() -> int:
    """Count the lines on stdout and stderr that this process dropped because nothing read them."""
    return sum(stream.dropped for stream in buffered_streams())


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
