"""Settings of one gateway process."""

from dataclasses import dataclass, field

from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.http.message import Limits
from embedfleet.types import Endpoint


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Settings of one gateway.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        listen_fd: Bound socket to accept from, in place of ``host`` and ``port``; 0 for none.
        listens_later: Whether it accepts no clients until the admin socket gets ``POST /listen``.
        replicas: Replicas to begin with; the admin socket replaces them.
        admin_path: Path of the Unix socket for membership and status; empty for none.
        admin_mode: Permissions of that socket.
        members_path: Path of a file with the replicas to begin with and which of them are drained; empty for none.
        model_path: Path of a file that keeps which model the replicas serve; empty for none.
        response_timeout_s: Seconds from sending a request to a replica to its whole reply.
        probe_timeout_s: Seconds for each part of a probe. It has to exceed the time of the longest batch, because a
            probe waits behind that.
        calibrate: Whether a new replica is measured with a few batches.
        coalesce: Whether small requests that come at the same moment are asked together.
        hold_bytes: Size of the largest reply to a whole request that is held until it is whole.
        request_texts: Most texts of one request.
        replica_body_bytes: Size of the largest body that a replica takes.
        access_log: Whether each request is a line in the log.
        drain_s: Seconds for which a stopping gateway goes on accepting, so that those in front see ``/readyz`` change.
        stop_grace_s: Seconds that exchanges under way may take after that.
        limits: Limits of the connections with clients.
        dispatch: Limits of the dispatcher.
    """

    host: str = "0.0.0.0"
    port: int = 0
    listen_fd: int = 0
    listens_later: bool = False
    replicas: tuple[Endpoint, ...] = ()
    admin_path: str = ""
    admin_mode: int = 0o600
    members_path: str = ""
    model_path: str = ""
    response_timeout_s: float = 120.0
    probe_timeout_s: float = 30.0
    calibrate: bool = True
    coalesce: bool = True
    hold_bytes: int = 4_194_304
    request_texts: int = 4096
    replica_body_bytes: int = 2_000_000
    access_log: bool = False
    drain_s: float = 0.0
    stop_grace_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
    dispatch: DispatchLimits = field(default_factory=DispatchLimits)
