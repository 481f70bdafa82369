"""Where a model comes from: the package, a folder, or the hub."""

import os
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from embedfleet.config.model_name import BUILTIN, at_home, is_folder, is_hub_id
from embedfleet.engine.files.weights import FILES, INDEX_SUFFIX, shard_names
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.chat_template import TEMPLATE_FILE
from embedfleet.engine.model.modules import read_modules
from embedfleet.engine.model.spec import COLBERT_FILE, SPARSE_FILE
from embedfleet.engine.model.unweighted_tokens import NAMING_FILES
from embedfleet.errors import ModelError
from embedfleet.model_folder.sentence_files import LENGTH_FILES
from embedfleet.model_folder.slow_tokenizer import CONFIG_FILE, SLOW_FILES

_CONFIGS = (
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    CONFIG_FILE,
    TEMPLATE_FILE,
    "modules.json",
    "config_sentence_transformers.json",
    *LENGTH_FILES,
)
_M3 = (SPARSE_FILE, COLBERT_FILE, *NAMING_FILES)
_MODULE = re.compile(r"\d+_\w+")  # a folder of one of sentence-transformers' modules
_ONNX, _ONNX_DATA = "onnx/model.onnx", "onnx/model.onnx_data"


def resolve_model(model: str) -> Path:
    """The folder of a model.

    Args:
        model: ``builtin``, a folder in Hugging Face layout, or a hub id such as ``BAAI/bge-m3``, which is downloaded
            unless it is in the hub's cache.

    Raises:
        ModelError: there is no such model, or it cannot be had.
    """
    if model == BUILTIN:
        return builtin_model()
    folder = at_home(model)
    if is_folder(folder):
        return folder
    if os.path.lexists(folder):
        raise ModelError(f"{model} is a file", "a model is a folder in Hugging Face layout")
    if not is_hub_id(model):
        raise ModelError(f"there is no model folder {model}", "give a folder, a hub id (organisation/name) or builtin")
    return _download(model)


def files_to_read(names: Collection[str], folders: Collection[str] = ()) -> list[str]:
    """Of the files that a repository lists those that the engine reads, but for the shards that an index names.

    Args:
        names: paths in the repository.
        folders: of modules, beside those of the usual names.
    """
    weights = _first_weights(names, "")
    wanted = {*_own_files(names, ""), *weights}
    if weights == [_ONNX]:
        wanted |= {name for name in names if name.startswith(_ONNX_DATA)}
    elif {SPARSE_FILE, COLBERT_FILE} <= {*names}:
        wanted |= {*_M3}
    usual = filter(_MODULE.fullmatch, {str(PurePosixPath(name).parent) for name in names})
    for folder in {*usual, *folders}:
        wanted |= {*_own_files(names, f"{folder}/"), *_first_weights(names, f"{folder}/")}
    return sorted(wanted & {*names})


def _own_files(names: Collection[str], folder: str) -> list[str]:
    """What a transformer's folder may say, or a module's; slow tokenizers where there is no other."""
    slow = () if f"{folder}tokenizer.json" in names else SLOW_FILES
    return [folder + name for name in (*_CONFIGS, *slow)]


def _first_weights(names: Collection[str], folder: str) -> list[str]:
    """The file that a folder's weights are in, or their index; none if there is none."""
    return [folder + name for name in FILES if folder + name in names][:1]


def _download(model: str) -> Path:
    try:
        import huggingface_hub as hub  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise ModelError(
            f"{model} is neither a folder nor downloadable: huggingface-hub is not installed",
            "pip install 'embedfleet[hub]', or put the model's files into a folder and give its path",
        ) from None
    try:
        return _from_hub(hub, model)
    except ModelError:  # of a file that it gave
        raise
    except Exception as error:  # of the hub's own types, or of whichever HTTP library it uses
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{model} is not a folder here, and the hub did not give it: {said}",
            "with no network, put the model's files into a folder and give its path",
        ) from error


def _from_hub(hub: Any, model: str) -> Path:  # noqa: ANN401 - a module without types
    """The model's files in the hub's cache; those that are there already are not sent again."""
    try:
        listed = hub.HfApi().model_info(model).siblings or []
    except Exception:
        if (folder := _cached(hub, model)) is not None:
            return folder
        raise
    listed_names = [file.rfilename for file in listed]
    names = files_to_read(listed_names)
    folder = Path(hub.snapshot_download(model, allow_patterns=names))
    modules = [str(module.folder.relative_to(folder)) for module in read_modules(folder)]
    if more := set(files_to_read(listed_names, [name for name in modules if name != "."])) - {*names}:
        hub.snapshot_download(model, revision=folder.name, allow_patterns=sorted(more))
        names += sorted(more)
    shards = [
        str(PurePosixPath(name).parent / shard)
        for name in names
        if name.endswith(INDEX_SUFFIX)
        for shard in shard_names(folder / name)
    ]
    if shards:
        hub.snapshot_download(model, revision=folder.name, allow_patterns=shards)  # of the same commit
    return folder


def _cached(hub: Any, model: str) -> Path | None:  # noqa: ANN401
    """What the cache has of a model that cannot be listed, for there is no network."""
    try:
        # Asked for all files, it would miss those that were never wanted.
        return Path(hub.snapshot_download(model, local_files_only=True, allow_patterns=["config.json"]))
    except (OSError, ValueError):
        return None
