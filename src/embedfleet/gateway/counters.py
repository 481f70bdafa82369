"""What the proxy counts: the gateway's metrics, those of hot paths kept at hand."""

from collections.abc import Container

from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.metrics import Registry, Value

_CLASSES = ("bulk", "online")  # by whether a request is online
_OF_REPLICA = ("state", "differs", "chunks", "tokens", "slowness")


class Tally:
    """Counts into the registry.

    Args:
        registry: of the gateway's metrics.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seconds = [registry["embedfleet_request_seconds"].histogram(name) for name in _CLASSES]
        self._queue_seconds = [registry["embedfleet_queue_seconds"].histogram(name) for name in _CLASSES]
        self._chunk_tokens = registry["embedfleet_chunk_tokens"].histogram()
        self._answered: dict[tuple[bool, int], Value] = {}

    def answered(self, status: int, seconds: float, *, online: bool, times: int = 1) -> None:
        """A request was answered, or so many."""
        self._seconds[online].observe(seconds, times)
        counter = self._answered.get((online, status))
        if counter is None:
            counter = self._registry["embedfleet_requests_total"].value(_CLASSES[online], str(status))
            self._answered[online, status] = counter
        counter.value += times

    def waited(self, seconds: float, *, online: bool, times: int = 1) -> None:
        """The first of a request is being sent, or of so many."""
        self._queue_seconds[online].observe(seconds, times)

    def sent(self, tokens: int) -> None:
        """A chunk is being sent."""
        self._chunk_tokens.observe(tokens)

    def hedged(self) -> None:
        """A chunk is sent to a second replica."""
        self._registry["embedfleet_hedges_total"].value().inc()

    def retried(self, reason: str) -> None:
        """A chunk is sent once more."""
        self._registry["embedfleet_retries_total"].value(reason).inc()

    def shed(self, reason: str) -> None:
        """A request was refused."""
        self._registry["embedfleet_shed_total"].value(reason).inc()

    def left(self) -> None:
        """A client is gone."""
        self._registry["embedfleet_client_gone_total"].value().inc()

    def failed(self, replica: str, kind: str) -> None:
        """A replica failed a chunk."""
        self._registry["embedfleet_replica_failures_total"].value(replica, kind).inc()

    def starved(self) -> None:
        """A connection could not be made."""
        self._registry["embedfleet_starved_total"].value().inc()

    def probed(self, replica: str, *, good: bool) -> None:
        """A probe came back."""
        self._registry["embedfleet_probes_total"].value(replica, "good" if good else "bad").inc()

    def forget(self, replica: str) -> None:
        """A replica is gone for good."""
        for name in _OF_REPLICA:
            self._registry[f"embedfleet_replica_{name}"].forget(replica)

    def measure(self, dispatcher: Dispatcher, differing: Container[str]) -> None:
        """Bring the gauges up to date.

        Args:
            dispatcher: whose.
            differing: replicas that are another model than the pool.
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
