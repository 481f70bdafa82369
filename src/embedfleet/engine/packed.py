"""Weights packed for the processor once on a machine, in a file that all its replicas map.

The runtime computes with copies of the weights, rearranged for its kernels. Each replica would hold them on its own
heap: nearly the whole model again. Saved, they are pages of a file, and there is one of each however many replicas
there are. The file has the tensors that are not packed too, so that a replica needs nothing else.
"""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.cache import fingerprint
from embedfleet.engine.heads import outputs_of
from embedfleet.engine.model import ModelSpec
from embedfleet.engine.onnx_session import OnnxSession, runtime
from embedfleet.engine.output import Output
from embedfleet.errors import ModelError

log = logging.getLogger(__name__)

Names = Mapping[Output, str]
"""The names in a graph of what can be asked."""

_MODEL, _STAMP, _PART = "model.onnx", "complete.json", ".part"
_DIGITS = 12


def own_session(spec: ModelSpec) -> tuple[OnnxSession, Names]:
    """A session on weights that are packed into this process' own memory.

    Raises:
        ModelError: a tensor is missing or not of the config's shape, or the runtime refuses the graph.
        errors.OutOfMemory: there is no room for the weights.
    """
    from embedfleet.engine.onnx_model import build_graph  # noqa: PLC0415 - memory that replicas on packed weights save

    graph, names = build_graph(spec)
    return OnnxSession.of_graph(graph, spec.folder), names


def packed_session(spec: ModelSpec, root: Path) -> tuple[OnnxSession, Names]:
    """A session on packed weights in a file, which is made if it is not there.

    Two replicas that start together wait for each other, and the second finds what the first has made. What cannot be
    written costs memory, not the service.

    Args:
        spec: of the model.
        root: folder of packed models; made here. Of one model folder it keeps what is made of its present files.

    Raises:
        ModelError, errors.OutOfMemory: as `own_session`.
    """
    place = _digest(bytes(spec.folder.resolve()))
    files = _digest(fingerprint(spec.folder) + runtime().encode() + _code())
    home = root / f"{place}-{files}-{_digest(repr((spec.kind, spec.max_input_length, outputs_of(spec))).encode())}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{place}.lock"):
            names = _names(home)
            if names is None:
                _forget(root, place, keep=f"{place}-{files}-")
                names = _pack(spec, home)
        return OnnxSession.of_file(home / _MODEL, is_ready=True), names
    except (OSError, ModelError) as error:
        shutil.rmtree(home, ignore_errors=True)  # not worth a second try as it is
        log.warning("weights are not shared: %s", error)
        return own_session(spec)


def _pack(spec: ModelSpec, home: Path) -> Names:
    from embedfleet.engine.onnx_model import build_graph  # noqa: PLC0415 - as above

    graph, names = build_graph(spec)
    part = home.with_suffix(_PART)
    shutil.rmtree(home, ignore_errors=True)
    part.mkdir()
    try:
        OnnxSession.of_graph(graph, spec.folder, save_to=part / _MODEL)
        sizes = {file.name: file.stat().st_size for file in part.iterdir()}
        for name in sizes:
            _flush(part / name)
        (part / _STAMP).write_text(json.dumps({"sizes": sizes, "outputs": names}))
        _flush(part / _STAMP)
        part.rename(home)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    log.info("packed %s: %.0f MB in %s", spec.folder, sum(sizes.values()) / 1e6, home)
    return names


def _names(home: Path) -> Names | None:
    """What a packed model's stamp says, if all files are there in their length: a mapped file must not end early."""
    try:
        stamp = json.loads((home / _STAMP).read_text())
        if any((home / name).stat().st_size != size for name, size in stamp["sizes"].items()):
            return None
        return {Output(output): str(name) for output, name in stamp["outputs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _code() -> bytes:
    """What the engine's own code is: it decides the graph."""
    digest = sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _forget(root: Path, place: str, keep: str) -> None:
    """Remove what was made of files that the model no longer has, and what was never finished.

    Who maps such a file keeps it until it ends.
    """
    for old in root.glob(f"{place}-*"):
        if old.suffix == _PART or not old.name.startswith(keep):
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One process at a time; the lock ends with its holder, however that ends."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _flush(file: Path) -> None:
    """See that the bytes are on the disk before anything says so."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:_DIGITS]
