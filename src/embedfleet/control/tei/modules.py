"""Correction of a folder's pooling and the modules after it for TEI, or their refusal; pure.

Source: ``PoolConfig`` in ``get_backend_model_type`` (router/src/lib.rs) for the pooling; ``init_backend``
(backends/src/lib.rs) for modules.json, and backends/candle/src/models/dense.rs for a layer's keys.
"""

from dataclasses import dataclass
from typing import Any

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft, Target

MODULES = "modules.json"
POOLING = "1_Pooling/config.json"
_OLD_NAMES = "sentence_transformers.models."
_NAMES = {"Transformer", "Pooling", "Dense", "Normalize"}
_NO_STEP = {"Dropout"}  # used only in training
_POOLINGS = {  # TEI's name by sentence-transformers' name, in the order in which TEI reads the old keys
    "cls": "cls",
    "max": "",
    "mean": "mean",
    "mean_sqrt_len_tokens": "",
    "weightedmean": "",
    "lasttoken": "last-token",
}
_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_REQUIRED = ("pooling_mode_cls_token", "pooling_mode_mean_tokens")
_ACTIVATIONS = {"Tanh": "torch.nn.modules.activation.Tanh", "Identity": "torch.nn.modules.linear.Identity"}
_MANY_DENSE = (1, 8, 3)  # first release that reads modules.json of a local folder (TEI pull request 738)
_AGAIN = "copy the folder again from a complete one"
_STATE = "set pooling in the service's settings; "


@dataclass(frozen=True, slots=True)
class _Module:
    """One entry of ``modules.json``.

    Attributes:
        name: Last part of its class name.
        path: Path of its folder below the model's.
    """

    name: str
    path: str


def refuse_subfolder(draft: Draft, folder: ModelFolder) -> bool:
    """Refuse a model whose transformer is in a subfolder, where TEI does not look; return whether it was refused."""
    rows = folder.json.get(MODULES)
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    name, path = str(first.get("type", "")).rpartition(".")[2], first.get("path")
    if (path and not folder.has("config.json")) or name == "StaticEmbedding":
        what = f"is {path!r} of {name}: TEI reads only a transformer in the folder itself"
        draft.refuse(MODULES, "path", what, OWN_ENGINE)
        return True
    return False


def settle_modules(
    draft: Draft, folder: ModelFolder, target: Target, *, by_onnx: bool, poolings: tuple[str, ...]
) -> None:
    """Correct an embedder's pooling and later modules, so that TEI computes them as sentence-transformers does.

    Args:
        draft: Draft of the verdict.
        folder: Folder of the model.
        target: TEI that will read the folder.
        by_onnx: Whether TEI runs an exported ONNX file, in which case it computes no further modules.
        poolings: Poolings that TEI computes for this family.
    """
    modules = _read(draft, folder)
    if target.pooling != "auto":
        if target.pooling not in poolings:
            which = ", ".join(poolings)
            draft.refuse("", "pooling", f"is {target.pooling}, TEI computes {which} for this model", OWN_ENGINE)
        if target.pooling == "splade":  # its module is a masked-language-model head, which TEI finds in the weights
            return
    elif modules is not None or not folder.has(MODULES):
        _settle_pooling(draft, folder, modules, poolings)
    if modules is not None and not modules:
        draft.refuse(MODULES, "", "lists no module", _AGAIN)
    elif modules:
        _settle_steps(draft, folder, target, modules, by_onnx=by_onnx)


def _read(draft: Draft, folder: ModelFolder) -> list[_Module] | None:
    """Read the modules; None if the folder lists none."""
    if not folder.has(MODULES):
        return None
    if MODULES in folder.broken:
        draft.refuse(MODULES, "", f"cannot be read: {folder.broken[MODULES]}", _AGAIN)
        return None
    rows = folder.json.get(MODULES)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        draft.refuse(MODULES, "", "does not hold a list of modules", _AGAIN)
        return None
    modules = [_Module(str(row.get("type", "")).rpartition(".")[2], str(row.get("path") or "")) for row in rows]
    if wrong := next((module.path for module in modules if _leads_outside(module.path)), ""):
        draft.refuse(MODULES, "path", f"is {wrong!r}, which is outside the model's folder", _AGAIN)
        return None
    return modules


def _leads_outside(path: str) -> bool:
    return path.startswith("/") or bool({".", ".."} & {*path.split("/")})


def _settle_pooling(
    draft: Draft, folder: ModelFolder, modules: list[_Module] | None, poolings: tuple[str, ...]
) -> None:
    found = [module for module in modules or [] if module.name == "Pooling"]
    if len(found) > 1:
        draft.refuse(MODULES, "type", "names two poolings, TEI computes one", OWN_ENGINE)
        return
    file = f"{found[0].path}/config.json" if found else POOLING
    if modules is not None and not found:
        draft.refuse(MODULES, "type", "names no Pooling", f"{_STATE}sentence-transformers would not pool at all")
        return
    if not folder.has(file):
        said = "is missing: TEI would use cls for a BERT, sentence-transformers uses mean"
        draft.refuse(file, "", said, f"{_STATE}the model's card says which one it was trained with")
        return
    values = folder.values(file)
    if values is None:
        draft.refuse(file, "", folder.broken.get(file, "does not hold a JSON object"), _AGAIN)
        return
    pooling = _pooling(draft, file, values)
    if pooling and pooling not in poolings:
        name = next(name for name, ours in _POOLINGS.items() if ours == pooling)
        key = "pooling_mode" if "pooling_mode" in values else next(key for key, mode in _KEYS.items() if mode == name)
        draft.refuse(file, key, f"is {pooling}, which TEI does not compute for this model", OWN_ENGINE)
    elif pooling:
        _write_pooling(draft, folder, file, values, pooling)


def _pooling(draft: Draft, file: str, values: dict[str, Any]) -> str:
    """Return TEI's name of a folder's pooling; empty if it is refused."""
    if values.get("include_prompt", True) is not True:
        draft.refuse(file, "include_prompt", "is false, but TEI pools the prompt too", OWN_ENGINE)
        return ""
    stated = values.get("pooling_mode")
    if "pooling_mode" in values:
        modes = stated if isinstance(stated, list) else [stated]
    else:
        wrong = next((key for key in _KEYS if not isinstance(values.get(key, False), bool)), "")
        if wrong:
            draft.refuse(file, wrong, f"is {values[wrong]!r}, TEI needs true or false", _AGAIN)
            return ""
        modes = [name for key, name in _KEYS.items() if values.get(key)] or ["mean"]
    key = "pooling_mode" if "pooling_mode" in values else next(key for key, name in _KEYS.items() if name == modes[0])
    if len(modes) != 1:
        draft.refuse(
            file, key, f"is {' and '.join(map(str, modes))}; TEI would use the first one that it knows", OWN_ENGINE
        )
    elif not isinstance(modes[0], str) or modes[0] not in _POOLINGS:
        draft.refuse(file, key, f"is {modes[0]!r}, which is not a known pooling", _AGAIN)
    elif not _POOLINGS[modes[0]]:
        draft.refuse(file, key, f"is {modes[0]}, TEI pools by cls, mean or last-token", OWN_ENGINE)
    else:
        return _POOLINGS[modes[0]]
    return ""


def _write_pooling(draft: Draft, folder: ModelFolder, file: str, values: dict[str, Any], pooling: str) -> None:
    """Write the old pooling keys, which TEI reads only in ``1_Pooling``."""
    name = next(name for name, ours in _POOLINGS.items() if ours == pooling)
    wanted = {key: mode == name for key, mode in _KEYS.items()}
    says = {key: values.get(key, False) for key in _KEYS}
    if file != POOLING:
        if POOLING not in folder.odd and wanted.items() <= (folder.values(POOLING) or {}).items():
            return
        draft.change(POOLING, "", f"is made from {file}: TEI reads the pooling only here")
    elif says != wanted:
        key = next(key for key, mode in _KEYS.items() if mode == name)
        there = (
            f"is {pooling}, and TEI does not read this key" if "pooling_mode" in values else "is not stated, so mean"
        )
        draft.change(POOLING, "pooling_mode", f"{there}: {key} is set instead")
    elif missing := [key for key in _REQUIRED if key not in values]:
        draft.change(POOLING, missing[0], "is missing: false")
    elif file in folder.odd:
        draft.change(POOLING, "", "has a byte order mark or a repeated key")
    else:
        return
    if "word_embedding_dimension" not in values and "embedding_dimension" in values:
        values["word_embedding_dimension"] = values["embedding_dimension"]
    draft.write(POOLING, values | wanted)


def _settle_steps(draft: Draft, folder: ModelFolder, target: Target, modules: list[_Module], *, by_onnx: bool) -> None:
    """Check the order and kinds of the modules, because TEI ignores unknown ones."""
    if modules[0].name != "Transformer" or modules[0].path:
        what = (
            f"begins with {modules[0].name} in {modules[0].path!r}: TEI reads only a transformer in the folder itself"
        )
        draft.refuse(MODULES, "path", what, OWN_ENGINE)
        return
    unknown = [module.name for module in modules if module.name not in _NAMES | _NO_STEP]
    if unknown:
        draft.refuse(MODULES, "type", f"names {', '.join(unknown)}, which TEI ignores silently", OWN_ENGINE)
        return
    steps = [module for module in modules if module.name in _NAMES]
    names = [module.name for module in steps]
    dense = [module for module in steps if module.name == "Dense"]
    if dense and names.index("Dense") < (names.index("Pooling") if "Pooling" in names else 0):
        draft.refuse(MODULES, "type", "has a Dense before the Pooling, TEI computes only those after it", OWN_ENGINE)
    elif dense and "Normalize" in names[: len(names) - names[::-1].index("Dense")]:
        draft.refuse(MODULES, "type", "has a Dense after a Normalize, TEI normalises last", OWN_ENGINE)
    elif dense and by_onnx:
        hint = f"remove the ONNX file from the folder, so that TEI loads the weights; or {OWN_ENGINE}"
        draft.refuse(MODULES, "type", "names a Dense, which TEI ignores beside an ONNX file on the CPU", hint)
    elif dense and target.version < _MANY_DENSE:
        draft.refuse(
            MODULES, "type", "names a Dense, which TEI reads from a folder since 1.8.3", "use a newer tei_version"
        )
    for module in dense:
        _settle_dense(draft, folder, module.path)
    if dense and not draft.refusals:
        _write_modules(draft, folder, steps)
    if "Normalize" not in names:
        draft.notes.append(
            f"{MODULES} has no Normalize: vectors have length one if the request asks for it, which is TEI's default"
        )


def _write_modules(draft: Draft, folder: ModelFolder, steps: list[_Module]) -> None:
    """Write the old class names of modules, from before sentence-transformers 6: TEI ignores every Dense otherwise."""
    rows = [
        {"idx": number, "name": str(number), "path": module.path, "type": f"{_OLD_NAMES}{module.name}"}
        for number, module in enumerate(steps)
    ]
    there: list[dict[str, Any]] = folder.json[MODULES]
    if [{key: row.get(key) for key in ("path", "type")} for row in there] != [
        {key: row[key] for key in ("path", "type")} for row in rows
    ] or not all(isinstance(row.get("idx"), int) and isinstance(row.get("name"), str) for row in there):
        draft.change(MODULES, "type", "names modules as sentence-transformers 6 does: TEI would ignore the Dense")
        draft.write(MODULES, rows)
    elif MODULES in folder.odd:
        draft.change(MODULES, "", "has a byte order mark or a repeated key")
        draft.write(MODULES, rows)


def _settle_dense(draft: Draft, folder: ModelFolder, path: str) -> None:
    file = f"{path}/config.json"
    values = folder.values(file)
    if values is None:
        draft.refuse(file, "", folder.broken.get(file, "is missing, or holds no JSON object"), _AGAIN)
        return
    weights = [f"{path}/{name}" for name in ("model.safetensors", "pytorch_model.bin")]
    if not any(folder.has(name) and name not in folder.pointers for name in weights):
        draft.refuse(weights[0], "", "is missing: TEI would ignore the Dense", _AGAIN)
    for key in ("in_features", "out_features"):
        if isinstance(values.get(key), bool) or not isinstance(values.get(key), int) or values[key] < 1:
            draft.refuse(file, key, f"is {values.get(key)!r}, TEI needs a whole number from 1", _AGAIN)
    if values.get("use_residual"):
        draft.refuse(file, "use_residual", "is set, TEI ignores the residual", OWN_ENGINE)
    for key in ("module_input_name", "module_output_name"):
        if values.get(key) not in {None, "sentence_embedding"} if isinstance(values.get(key), str) else values.get(key):
            draft.refuse(file, key, f"is {values[key]!r}, TEI computes only on the vector", OWN_ENGINE)
    _settle_dense_keys(draft, folder, file, values)


def _settle_dense_keys(draft: Draft, folder: ModelFolder, file: str, values: dict[str, Any]) -> None:
    """Add a missing bias and activation, for which sentence-transformers has a default and TEI has none."""
    if values.get("bias") is None:
        values["bias"] = True
        draft.change(file, "bias", "is missing: true, sentence-transformers' default")
    elif not isinstance(values["bias"], bool):
        draft.refuse(file, "bias", f"is {values['bias']!r}, TEI needs true or false", _AGAIN)
    stated = values.get("activation_function")
    name = str(stated).rpartition(".")[2] if stated is not None else "Tanh"
    if name not in _ACTIVATIONS:
        draft.refuse(file, "activation_function", f"is {name}; TEI computes Tanh and Identity", OWN_ENGINE)
    elif stated != _ACTIVATIONS[name]:
        values["activation_function"] = _ACTIVATIONS[name]
        draft.change(file, "activation_function", f"is {stated!r}: {name}, under the name that TEI reads")
    if file in folder.odd:
        draft.change(file, "", "has a byte order mark or a repeated key")
    if draft.is_changed(file):
        draft.write(file, values)
