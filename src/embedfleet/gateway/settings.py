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
        listen_fd: File descriptor of a bound socket to use instead of ``host`` and ``port``; 0 for none.
        listens_later: Whether clients are accepted only after a ``POST /listen`` on the admin socket.
        replicas: Initial replicas; the admin socket replaces them.
        admin_path: Path of the Unix socket for membership and status; empty for none.
        admin_mode: Permissions of that socket.
        members_path: Path of a file with the initial replicas and their drained flags; empty for none.
        model_path: Path of the file that keeps the pool's model; empty for none.
        response_timeout_s: Seconds from the send of a request to a replica until its whole reply.
        probe_timeout_s: Seconds for each step of a probe. It must exceed the duration of the longest batch, because a
            probe waits behind it.
        calibrate: Whether the batch cost of a new replica is measured.
        coalesce: Whether small requests that arrive at the same moment share one call to a replica.
        cache_bytes: Size of the cache of answers in bytes; 0 for no cache.
        cache_path: Path of the file that keeps the cache over restarts; empty for none.
        hold_bytes: Size of the largest reply to a whole request that is held until it is complete.
        request_texts: Most texts of one request.
        replica_body_bytes: Size of the largest body that a replica takes.
        access_log: Whether each request is logged as a line.
        drain_s: Seconds for which a stopping gateway still accepts clients, so that load balancers see ``/readyz``
            change.
        stop_grace_s: Seconds that open exchanges may take after that.
        interpreted_because: Reason why the code is not compiled; empty if it is, or if the reason is unknown.
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
    cache_bytes: int = 0
    cache_path: str = ""
    hold_bytes: int = 4_194_304
    request_texts: int = 4096
    replica_body_bytes: int = 2_000_000
    access_log: bool = False
    drain_s: float = 0.0
    stop_grace_s: float = 30.0
    interpreted_because: str = ""
    limits: Limits = field(default_factory=Limits)
    dispatch: DispatchLimits = field(default_factory=DispatchLimits)
