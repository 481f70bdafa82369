"""Weights packed for the processor once on a machine, in a file that all its replicas map.

The runtime computes with copies of the weights, rearranged for its kernels. Each replica would hold them on its own
heap: nearly the whole model again. Saved, they are pages of a file, and there is one of each however many replicas
there are. The file has the tensors that are not packed too, so that a replica needs nothing else.
"""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.resource_check import check_disk, no_space, require_memory
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.forward_pass import OnnxPass
from embedfleet.engine.onnx.int8_error import Int8Error, Sample, errors_of
from embedfleet.engine.onnx.mapped_file import WatchedFile
from embedfleet.engine.onnx.session import OnnxSession, packed_weights, runtime
from embedfleet.engine.onnx.stamp import Stamp, read_stamp
from embedfleet.errors import ModelError, NoRoom, WeightsChanged

log = logging.getLogger(__name__)

_MODEL, _STAMP, _PART = "model.onnx", "complete.json", ".part"
_DIGITS = 12
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# Of the weights in float32, measured: what loading takes at its height, into own memory and into files, and what the
# files take while they are made, the one included that is gone afterwards.
_MEMORY, _MEMORY_TO_PACK, _DISK_TO_PACK = 2.6, 1.5, 2.8


@dataclass(frozen=True, slots=True)
class Model:
    """What computes a model.

    Attributes:
        errors: how far each output is from float32's, as it was measured; of float32 none.
        files: that its weights are mapped from; none where they are in memory of this process' own.
    """

    forward: OnnxPass
    errors: tuple[Int8Error, ...] = ()
    files: tuple[WatchedFile, ...] = ()


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

    Two replicas that start together wait for each other, and the second finds what the first has made. What was found
    is read and held against its stamp before it is mapped: what differs is thrown away and made anew. What cannot be
    written costs memory, not the service.

    Args:
        spec: of the model.
        root: folder of packed models; made here. Of one model folder it keeps what is made of its present files.
        int8: as of `own_model`; who makes the file measures the errors, the others find them beside it.

    Raises:
        ModelError, errors.OutOfMemory: as `own_model`.
        ModelChanged: the model's files changed while they were packed.
    """
    state = FolderState(spec)
    place = _digest(bytes(spec.folder.resolve()))
    files = _digest(state.digest() + runtime().encode() + _code())
    asked = (spec.kind, spec.max_input_length, outputs_of(spec), *(("int8", spec.pooling) if int8 else ()))
    home = root / f"{place}-{files}-{_digest(repr(asked).encode())}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = root / f"{place}.lock"
        with _locked(lock, fcntl.LOCK_SH):
            found = _open(spec, home)
        if found is None:
            with _locked(lock, fcntl.LOCK_EX):
                found = _open(spec, home)  # by whoever had the lock before
                if found is None:
                    _forget(root, place, keep=f"{place}-{files}-")
                    _pack(spec, home, state, int8=int8)
                    found = _open(spec, home)
    except NoRoom:
        raise
    except (OSError, ModelError) as error:
        log.warning("weights are not shared, this replica has its own: %s", error)
        found = None
    return found or own_model(spec, int8=int8)


def _build(spec: ModelSpec, *, int8: bool = False, save_to: Path | None = None) -> OnnxPass:
    from embedfleet.engine.onnx.model_graph import build_graph  # noqa: PLC0415 - memory that replicas on packed weights save

    graph, names = build_graph(spec, int8=int8)
    size = graph.initializers.size_bytes
    least, likely = (size, _MEMORY * size) if save_to is None else (0, _MEMORY_TO_PACK * size)
    require_memory(spec.folder, least, int(likely))
    if save_to is not None:
        check_disk(save_to.parent, int(_DISK_TO_PACK * size))
    return OnnxPass(spec.family, OnnxSession.of_graph(graph, spec.folder, save_to), names)


def _pack(spec: ModelSpec, home: Path, state: FolderState, *, int8: bool) -> None:
    """Make it, whole or not at all."""
    part = home.with_suffix(_PART)
    for old in (home, part):
        _remove(old)
    part.mkdir(mode=0o700)
    try:
        sample = Sample(spec) if int8 else None
        truth = sample.rows(_build(spec)) if sample else {}
        forward = _build(spec, int8=int8, save_to=part / _MODEL)
        errors = errors_of(truth, sample.rows(forward)) if sample else ()
        marks = {}
        for file in sorted(part.iterdir()):
            _finish(file)
            marks[file.name] = WatchedFile(file).mark()
        (part / _STAMP).write_bytes(Stamp(marks, forward.outputs, errors).to_bytes())
        _finish(part / _STAMP)
        state.check()
        part.rename(home)
    except BaseException as error:
        is_full = _is_full(part, error)
        shutil.rmtree(part, ignore_errors=True)
        if is_full:
            raise OSError(f"{no_space(home.parent)}: {error}") from error
        raise
    log.info("packed %s: %.0f MB in %s", spec.folder, sum(mark.size for mark in marks.values()) / 1e6, home)


def _is_full(part: Path, error: BaseException) -> bool:
    """Whether packing failed for want of disk, which the runtime words in its own way."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    try:
        check_disk(part, sum(file.stat().st_size for file in part.iterdir()))  # what is there is half of it or less
    except OSError:
        return isinstance(error, ModelError)
    return False


def _open(spec: ModelSpec, home: Path) -> Model | None:
    """A packed model that is what was written; what is not is thrown away, with a word in the log.

    Raises:
        OSError: this process lacks files or memory to look at it.
        errors.OutOfMemory: it cannot be mapped.
    """
    if not os.path.lexists(home):
        return None
    try:
        stamp = read_stamp(home / _STAMP)
        files = _watch(home, stamp)
        session = OnnxSession.of_file(home / _MODEL)
        for file in files:
            file.check_mapped()
        return Model(OnnxPass(spec.family, session, stamp.outputs), stamp.errors, files)
    except (OSError, ModelError, ValueError, WeightsChanged) as error:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            raise
        log.warning("packed weights in %s are thrown away and made anew: %s", home, error)
        _remove(home)
        return None


def _watch(home: Path, stamp: Stamp) -> tuple[WatchedFile, ...]:
    """A packed model's files, each of which is what was written.

    Raises:
        OSError: one cannot be read.
        ValueError: one is something else.
    """
    files = [file for file in (home / _MODEL, packed_weights(home / _MODEL)) if os.path.lexists(file)]
    if [file.name for file in files] != sorted(stamp.files):
        raise ValueError(f"its files are {', '.join(file.name for file in files)}, not {', '.join(stamp.files)}")
    watched = tuple(WatchedFile(file) for file in files)
    for file in watched:
        if fault := file.fault(stamp.files[file.file.name]):
            raise ValueError(fault)
    return watched


def _code() -> bytes:
    """What the engine's own code is: it decides the graph."""
    digest = sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _forget(root: Path, place: str, keep: str) -> None:
    """Remove what was made of files that the model no longer has, and what was never finished.

    Who maps such a file keeps it until it ends.
    """
    for old in root.glob(f"{place}-*"):
        if old.suffix == _PART or not old.name.startswith(keep):
            _remove(old)


@contextmanager
def _locked(file: Path, kind: int) -> Iterator[None]:
    """One process at a time, or all that only look; the lock ends with its holder, however that ends."""
    with file.open("w") as stream:
        fcntl.flock(stream, kind)
        yield


def _finish(file: Path) -> None:
    """See that the bytes are on the disk before anything says so, and that nobody writes to them without meaning to."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
    file.chmod(0o400)


def _remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:_DIGITS]
