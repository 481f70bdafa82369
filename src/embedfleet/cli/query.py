"""Questions to a running fleet, over its admin socket."""

import asyncio
from typing import Any

import orjson

from embedfleet.control.statefile import StateFile
from embedfleet.errors import FleetError, Refused, Reset, UpstreamError
from embedfleet.http.client import fetch

_TIMEOUT_S = 10.0


def ask(state: StateFile, method: str, path: str) -> dict[str, Any] | None:
    """The fleet's answer; None if no fleet runs, or it does not listen yet or any more.

    Raises:
        FleetError: it runs and does not answer.
    """
    address = state.read()
    if address is None:
        return None
    try:
        reply = asyncio.run(fetch(f"http+unix://{address.socket}:{path}", method=method, timeout_s=_TIMEOUT_S))
    except (Refused, Reset):
        return None
    except UpstreamError as error:
        raise FleetError(f"the fleet (pid {address.pid}) does not answer", f"kill {address.pid}") from error
    answer: dict[str, Any] = orjson.loads(reply.body)
    return answer
