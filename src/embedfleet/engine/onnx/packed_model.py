"""Weights that a machine packs for its processor once, into files that all its replicas map.

The runtime computes with copies of the weights that are rearranged for its kernels. Each replica would hold these
copies on its own heap, nearly the whole model again. Mapped from a file, they are pages that all replicas share. The
file also contains the tensors that are not packed, so that a replica reads no other weights.
"""

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedfleet.engine.compute.resource_check import check_disk, no_space
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.forward_pass import ForwardPass
from embedfleet.engine.onnx.int8_deviation import SampleTexts, deviations_of
from embedfleet.engine.onnx.mapped_file import MappedFile
from embedfleet.engine.onnx.model import OnnxModel, load_forward_pass, own_model
from embedfleet.engine.onnx.packed_key import PackedKey, packed_key
from embedfleet.engine.onnx.packed_manifest import PackedManifest, read_manifest
from embedfleet.engine.onnx.session import OnnxSession, packed_weights
from embedfleet.errors import ModelError, NoRoom, WeightsChanged

log = logging.getLogger(__name__)

_MODEL, _MANIFEST, _PART = "model.onnx", "complete.json", ".part"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def packed_model(spec: ModelSpec, root: Path, *, int8: bool = False) -> OnnxModel:
    """Open a model on packed weights, and pack them first if necessary.

    Replicas that start together wait for each other, and the later ones find the files of the first. Existing files are
    compared with their manifest before they are mapped; if they differ, they are removed and made again. If the files
    cannot be written, the replica serves all the same, with more memory.

    Args:
        spec: Model that `read_model` accepted.
        root: Folder of packed models; created if missing. For each model folder, only files packed from its present
            contents are kept.
        int8: Whether dense layers are computed in int8. The process that packs measures the deviations; the others
            read them from the manifest.

    Raises:
        ModelError: A tensor is missing or not of the config's shape, or the runtime refuses the graph.
        errors.OutOfMemory: The memory does not suffice for the weights.
        ModelChanged: The model's files changed while they were packed.
    """
    state = FolderState(spec)
    key = packed_key(spec, state, int8=int8)
    home = root / key.name
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = root / f"{key.place}.lock"
        with _locked(lock, fcntl.LOCK_SH):
            found = _open(spec, home)
        if found is None:
            with _locked(lock, fcntl.LOCK_EX):
                found = _open(spec, home)  # the previous holder of the lock may have made it
                if found is None:
                    _remove_old(root, key)
                    _pack(spec, home, state, int8=int8)
                    found = _open(spec, home)
    except NoRoom:
        raise
    except (OSError, ModelError) as error:
        log.warning("weights are not shared, this replica has its own: %s", error)
        found = None
    return found or own_model(spec, int8=int8)


def _pack(spec: ModelSpec, home: Path, state: FolderState, *, int8: bool) -> None:
    """Write a packed model, completely or not at all."""
    part = home.with_suffix(_PART)
    for old in (home, part):
        _remove(old)
    part.mkdir(mode=0o700)
    try:
        size = _write(spec, part, int8=int8)
        state.check()
        part.rename(home)
    except BaseException as error:
        is_full = _is_full(part, error)
        shutil.rmtree(part, ignore_errors=True)
        if is_full:
            raise OSError(f"{no_space(home.parent)}: {error}") from error
        raise
    log.info("packed %s: %.0f MB in %s", spec.folder, size / 1e6, home)


def _write(spec: ModelSpec, part: Path, *, int8: bool) -> int:
    """Write the files of a packed model, the manifest last; returns their size in bytes."""
    sample = SampleTexts(spec) if int8 else None
    exact = sample.rows(load_forward_pass(spec)) if sample else {}
    forward = load_forward_pass(spec, int8=int8, save_to=part / _MODEL)
    deviations = deviations_of(exact, sample.rows(forward)) if sample else ()
    files = {}
    for file in sorted(part.iterdir()):
        _finish(file)
        files[file.name] = MappedFile(file).digest()
    (part / _MANIFEST).write_bytes(PackedManifest(files, forward.outputs, deviations).to_bytes())
    _finish(part / _MANIFEST)
    return sum(file.size for file in files.values())


def _is_full(part: Path, error: BaseException) -> bool:
    """Whether packing failed because the disk is full, which the runtime reports only as an error of its own."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    try:
        # The files written so far are at most half of what packing writes.
        check_disk(part, sum(file.stat().st_size for file in part.iterdir()))
    except OSError:
        return isinstance(error, ModelError)
    return False


def _open(spec: ModelSpec, home: Path) -> OnnxModel | None:
    """Map a packed model if it agrees with its manifest; otherwise log and remove it.

    Raises:
        OSError: This process has no free file descriptors or memory to read it.
        errors.OutOfMemory: The memory does not suffice for mapping it.
    """
    if not os.path.lexists(home):
        return None
    try:
        manifest = read_manifest(home / _MANIFEST)
        files = _open_files(home, manifest)
        session = OnnxSession.of_file(home / _MODEL)
        for file in files:
            file.check_mapped()
        return OnnxModel(ForwardPass(spec.family, session, manifest.outputs), manifest.deviations, files)
    except (OSError, ModelError, ValueError, WeightsChanged) as error:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            raise
        log.warning("packed weights in %s are thrown away and made anew: %s", home, error)
        _remove(home)
        return None


def _open_files(home: Path, manifest: PackedManifest) -> tuple[MappedFile, ...]:
    """Open the files of a packed model, and compare each with the manifest.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is missing, unexpected or different.
    """
    files = [file for file in (home / _MODEL, packed_weights(home / _MODEL)) if os.path.lexists(file)]
    if [file.name for file in files] != sorted(manifest.files):
        raise ValueError(f"its files are {', '.join(file.name for file in files)}, not {', '.join(manifest.files)}")
    opened = tuple(MappedFile(file) for file in files)
    for file in opened:
        if fault := file.fault(manifest.files[file.file.name]):
            raise ValueError(fault)
    return opened


def _remove_old(root: Path, key: PackedKey) -> None:
    """Remove weights that were packed from earlier contents of the model folder, and unfinished ones.

    A process that still maps a removed file keeps its pages until it ends.
    """
    for old in root.glob(f"{key.place}-*"):
        if old.suffix == _PART or key.is_outdated(old.name):
            _remove(old)


@contextmanager
def _locked(file: Path, kind: int) -> Iterator[None]:
    """Hold an exclusive or shared lock, by ``kind``; the kernel releases it if the process dies."""
    with file.open("w") as stream:
        fcntl.flock(stream, kind)
        yield


def _finish(file: Path) -> None:
    """Flush a file to the disk before the manifest names it, and make it read-only against accidental writes."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
    file.chmod(0o400)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
