"""A cache of computed outputs, bounded in bytes, that drops the least recently used output first."""

from collections import OrderedDict
from hashlib import blake2b

from embedfleet.arrays import Floats
from embedfleet.engine.compute.output import Output
from embedfleet.engine.text.encoded import Encoded
from embedfleet.metrics import Registry

# Overhead of a kept output: its key, the array's header, its entry in the dictionary.
_OVERHEAD_BYTES = 320
# Probes send inputs this short to prove that the model still computes, so they are never answered from the cache.
_SHORT_TOKENS = 6

_LARGE = frozenset({Output.STATES, Output.COLBERT})  # a vector for each token


def key_of(outputs: tuple[Output, ...], encoded: Encoded) -> bytes:
    """Digest (BLAKE2b, 32 bytes) of all that decides a model's output: outputs, token ids, types, skipped tokens."""
    digest = blake2b(digest_size=32)
    digest.update(f"{' '.join(outputs)}\0{len(encoded.ids)} {encoded.skipped}\0".encode())
    digest.update(encoded.ids.data)
    digest.update(encoded.types.data)
    return digest.digest()


class Cache:
    """Cache of outputs by key, for one thread at a time.

    Args:
        size_bytes: Maximum size in bytes, overhead included; 0 for no cache.
        registry: Metrics of the engine.
    """

    def __init__(self, size_bytes: int, registry: Registry) -> None:
        self._most = size_bytes
        self._kept: OrderedDict[bytes, tuple[Floats, ...]] = OrderedDict()
        self._bytes = registry["te_cache_bytes"].value()
        self._hits = registry["te_cache_hits"].value()
        self._misses = registry["te_cache_misses"].value()

    def find(self, key: bytes, outputs: tuple[Output, ...], encoded: Encoded) -> tuple[Floats, ...] | None:
        """The cached output under a key; None if there is none."""
        if not self._most or not _is_cacheable(outputs, encoded):
            return None
        output = self._kept.get(key)
        if output is None:
            self._misses.inc()
        else:
            self._hits.inc()
            self._kept.move_to_end(key)
        return output

    def keep(self, key: bytes, output: tuple[Floats, ...], outputs: tuple[Output, ...], encoded: Encoded) -> None:
        """Keep an output if it is cacheable and fits into the whole cache; the caller must not modify it afterwards."""
        size = _size(output)
        if size > self._most or not _is_cacheable(outputs, encoded):
            return
        before = self._kept.pop(key, None)
        self._bytes.inc(size - (0 if before is None else _size(before)))
        self._kept[key] = output
        while self._bytes.value > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._bytes.inc(-_size(oldest))


def _is_cacheable(outputs: tuple[Output, ...], encoded: Encoded) -> bool:
    """Whether an output may be kept.

    Token states may not, since they are large for the time that they save, and neither may outputs for probes.
    """
    return not _LARGE.intersection(outputs) and len(encoded.ids) > _SHORT_TOKENS


def _size(output: tuple[Floats, ...]) -> int:
    return sum(rows.nbytes for rows in output) + _OVERHEAD_BYTES
