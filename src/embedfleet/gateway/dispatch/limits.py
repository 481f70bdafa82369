"""Configured limits and rules of the dispatcher."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Limits of the dispatcher.

    The length of a queue in seconds is its tokens divided by the combined tokens per second of all replicas.

    Attributes:
        online_queue_s: Most online work that may wait, in seconds; an empty queue admits any request.
        bulk_queue_s: Most bulk work that may wait, in seconds; an empty queue admits any request.
        queue_bytes: Most bytes of the bodies of waiting requests.
        online_deadline_s: Seconds after which an online request without a deadline of its own is refused.
        bulk_deadline_s: Seconds after which a bulk request without a deadline of its own is refused.
        no_replica_s: Seconds without a serving replica after which waiting requests are refused, counted from their
            arrival at the earliest; also the longest wait of a chunk for which no connection can be made.
        split: Whether requests are split into chunks; if not, each goes whole to one replica.
        prefer_online: Whether bulk work makes way for online work; if not, all work is one class, in order of arrival.
        reserve: Whether some replicas are kept free of bulk work while little of it waits.
        hedge: Whether the chunks of a silent replica are also sent to another.
        rested_s: Seconds of idleness after which a silent connection counts as possibly dead, rather than its replica
            as slow.
        sort_by_length: Whether requests are split in order of length, for replicas that pad.
        sends: Most sends of one chunk, not counting refused, throttled (429) and starved ones.
        failures: Number of failures in a row after which a replica must pass a probe, and is ejected if another replica
            answers a chunk that it failed.
        full_s: Seconds for which a replica gets nothing after it answered 429, or after the gateway could not open a
            connection to it.
        quarantine_s: Seconds for which a text that killed two replicas is refused, counted from its last request.
        probe_interval_s: Seconds without a sign of life after which an active replica is probed.
        probe_retry_s: First and longest wait between probes of a replica that is not active, in seconds.
        slow_start_s: Seconds until a replica that begins to serve beside others has its whole window.
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
