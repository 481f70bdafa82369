"""What one gateway process is told."""

from dataclasses import dataclass, field

from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.http.message import Limits
from embedfleet.types import Endpoint


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Settings of one gateway.

    Attributes:
        listen_fd: a bound socket to accept from, in the place of ``host`` and ``port``; 0 for none.
        listens_later: it accepts nobody before it is told to over the admin socket.
        replicas: to begin with; the admin socket replaces them.
        admin_path: of the Unix socket for membership and status; empty for none.
        admin_mode: that socket's permissions.
        members_path: of a file with the replicas to begin with, drained ones too; empty for none.
        model_path: of a file that tells, and is told, what model the replicas are; empty for none.
        response_timeout_s: from sending a request to a replica to its whole reply.
        probe_timeout_s: for each part of a probe; longer than the longest batch, since a probe waits behind it.
        calibrate: whether a new replica is measured with a few batches.
        coalesce: whether small requests that come at the same moment are asked for together.
        hold_bytes: the largest reply to a whole request that is held until it is whole.
        request_texts: the most texts of one request.
        replica_body_bytes: the largest body that a replica takes.
        access_log: a line per request.
        drain_s: how long a stopping gateway goes on accepting, so that those in front see ``/readyz`` change.
        stop_grace_s: how long exchanges under way may then take.
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
