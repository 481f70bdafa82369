"""The gateway's metrics; those of the hot path are looked up once."""

from collections.abc import Container

from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.metrics import Registry, Value

_CLASSES = ("bulk", "online")  # indexed by whether a request is online
_OF_REPLICA = ("state", "differs", "chunks", "tokens", "slowness")


class Counters:
    """Updates the gateway's metrics in the registry.

    Args:
        registry: Registry of the gateway's metrics.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seconds = [registry["embedfleet_request_seconds"].histogram(name) for name in _CLASSES]
        self._queue_seconds = [registry["embedfleet_queue_seconds"].histogram(name) for name in _CLASSES]
        self._chunk_tokens = registry["embedfleet_chunk_tokens"].histogram()
        self._answers: dict[tuple[bool, int], Value] = {}

    def add_answer(self, status: int, seconds: float, *, is_online: bool, times: int = 1) -> None:
        """Count the answer to one request or several.

        Args:
            status: Status of the answer.
            seconds: Seconds from arrival to answer.
            is_online: Class of the request.
            times: Number of requests.
        """
        self._seconds[is_online].observe(seconds, times)
        counter = self._answers.get((is_online, status))
        if counter is None:
            counter = self._registry["embedfleet_requests_total"].value(_CLASSES[is_online], str(status))
            self._answers[is_online, status] = counter
        counter.value += times

    def add_wait(self, seconds: float, *, is_online: bool, times: int = 1) -> None:
        """Count the wait from arrival to the first send, of one request or several."""
        self._queue_seconds[is_online].observe(seconds, times)

    def add_chunk(self, tokens: int) -> None:
        """Count a chunk that is sent after waiting, or to a second replica."""
        self._chunk_tokens.observe(tokens)

    def add_hedge(self) -> None:
        """Count a chunk that is also sent to a second replica, or on a second connection."""
        self._registry["embedfleet_hedges_total"].value().inc()

    def add_retry(self, reason: str) -> None:
        """Count a chunk that is sent again."""
        self._registry["embedfleet_retries_total"].value(reason).inc()

    def add_refusal(self, reason: str) -> None:
        """Count a request that is refused."""
        self._registry["embedfleet_shed_total"].value(reason).inc()

    def add_client_gone(self) -> None:
        """Count a client that left before its answer."""
        self._registry["embedfleet_client_gone_total"].value().inc()

    def add_failure(self, replica: str, kind: str) -> None:
        """Count a replica's failure to answer a chunk."""
        self._registry["embedfleet_replica_failures_total"].value(replica, kind).inc()

    def add_starved(self) -> None:
        """Count a connection that could not be made because the gateway lacked resources."""
        self._registry["embedfleet_starved_total"].value().inc()

    def add_probe(self, replica: str, *, is_good: bool) -> None:
        """Count the result of a probe."""
        self._registry["embedfleet_probes_total"].value(replica, "good" if is_good else "bad").inc()

    def forget(self, replica: str) -> None:
        """Drop the gauges of a replica that is gone for good."""
        for name in _OF_REPLICA:
            self._registry[f"embedfleet_replica_{name}"].forget(replica)

    def measure(self, dispatcher: Dispatcher, differing: Container[str]) -> None:
        """Update the gauges.

        Args:
            dispatcher: Dispatcher to read.
            differing: Names of the replicas that serve another model than the pool.
        """
        registry = self._registry
        registry["embedfleet_queue_requests"].value().set(dispatcher.queued)
        registry["embedfleet_queue_tokens"].value().set(dispatcher.queued_tokens)
        registry["embedfleet_queue_bytes"].value().set(dispatcher.queued_bytes)
        registry["embedfleet_repeated_tokens_total"].value().set(dispatcher.repeated_tokens)
        registry["embedfleet_accused_chunks"].value().set(len(dispatcher.accused))
        registry["embedfleet_verdicts"].value().set(dispatcher.remembered)
        registry["embedfleet_trials_total"].value("answered").set(dispatcher.quarantine.acquitted)
        registry["embedfleet_trials_total"].value("died").set(dispatcher.quarantine.convicted)
        for replica in dispatcher.replicas.values():
            registry["embedfleet_replica_state"].forget(replica.id)
            registry["embedfleet_replica_state"].value(replica.id, replica.state).set(1)
            registry["embedfleet_replica_differs"].value(replica.id).set(replica.id in differing)
            registry["embedfleet_replica_chunks"].value(replica.id).set(len(replica.chunks))
            registry["embedfleet_replica_tokens"].value(replica.id).set(replica.tokens)
            registry["embedfleet_replica_slowness"].value(replica.id).set(replica.pace.slowness)
