"""Checks of the weights that TEI loads from a folder; pure.

Source: ``init_backend`` (backends/src/lib.rs) for the backend; ``CandleBackend::new`` (backends/candle/src/lib.rs) and
``OrtBackend::new`` (backends/ort/src/lib.rs) for the files and their order.
"""

import re
from collections.abc import Mapping

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import Draft

INDEX = "model.safetensors.index.json"
_ONE = "model.safetensors"
_PICKLE = "pytorch_model.bin"
_PICKLE_INDEX = "pytorch_model.bin.index.json"
ONNX = ("model.onnx", "onnx/model.onnx")
ADAPTER = "adapter_config.json"
HEADS = ("classifier.weight", "classifier.out_proj.weight")
"""Names of a classification head's weight."""

_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_PULL = "run `git lfs install && git lfs pull` in the folder"
_AGAIN = "copy the folder again from a complete one"
_SAVE = "write it as model.safetensors: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"


def weight_files(folder: ModelFolder) -> list[str]:
    """List the weight files that TEI would load, in its order; an ONNX file only if there are no others."""
    for name in (_ONE, _PICKLE):
        if folder.has(name):
            return [name]
    shards = sorted(_index(folder) or _shards(folder))
    if shards:
        return shards
    return next(([name] for name in ONNX if folder.has(name)), [])


def weights_bytes(folder: ModelFolder) -> int:
    """Sum the sizes of the weight files that TEI would load, in bytes; missing files count 0."""
    return sum(max(0, folder.sizes.get(name, 0)) for name in weight_files(folder))


def takes_onnx(folder: ModelFolder, *, on_gpu: bool, dtype: str) -> bool:
    """Whether TEI runs an exported ONNX file: only on the CPU, in float32, if there is one."""
    return not on_gpu and dtype != "float16" and any(folder.has(name) for name in ONNX)


def settle_weights(draft: Draft, folder: ModelFolder, *, by_onnx: bool) -> None:
    """Check that the weights exist, are complete, and are not git-lfs pointers.

    Args:
        draft: Draft of the verdict.
        folder: Folder of the model.
        by_onnx: Whether TEI runs an exported ONNX file.
    """
    if folder.has(ADAPTER):
        draft.refuse(ADAPTER, "", "exists: TEI would ignore the adapter", "merge it into the model and save that")
    files = [next(name for name in ONNX if folder.has(name))] if by_onnx else weight_files(folder)
    if not files or (files[0] in ONNX and not by_onnx):
        _refuse_missing(draft, folder)
        return
    for name in files:
        _check_file(draft, folder, name)
    if files == [_PICKLE]:
        draft.notes.append(f"TEI reads {_PICKLE}, which takes longer than {_ONE}")
        if not folder.zipped and _PICKLE not in folder.pointers:
            draft.refuse(_PICKLE, "", "is a pickle older than PyTorch 1.6, which TEI does not read", _SAVE)
    elif _SHARD.fullmatch(files[0]) and not by_onnx:
        _settle_index(draft, folder)


def head_rows(folder: ModelFolder, name: str) -> int | None:
    """Return the number of rows of a classification head's weight; 0 if it is missing, None if unknown."""
    tensors = tensors_of(folder)
    if tensors is None:
        return None
    shape = tensors.get(name, ())
    return shape[0] if shape else 0


def tensors_of(folder: ModelFolder) -> Mapping[str, tuple[int, ...]] | None:
    """Return the shapes of the tensors that TEI would load, by name; None if they are unknown."""
    tensors: dict[str, tuple[int, ...]] = {}
    files = weight_files(folder)
    for name in files:
        if name not in folder.tensors:
            return None
        tensors |= folder.tensors[name]
    return tensors if files else None


def _index(folder: ModelFolder) -> set[str]:
    """Return the files that the index names."""
    table = (folder.values(INDEX) or {}).get("weight_map")
    return {name for name in table.values() if isinstance(name, str)} if isinstance(table, dict) else set()


def _shards(folder: ModelFolder) -> set[str]:
    return {name for name in folder.sizes if _SHARD.fullmatch(name)}


def _refuse_missing(draft: Draft, folder: ModelFolder) -> None:
    if folder.has(_PICKLE_INDEX):
        draft.refuse(_PICKLE_INDEX, "", "names sharded pickles, which TEI does not read", _SAVE)
    elif INDEX in folder.broken:
        draft.refuse(INDEX, "", f"cannot be read: {folder.broken[INDEX]}", _AGAIN)
    else:
        draft.refuse(_ONE, "", f"is missing, and so are {_PICKLE}, {INDEX} and its shards", f"{_AGAIN}; or {_SAVE}")


def _check_file(draft: Draft, folder: ModelFolder, name: str) -> None:
    if not folder.has(name):
        draft.refuse(name, "", f"is missing: {INDEX} names it", _AGAIN)
    elif name in folder.pointers:
        draft.refuse(name, "", "is a git-lfs pointer, not the file itself", _PULL)
    elif folder.sizes[name] < 0:
        draft.refuse(name, "", "is a broken link, or cannot be read", _AGAIN)
    elif name.endswith(".safetensors") and name not in folder.tensors:
        draft.refuse(name, "", "is not a safetensors file, or is truncated", _AGAIN)


def _settle_index(draft: Draft, folder: ModelFolder) -> None:
    """Make a missing index from the headers of the shards, which name their tensors."""
    if _index(folder):
        if INDEX in folder.odd:
            draft.change(INDEX, "", "has a byte order mark or a repeated key")
            draft.write(INDEX, folder.values(INDEX))
        return
    found = [_SHARD.fullmatch(name) for name in sorted(_shards(folder))]
    there = {(int(part[1]), int(part[2])) for part in found if part is not None}
    count = max(total for _, total in there)
    if there != {(number, count) for number in range(1, count + 1)}:
        draft.refuse(INDEX, "", f"is missing, and there are {len(there)} of {count} shards", _AGAIN)
        return
    table = {tensor: name for name in sorted(_shards(folder)) for tensor in folder.tensors.get(name, ())}
    draft.change(INDEX, "weight_map", f"is missing: made from the {count} shards")
    draft.write(INDEX, {"metadata": {}, "weight_map": table})
