"""What was computed before, by what it was computed from: bounded in bytes, the least recently used goes first."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b, sha256
from pathlib import Path

from embedfleet.dialects.tei import Floats
from embedfleet.engine.output import Output
from embedfleet.engine.tokenization import Encoded
from embedfleet.metrics import Registry

# So much a kept output takes beside its numbers, measured: the key, the array's head, its place in the dictionary.
_OVERHEAD_BYTES = 320
# What is proved with such short inputs is that the model still answers (`probe`): that is never answered from memory.
_SHORT_TOKENS = 6
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.onnx", "onnx/*.onnx*", "[0-9]_*/*.safetensors", "[0-9]_*/*.bin")
_CONFIGS = ("config.json", "modules.json", "[0-9]_*/config.json")

_LARGE = frozenset({Output.STATES, Output.COLBERT})  # a vector for each token


def fingerprint(folder: Path) -> bytes:
    """What tells a model from another: SHA-256 of its configs' bytes, and of name, size and time of its weights.

    The weights themselves are not read: that would take longer than to load them. The tokenizer is left out, since
    what is remembered goes by token ids.
    """
    digest = sha256()
    for file in _files(folder, _CONFIGS):
        digest.update(f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    for file in _files(folder, _WEIGHTS):
        state = file.stat()
        digest.update(f"{file.relative_to(folder)}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.digest()


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Those that there are, of one pattern after the other."""
    return [file for pattern in patterns for file in sorted(folder.glob(pattern)) if file.is_file()]


def key_of(model: bytes, outputs: tuple[Output, ...], encoded: Encoded) -> bytes:
    """What an output depends on, in 32 bytes (BLAKE2b): the model, what is asked, token ids and types."""
    digest = blake2b(model, digest_size=32)
    digest.update(f"{' '.join(outputs)}\0{len(encoded.ids)}\0".encode())
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
