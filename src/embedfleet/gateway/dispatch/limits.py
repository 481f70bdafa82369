"""Bounds and rules of the dispatcher that are set, not learnt."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Seconds are of the fleet's work where a queue is meant: tokens over the tokens per second of all replicas.

    Attributes:
        online_queue_s: of online work that may wait; what comes while nothing waits is always taken.
        bulk_queue_s: of bulk work that may wait, likewise.
        queue_bytes: of the bodies that may wait.
        online_deadline_s: an online request that names no deadline is given up after this.
        bulk_deadline_s: a bulk request likewise.
        no_replica_s: what waits is given up once no replica has served for so long, counted from its arrival at the
            earliest; so is what no replica can be connected to for so long.
        split: whether requests are cut into chunks; if not, each goes whole to one replica.
        prefer_online: whether bulk work makes way; if not, all work is online work, first come first served.
        reserve: whether one replica is kept free of bulk work while little of that waits.
        hedge: whether what a suspect replica holds is sent to another as well.
        rested_s: a connection that was idle for so long before a request may be dead, if that is silent.
        sort_by_length: whether a batch is cut in order of length, for replicas that pad.
        sends: of one chunk, refusals not counted.
        failures: in a row until a replica is ejected.
        full_s: how long a replica that answered 429, or was out of our reach, gets nothing.
        quarantine_s: what killed two replicas is refused for so long after it was last asked.
        probe_interval_s: an active replica that was not heard of for so long is probed.
        probe_retry_s: first and last wait between probes of a replica that is not active.
        slow_start_s: a replica that came back has its whole window after this.
    """

    online_queue_s: float = 30.0
    bulk_queue_s: float = 60.0
    queue_bytes: int = 256_000_000
    online_deadline_s: float = 120.0
    bulk_deadline_s: float = 600.0
    no_replica_s: float = 30.0
    split: bool = True
    prefer_online: bool = True
    reserve: bool = True
    hedge: bool = True
    rested_s: float = 5.0
    sort_by_length: bool = False
    sends: int = 3
    failures: int = 3
    full_s: float = 0.25
    quarantine_s: float = 600.0
    probe_interval_s: float = 5.0
    probe_retry_s: tuple[float, float] = (0.25, 5.0)
    slow_start_s: float = 10.0
