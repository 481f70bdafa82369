"""The commands that the dispatcher returns for its caller to execute."""

from dataclasses import dataclass
from enum import StrEnum

from embedfleet.errors import ServingError
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request


class Failure(StrEnum):
    """Kind of a replica's failure to answer."""

    REFUSED = "refused"
    RESET = "reset"  # this connection and all others to its process ended
    BROKEN = "broken"  # this connection alone ended: the process is alive
    MALFORMED = "malformed"
    TIMED_OUT = "timed_out"
    STARVED = "starved"  # nothing was sent: the gateway had no files, memory or ports left for a connection


@dataclass(slots=True)
class Send:
    """Send the chunk to the replica; if another replica already has it, this is a copy."""

    chunk: Chunk
    replica: Replica


@dataclass(slots=True)
class Cancel:
    """Close the connection on which the chunk went to the replica, because its answer is no longer needed."""

    chunk: Chunk
    replica: Replica


@dataclass(slots=True)
class Relay:
    """Answer the chunk's request with the reply that a replica has just given to the chunk."""

    chunk: Chunk


@dataclass(slots=True)
class Join:
    """Answer the request with the joined replies to its parts."""

    request: Request


@dataclass(slots=True)
class Refuse:
    """Answer the request with an error of the gateway."""

    request: Request
    error: ServingError
    reason: str


@dataclass(slots=True)
class Separate:
    """Serve each client of a shared request alone, because there is no room for all or a replica died with a text."""

    request: Request


@dataclass(slots=True)
class Probe:
    """Probe the replica by inference, and report the result to `Dispatcher.probed`."""

    replica: Replica


@dataclass(slots=True)
class Forget:
    """Close the connections of a replica that has drained and was removed."""

    replica: Replica


RequestCommand = Send | Cancel | Relay | Join | Refuse | Separate
"""Command about a request."""

Command = RequestCommand | Probe | Forget


def request_of(command: RequestCommand) -> Request:
    """Return the request that a command is about."""
    return command.chunk.request if isinstance(command, Send | Relay | Cancel) else command.request
