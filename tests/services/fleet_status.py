"""The status of a fleet, from its admin socket; the verb would take much CPU time for each call."""

import contextlib
import json
import socket
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

EVERY_S = 0.1  # shortest interval between two questions, because tests poll the status in loops on two cores


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class FleetStatus:
    """A client that asks fleets for their status, with a pause between two questions."""

    def __init__(self) -> None:
        self._next = 0.0

    def ask(self, folder: Path) -> dict[str, Any] | None:
        """Output of ``embedfleet status --json`` in a folder; None if its fleet does not answer at once."""
        threading.Event().wait(self._next - time.monotonic())
        self._next = time.monotonic() + EVERY_S
        with contextlib.suppress(OSError, HTTPException, ValueError):
            path = json.loads((folder / ".embedfleet/fleet.json").read_text())["socket"]
            with contextlib.closing(_UnixConnection(path)) as connection:
                connection.request("GET", "/status")
                reply = connection.getresponse()
                body = reply.read()
            if reply.status == 200:
                return {"running": True} | json.loads(body)
        return None
