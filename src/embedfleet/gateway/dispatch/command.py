"""What the dispatcher wants done."""

from dataclasses import dataclass
from enum import StrEnum

from embedfleet.errors import ServingError
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request


class Failure(StrEnum):
    """How a replica failed to answer."""

    REFUSED = "refused"
    RESET = "reset"  # and with it all that connected us to its process
    BROKEN = "broken"  # the connection alone: the process lives
    MALFORMED = "malformed"
    TIMED_OUT = "timed_out"
    STARVED = "starved"  # it was not asked: no connection could be made for want of files, memory or ports of our own


@dataclass(slots=True)
class Send:
    """Send the chunk to the replica; as a copy, if it is at another already."""

    chunk: Chunk
    replica: Replica


@dataclass(slots=True)
class Cancel:
    """Close the connection on which the chunk went to the replica: nobody wants its answer."""

    chunk: Chunk
    replica: Replica


@dataclass(slots=True)
class Relay:
    """Answer the chunk's request with the reply that a replica has just given to the chunk."""

    chunk: Chunk


@dataclass(slots=True)
class Join:
    """Answer the request: each of its parts was answered."""

    request: Request


@dataclass(slots=True)
class Refuse:
    """Answer with an error of ours."""

    request: Request
    error: ServingError
    reason: str


@dataclass(slots=True)
class Separate:
    """Ask for each of its clients alone: for all at once there is no room, or a replica died with them."""

    request: Request


@dataclass(slots=True)
class Probe:
    """Find out by inference whether the replica works; report it to `Dispatcher.probed`."""

    replica: Replica


@dataclass(slots=True)
class Forget:
    """The replica has drained and is gone: close its connections."""

    replica: Replica


OfRequest = Send | Cancel | Relay | Join | Refuse | Separate
"""About a request."""

Command = OfRequest | Probe | Forget


def request_of(command: OfRequest) -> Request:
    """Whom it is about."""
    return command.chunk.request if isinstance(command, Send | Relay | Cancel) else command.request
