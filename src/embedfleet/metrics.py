"""Metrics: the definitions for gateway and engine, a registry that counts, and the Prometheus text format.

This module replaces ``prometheus-client``, which forces the suffix ``_total`` on counters. TEI's counters lack it, and
dashboards for TEI must continue to work.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition of one metric.

    Attributes:
        name: Name in the exposition.
        kind: Prometheus type.
        help: Meaning, one line.
        labels: Names of the labels.
        buckets: Upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# TEI 1.9: 35 buckets of 1.5e-5 * 1.5^k seconds, the last 14.6 s (router/src/prometheus.rs).
_TEI_SECONDS = tuple(float(f"{1.5e-5 * 1.5**k:.6g}") for k in range(35))
_GATEWAY_SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
)


def _powers_of_two(last: int) -> tuple[float, ...]:
    return tuple(float(2**k) for k in range(last + 1))


TEI: tuple[Definition, ...] = (
    Definition("te_request_count", "counter", "requests received, with one input or a batch", ("method",)),
    Definition("te_request_success", "counter", "requests answered 200", ("method",)),
    Definition(
        "te_request_failure",
        "counter",
        "failed requests, by TEI's name for the cause",
        ("err",),
    ),
    Definition("te_embed_count", "counter", "accepted inputs to embed, without those refused with 429"),
    Definition("te_embed_success", "counter", "inputs embedded"),
    Definition("te_predict_count", "counter", "accepted inputs to classify or rerank"),
    Definition("te_predict_success", "counter", "inputs classified or reranked"),
    Definition("te_request_duration", "histogram", "seconds from arrival to answer", (), _TEI_SECONDS),
    Definition(
        "te_request_tokenization_duration", "histogram", "seconds of tokenization per request", (), _TEI_SECONDS
    ),
    Definition("te_request_queue_duration", "histogram", "seconds queued per request", (), _TEI_SECONDS),
    Definition("te_request_inference_duration", "histogram", "seconds of inference per request", (), _TEI_SECONDS),
    Definition(
        "te_embed_duration",
        "histogram",
        "seconds per embedded input",
        (),
        _TEI_SECONDS,
    ),
    Definition(
        "te_embed_tokenization_duration", "histogram", "seconds of tokenization per embedded input", (), _TEI_SECONDS
    ),
    Definition("te_embed_queue_duration", "histogram", "seconds queued per embedded input", (), _TEI_SECONDS),
    Definition("te_embed_inference_duration", "histogram", "seconds of inference per embedded input", (), _TEI_SECONDS),
    Definition(
        "te_predict_duration",
        "histogram",
        "seconds per predicted input",
        (),
        _TEI_SECONDS,
    ),
    Definition(
        "te_predict_tokenization_duration", "histogram", "seconds of tokenization per predicted input", (), _TEI_SECONDS
    ),
    Definition("te_predict_queue_duration", "histogram", "seconds queued per predicted input", (), _TEI_SECONDS),
    Definition(
        "te_predict_inference_duration", "histogram", "seconds of inference per predicted input", (), _TEI_SECONDS
    ),
    Definition("te_request_input_length", "histogram", "tokens per input", (), _powers_of_two(19)),
    Definition("te_batch_next_size", "histogram", "inputs per forward pass", (), _powers_of_two(12)),
    Definition("te_batch_next_tokens", "histogram", "tokens per forward pass", (), _powers_of_two(20)),
    Definition("te_queue_size", "gauge", "inputs that wait"),
    Definition("te_batch_splits", "counter", "batches that failed and were repeated in halves"),
    Definition("te_shared_inputs", "counter", "inputs that shared the forward pass of an equal input"),
    Definition("te_cache_hits", "counter", "inputs answered from the cache"),
    Definition("te_cache_misses", "counter", "inputs that the cache did not have"),
    Definition("te_cache_bytes", "gauge", "size of the cache in bytes"),
    Definition("te_log_dropped", "counter", "log lines that were dropped because nothing read them"),
)
"""The engine's metrics, with TEI's names (counters without ``_total``); the last six are ours."""

GATEWAY: tuple[Definition, ...] = (
    Definition("embedfleet_requests_total", "counter", "requests answered, by class and status", ("class", "status")),
    Definition(
        "embedfleet_request_seconds", "histogram", "seconds from arrival to answer", ("class",), _GATEWAY_SECONDS
    ),
    Definition(
        "embedfleet_queue_seconds",
        "histogram",
        "seconds that a request waited for a replica",
        ("class",),
        _GATEWAY_SECONDS,
    ),
    Definition(
        "embedfleet_cache_texts_total",
        "counter",
        "texts that the gateway's cache had (hit), that waited for an equal text under way (joined), or that were sent"
        " to a replica (miss)",
        ("result",),
    ),
    Definition("embedfleet_cache_answers", "gauge", "answers in the gateway's cache"),
    Definition("embedfleet_cache_bytes", "gauge", "size of the gateway's cache in bytes"),
    Definition("embedfleet_queue_requests", "gauge", "requests and parts of requests that wait for a replica"),
    Definition("embedfleet_queue_tokens", "gauge", "estimated tokens that wait for a replica"),
    Definition("embedfleet_queue_bytes", "gauge", "bytes of waiting request bodies"),
    Definition(
        "embedfleet_chunk_tokens",
        "histogram",
        "estimated tokens of a request or part that was sent after waiting, or to a second replica",
        (),
        _powers_of_two(20),
    ),
    Definition(
        "embedfleet_retries_total", "counter", "chunks sent again, by the failure of the previous replica", ("reason",)
    ),
    Definition(
        "embedfleet_hedges_total",
        "counter",
        "chunks also sent to a second replica, or on a second connection, because the first was silent",
    ),
    Definition("embedfleet_repeated_tokens_total", "counter", "estimated tokens sent more than once"),
    Definition("embedfleet_shed_total", "counter", "requests refused by the gateway, by reason", ("reason",)),
    Definition("embedfleet_accused_chunks", "gauge", "chunks that a replica died with and that wait to be tried alone"),
    Definition(
        "embedfleet_verdicts",
        "gauge",
        "records of texts that a replica died with, or that live replicas could not answer",
    ),
    Definition(
        "embedfleet_trials_total",
        "counter",
        "chunks tried alone after a replica died with them, by outcome",
        ("outcome",),
    ),
    Definition("embedfleet_client_gone_total", "counter", "requests whose client left before the answer"),
    Definition("embedfleet_connections", "gauge", "open client connections"),
    Definition("embedfleet_connections_refused_total", "counter", "clients refused because of max_connections"),
    Definition(
        "embedfleet_starved_total",
        "counter",
        "connections to replicas that failed for lack of open files, memory or ports",
    ),
    Definition("embedfleet_replica_state", "gauge", "1 for the state of a replica", ("replica", "state")),
    Definition(
        "embedfleet_replica_differs",
        "gauge",
        "1 for a replica that is kept out because it runs another model",
        ("replica",),
    ),
    Definition("embedfleet_replica_chunks", "gauge", "requests and parts of requests at a replica", ("replica",)),
    Definition("embedfleet_replica_tokens", "gauge", "estimated tokens at a replica", ("replica",)),
    Definition(
        "embedfleet_replica_slowness",
        "gauge",
        "a replica's time for its work, divided by the predicted time",
        ("replica",),
    ),
    Definition("embedfleet_replica_failures_total", "counter", "failures of a replica, by kind", ("replica", "kind")),
    Definition("embedfleet_probes_total", "counter", "probes by inference, by outcome", ("replica", "outcome")),
    Definition("embedfleet_log_dropped_total", "counter", "log lines that were dropped because nothing read them"),
)
"""The gateway's metrics; one gateway serves one service."""


class Value:
    """The value of a counter or a gauge; hot paths change it directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, n: float = 1.0) -> None:
        """Add ``n``."""
        self.value += n

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value

    @property
    def is_used(self) -> bool:
        """Whether the value is not 0."""
        return self.value != 0

    def samples(self, name: str, labels: str) -> Iterator[str]:
        """Write the lines of the exposition."""
        yield f"{name}{_braces(labels)} {_number(self.value)}"


class _Histogram:
    """A histogram: a count per bucket, and a sum."""

    __slots__ = ("_bounds", "_counts", "_least", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._least = bounds[0]
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value a number of times, in the first bucket whose bound is not below it."""
        # The wait for a replica is mostly in the first bucket, and a comparison costs a tenth of a search.
        self._counts[0 if value <= self._least else bisect_left(self._bounds, value)] += times
        self._sum += value * times

    @property
    def is_used(self) -> bool:
        """Whether anything was counted."""
        return any(self._counts)

    def samples(self, name: str, labels: str) -> Iterator[str]:
        """Write the lines of the exposition, with cumulative buckets."""
        total = 0
        comma = "," if labels else ""
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound}"}} {total}'
        yield f"{name}_sum{_braces(labels)} {_number(self._sum)}"
        yield f"{name}_count{_braces(labels)} {total}"


class Metric:
    """One metric with a child for each combination of label values."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self._children: dict[tuple[str, ...], Value | _Histogram] = {}
        if not definition.labels:
            self._child(())

    def value(self, *labels: str) -> Value:
        """Get the counter or gauge with these label values; hot paths keep a reference."""
        child = self._child(labels)
        assert isinstance(child, Value), f"{self.definition.name} is a {self.definition.kind}"
        return child

    def histogram(self, *labels: str) -> _Histogram:
        """Get the histogram with these label values; hot paths keep a reference."""
        child = self._child(labels)
        assert isinstance(child, _Histogram), f"{self.definition.name} is a {self.definition.kind}"
        return child

    def forget(self, *labels: str) -> None:
        """Drop the children whose first label values are these, for example after a replica has left."""
        for key in [key for key in self._children if key[: len(labels)] == labels]:
            del self._children[key]

    @property
    def is_used(self) -> bool:
        """Whether any child has counted something."""
        return any(child.is_used for child in self._children.values())

    def lines(self) -> Iterator[str]:
        """Write the exposition of this metric."""
        name = self.definition.name
        yield f"# HELP {name} {self.definition.help}"
        yield f"# TYPE {name} {self.definition.kind}"
        for key, child in self._children.items():
            pairs = zip(self.definition.labels, key, strict=True)
            yield from child.samples(name, ",".join(f'{label}="{_escape(value)}"' for label, value in pairs))

    def _child(self, labels: tuple[str, ...]) -> Value | _Histogram:
        child = self._children.get(labels)
        if child is None:
            if len(labels) != len(self.definition.labels):
                raise ValueError(f"{self.definition.name} takes labels {self.definition.labels}, got {labels}")
            histogram = self.definition.kind == "histogram"
            child = _Histogram(self.definition.buckets) if histogram else Value()
            self._children[labels] = child
        return child


class Registry:
    """The metrics of one process, by name; a name outside the table raises KeyError."""

    def __init__(self, table: tuple[Definition, ...]) -> None:
        self._metrics = {definition.name: Metric(definition) for definition in table}

    def __getitem__(self, name: str) -> Metric:
        return self._metrics[name]

    def used(self) -> set[str]:
        """List the names of the metrics that have counted something."""
        return {name for name, metric in self._metrics.items() if metric.is_used}

    def expose(self, names: Collection[str] | None = None) -> bytes:
        """Write all metrics, or those with these names, in Prometheus text format 0.0.4."""
        shown = [metric for name, metric in self._metrics.items() if names is None or name in names]
        return "".join(f"{line}\n" for metric in shown for line in metric.lines()).encode()


CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
