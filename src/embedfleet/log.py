"""Log lines on stderr: for people, or one JSON object each."""

import atexit
import json
import logging
import re
import sys
import time
from textwrap import indent
from typing import Any

from embedfleet.system.standard_streams import outlets, unblock

log = logging.getLogger(__name__)

# Would end a line, move a terminal's cursor, change its colours, or turn its text around.
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]")
# What every record has; anything else came by `extra` and is a field of the event.
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, the event's fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
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
    """Time, level, message. Whatever others had a say in, a line is one line, and nothing else begins as one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback indented below it if there is one."""
        message = record.getMessage()
        if not message.isprintable():
            message = _CONTROL.sub(_escaped, message)
        line = f"{_timestamp(record)} {record.levelname.lower():7} {message}"
        if not record.exc_info:
            return line
        told = "\n".join(_CONTROL.sub(_escaped, row) for row in self.formatException(record.exc_info).splitlines())
        return f"{line}\n{indent(told, '  ')}"


def set_up(level: str, style: str) -> None:
    """Send this process's log to stderr, and have nobody wait any more for who reads that, or stdout.

    Args:
        level: debug, info, warning or error.
        style: text or json.
    """
    formatter = JsonFormatter() if style == "json" else TextFormatter()

    def missing(lines: int) -> str:
        text = "%d lines were dropped here, for nobody read them"
        record = log.makeRecord(log.name, logging.WARNING, "", 0, text, (lines,), None, extra={"dropped": lines})
        return formatter.format(record) + "\n"

    sys.stdout, sys.stderr = unblock(sys.stdout, missing), unblock(sys.stderr, missing)
    for outlet in outlets():
        atexit.register(outlet.drain)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def dropped_lines() -> int:
    """What this process had to say and nobody read, on stdout and stderr."""
    return sum(outlet.dropped for outlet in outlets())


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
