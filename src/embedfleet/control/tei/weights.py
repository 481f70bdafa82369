"""Checks the weights that TEI loads from a folder; pure.

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
"""Names of the weight of a classification head."""

_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_PULL = "run `git lfs install && git lfs pull` in the folder"
_AGAIN = "copy the folder anew from where it is whole"
_SAVE = "write it as model.safetensors: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"


def weight_files(folder: ModelFolder) -> list[str]:
    """The files of weights that TEI would load, in its order; an ONNX file where there is nothing else."""
    for name in (_ONE, _PICKLE):
        if folder.has(name):
            return [name]
    shards = sorted(_index(folder) or _shards(folder))
    if shards:
        return shards
    return next(([name] for name in ONNX if folder.has(name)), [])


def weights_bytes(folder: ModelFolder) -> int:
    """Of the files of weights that TEI would load, as far as they are there."""
    return sum(max(0, folder.sizes.get(name, 0)) for name in weight_files(folder))


def takes_onnx(folder: ModelFolder, *, on_gpu: bool, dtype: str) -> bool:
    """Whether TEI runs an exported file: on the CPU alone, where there is one, in float32."""
    return not on_gpu and dtype != "float16" and any(folder.has(name) for name in ONNX)


def settle_weights(draft: Draft, folder: ModelFolder, *, by_onnx: bool) -> None:
    """Check that the weights are there, whole, and no git-lfs pointers.

    Args:
        draft: of the verdict.
        folder: of the model.
        by_onnx: whether TEI runs an exported ONNX file.
    """
    if folder.has(ADAPTER):
        draft.refuse(ADAPTER, "", "is there: TEI would leave the adapter out", "merge it into the model and save that")
    files = [next(name for name in ONNX if folder.has(name))] if by_onnx else weight_files(folder)
    if not files or (files[0] in ONNX and not by_onnx):
        _refuse_missing(draft, folder)
        return
    for name in files:
        _check_file(draft, folder, name)
    if files == [_PICKLE]:
        draft.notes.append(f"{_PICKLE} is read, which takes longer than {_ONE}")
        if not folder.zipped and _PICKLE not in folder.pointers:
            draft.refuse(_PICKLE, "", "is a pickle of before PyTorch 1.6, which TEI does not read", _SAVE)
    elif _SHARD.fullmatch(files[0]) and not by_onnx:
        _settle_index(draft, folder)


def head_rows(folder: ModelFolder, name: str) -> int | None:
    """How many rows the weight of a classification head has; 0 if there is none, None if it cannot be seen."""
    tensors = tensors_of(folder)
    if tensors is None:
        return None
    shape = tensors.get(name, ())
    return shape[0] if shape else 0


def tensors_of(folder: ModelFolder) -> Mapping[str, tuple[int, ...]] | None:
    """Name → shape of the tensors that TEI would load; None if they cannot be seen."""
    tensors: dict[str, tuple[int, ...]] = {}
    files = weight_files(folder)
    for name in files:
        if name not in folder.tensors:
            return None
        tensors |= folder.tensors[name]
    return tensors if files else None


def _index(folder: ModelFolder) -> set[str]:
    """The files that the index names."""
    table = (folder.values(INDEX) or {}).get("weight_map")
    return {name for name in table.values() if isinstance(name, str)} if isinstance(table, dict) else set()


def _shards(folder: ModelFolder) -> set[str]:
    return {name for name in folder.sizes if _SHARD.fullmatch(name)}


def _refuse_missing(draft: Draft, folder: ModelFolder) -> None:
    if folder.has(_PICKLE_INDEX):
        draft.refuse(_PICKLE_INDEX, "", "names pickles in parts, which TEI does not read", _SAVE)
    elif INDEX in folder.broken:
        draft.refuse(INDEX, "", f"cannot be read: {folder.broken[INDEX]}", _AGAIN)
    else:
        draft.refuse(_ONE, "", f"is missing, and so are {_PICKLE}, {INDEX} and its parts", f"{_AGAIN}; or {_SAVE}")


def _check_file(draft: Draft, folder: ModelFolder, name: str) -> None:
    if not folder.has(name):
        draft.refuse(name, "", f"is missing: {INDEX} names it", _AGAIN)
    elif name in folder.pointers:
        draft.refuse(name, "", "is a git-lfs pointer, not the file itself", _PULL)
    elif folder.sizes[name] < 0:
        draft.refuse(name, "", "is a link that leads nowhere, or may not be read", _AGAIN)
    elif name.endswith(".safetensors") and name not in folder.tensors:
        draft.refuse(name, "", "is no safetensors file, or was cut short", _AGAIN)


def _settle_index(draft: Draft, folder: ModelFolder) -> None:
    """Parts whose index was lost name their tensors themselves."""
    if _index(folder):
        if INDEX in folder.odd:
            draft.change(INDEX, "", "has a byte order mark or a key twice")
            draft.write(INDEX, folder.values(INDEX))
        return
    found = [_SHARD.fullmatch(name) for name in sorted(_shards(folder))]
    there = {(int(part[1]), int(part[2])) for part in found if part is not None}
    count = max(total for _, total in there)
    if there != {(number, count) for number in range(1, count + 1)}:
        draft.refuse(INDEX, "", f"is missing, and there are {len(there)} of {count} parts", _AGAIN)
        return
    table = {tensor: name for name in sorted(_shards(folder)) for tensor in folder.tensors.get(name, ())}
    draft.change(INDEX, "weight_map", f"is missing: made from the {count} parts")
    draft.write(INDEX, {"metadata": {}, "weight_map": table})
