"""What was computed before, by what it was computed from: bounded in bytes, the least recently used goes first."""

from collections import OrderedDict
from hashlib import blake2b

from embedfleet.arrays import Floats
from embedfleet.engine.compute.output import Output
from embedfleet.engine.text.tokenization import Encoded
from embedfleet.metrics import Registry

# So much a kept output takes beside its numbers, measured: the key, the array's head, its place in the dictionary.
_OVERHEAD_BYTES = 320
# What is proved with such short inputs is that the model still answers (`probe`): that is never answered from memory.
_SHORT_TOKENS = 6

_LARGE = frozenset({Output.STATES, Output.COLBERT})  # a vector for each token


def key_of(outputs: tuple[Output, ...], encoded: Encoded) -> bytes:
    """What an output of this process' model depends on, in 32 bytes (BLAKE2b): what is asked, token ids and types."""
    digest = blake2b(digest_size=32)
    digest.update(f"{' '.join(outputs)}\0{len(encoded.ids)} {encoded.skipped}\0".encode())
    digest.update(encoded.ids.data)
    digest.update(encoded.types.data)
    return digest.digest()


class Cache:
    """Outputs by key, one thread at a time.

    Args:
        size_bytes: the most that it holds, its own records included; 0 remembers nothing.
        registry: for the metrics of hits, misses and bytes.
    """

    def __init__(self, size_bytes: int, registry: Registry) -> None:
        self._most = size_bytes
        self._kept: OrderedDict[bytes, tuple[Floats, ...]] = OrderedDict()
        self._bytes = registry["te_cache_bytes"].value()
        self._hits = registry["te_cache_hits"].value()
        self._misses = registry["te_cache_misses"].value()

    def find(self, key: bytes, outputs: tuple[Output, ...], encoded: Encoded) -> tuple[Floats, ...] | None:
        """What was computed of an input whose key it is; None if that is not known."""
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
        """Remember an output, which nobody changes from now on; one that is larger than the whole is not kept."""
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
    """Whether an output is small against what it costs to compute: token states are not."""
    return not _LARGE.intersection(outputs) and len(encoded.ids) > _SHORT_TOKENS


def _size(output: tuple[Floats, ...]) -> int:
    return sum(rows.nbytes for rows in output) + _OVERHEAD_BYTES
