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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.cache import fingerprint
from embedfleet.engine.heads import outputs_of
from embedfleet.engine.int8_error import Int8Error, Sample, errors_of
from embedfleet.engine.model import ModelSpec
from embedfleet.engine.onnx_pass import Names, OnnxPass
from embedfleet.engine.onnx_session import OnnxSession, runtime
from embedfleet.engine.output import Output
from embedfleet.errors import ModelError

log = logging.getLogger(__name__)

_MODEL, _STAMP, _PART = "model.onnx", "complete.json", ".part"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Model:
    """What computes a model.

    Attributes:
        errors: how far each output is from float32's, as it was measured; of float32 none.
    """

    forward: OnnxPass
    errors: tuple[Int8Error, ...] = ()


def own_model(spec: ModelSpec, *, int8: bool = False) -> Model:
    """A model on weights that are packed into this process' own memory.

    Args:
        spec: of the model.
        int8: whether its dense layers are computed in bytes; it is then loaded and tried in float32 before.

    Raises:
        ModelError: a tensor is missing or not of the config's shape, or the runtime refuses the graph.
        errors.OutOfMemory: there is no room for the weights.
    """
    if not int8:
        return Model(_build(spec))
    sample = Sample(spec)
    truth = sample.rows(_build(spec))  # of a model that is gone when the next one comes
    forward = _build(spec, int8=True)
    return Model(forward, errors_of(truth, sample.rows(forward)))


def packed_model(spec: ModelSpec, root: Path, *, int8: bool = False) -> Model:
    """A model on packed weights in a file, which is made if it is not there.

    Two replicas that start together wait for each other, and the second finds what the first has made. What cannot be
    written costs memory, not the service.

    Args:
        spec: of the model.
        root: folder of packed models; made here. Of one model folder it keeps what is made of its present files.
        int8: as of `own_model`; who makes the file measures the errors, the others find them beside it.

    Raises:
        ModelError, errors.OutOfMemory: as `own_model`.
    """
    place = _digest(bytes(spec.folder.resolve()))
    files = _digest(fingerprint(spec.folder) + runtime().encode() + _code())
    asked = (spec.kind, spec.max_input_length, outputs_of(spec), *(("int8", spec.pooling) if int8 else ()))
    home = root / f"{place}-{files}-{_digest(repr(asked).encode())}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{place}.lock"):
            found = _find(home)
            if found is None:
                _forget(root, place, keep=f"{place}-{files}-")
                found = _pack(spec, home, int8=int8)
        session = OnnxSession.of_file(home / _MODEL, is_ready=True)
        return Model(OnnxPass(spec.family, session, found.outputs), found.errors)
    except (OSError, ModelError) as error:
        shutil.rmtree(home, ignore_errors=True)  # not worth a second try as it is
        log.warning("weights are not shared: %s", error)
        return own_model(spec, int8=int8)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a packed model's stamp says."""

    outputs: Names
    errors: tuple[Int8Error, ...] = ()


def _build(spec: ModelSpec, *, int8: bool = False, save_to: Path | None = None) -> OnnxPass:
    from embedfleet.engine.onnx_model import build_graph  # noqa: PLC0415 - memory that replicas on packed weights save

    graph, names = build_graph(spec, int8=int8)
    return OnnxPass(spec.family, OnnxSession.of_graph(graph, spec.folder, save_to), names)


def _pack(spec: ModelSpec, home: Path, *, int8: bool) -> _Found:
    sample = Sample(spec) if int8 else None
    truth = sample.rows(_build(spec)) if sample else {}
    part = home.with_suffix(_PART)
    shutil.rmtree(home, ignore_errors=True)
    part.mkdir()
    try:
        forward = _build(spec, int8=int8, save_to=part / _MODEL)
        errors = errors_of(truth, sample.rows(forward)) if sample else ()
        sizes = {file.name: file.stat().st_size for file in part.iterdir()}
        for name in sizes:
            _flush(part / name)
        stamp = {"sizes": sizes, "outputs": forward.outputs, "errors": [asdict(error) for error in errors]}
        (part / _STAMP).write_text(json.dumps(stamp))
        _flush(part / _STAMP)
        part.rename(home)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    log.info("packed %s: %.0f MB in %s", spec.folder, sum(sizes.values()) / 1e6, home)
    return _Found(forward.outputs, errors)


def _find(home: Path) -> _Found | None:
    """What a packed model's stamp says, if all files are there in their length: a mapped file must not end early."""
    try:
        stamp = json.loads((home / _STAMP).read_text())
        if any((home / name).stat().st_size != size for name, size in stamp["sizes"].items()):
            return None
        outputs = {Output(output): str(name) for output, name in stamp["outputs"].items()}
        errors = [Int8Error(**error | {"output": Output(error["output"])}) for error in stamp["errors"]]
        return _Found(outputs, tuple(errors))
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
