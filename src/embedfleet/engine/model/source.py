"""Origin of a model: the built-in package, a folder, or the Hugging Face hub."""

import os
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from embedfleet.config.model_name import BUILTIN, at_home, is_folder, is_hub_id
from embedfleet.engine.files.weights import shard_names
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.modules import read_modules
from embedfleet.errors import ModelError
from embedfleet.model_folder.file_names import (
    ADAPTER_CONFIG,
    CHAT_TEMPLATE,
    COLBERT_LINEAR,
    CONFIG,
    MODULES,
    ONNX_DATA,
    ONNX_MODEL,
    SENTENCE_BERT_CONFIGS,
    SENTENCE_TRANSFORMERS_CONFIG,
    SLOW_TOKENIZER_FILES,
    SPARSE_LINEAR,
    SPECIAL_TOKEN_FILES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS_FILES,
    is_index,
)

_CONFIGS = (
    CONFIG,
    ADAPTER_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    CHAT_TEMPLATE,
    MODULES,
    SENTENCE_TRANSFORMERS_CONFIG,
    *SENTENCE_BERT_CONFIGS,
)
_BGE_M3_FILES = (SPARSE_LINEAR, COLBERT_LINEAR, *SPECIAL_TOKEN_FILES)
_MODULE = re.compile(r"\d+_\w+")  # folder of a module of sentence-transformers


def resolve_model(model: str) -> Path:
    """Find the folder of a model, and download the model if necessary.

    Args:
        model: ``builtin``, a folder in Hugging Face layout, or a hub id such as ``BAAI/bge-m3``. A model with a hub id
            is downloaded unless it is in the hub's cache.

    Raises:
        ModelError: There is no such model, or it cannot be downloaded.
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
    """Files of a repository that the engine reads, without the shards that an index names.

    Args:
        names: Paths of all files in the repository.
        folders: Folders of modules that do not have the usual names.
    """
    weights = _first_weights(names, "")
    wanted = {*_settings_files(names, ""), *weights}
    if weights == [ONNX_MODEL]:
        wanted |= {name for name in names if name.startswith(ONNX_DATA)}
    elif {SPARSE_LINEAR, COLBERT_LINEAR} <= {*names}:
        wanted |= {*_BGE_M3_FILES}
    usual = filter(_MODULE.fullmatch, {str(PurePosixPath(name).parent) for name in names})
    for folder in {*usual, *folders}:
        wanted |= {*_settings_files(names, f"{folder}/"), *_first_weights(names, f"{folder}/")}
    return sorted(wanted & {*names})


def _settings_files(names: Collection[str], folder: str) -> list[str]:
    """Settings and tokenizer files of a transformer's or a module's folder; slow tokenizer files only if needed."""
    slow = () if folder + TOKENIZER in names else SLOW_TOKENIZER_FILES
    return [folder + name for name in (*_CONFIGS, *slow)]


def _first_weights(names: Collection[str], folder: str) -> list[str]:
    """File of a folder's weights, or their index, in a list; empty if there is none."""
    return [folder + name for name in WEIGHTS_FILES if folder + name in names][:1]


def _download(model: str) -> Path:
    try:
        import huggingface_hub as hub  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise ModelError(
            f"{model} is not a folder, and cannot be downloaded: huggingface-hub is not installed",
            "pip install 'embedfleet[hub]', or put the model's files into a folder and give its path",
        ) from None
    try:
        return _from_hub(hub, model)
    except ModelError:  # about a downloaded file
        raise
    except Exception as error:  # the hub's library and its HTTP library have types of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{model} is not a folder here, and the hub did not provide it: {reason}",
            "without a network, put the model's files into a folder and give its path",
        ) from error


def _from_hub(hub: Any, model: str) -> Path:  # noqa: ANN401 - an untyped module
    """Download those of the model's files that the hub's cache lacks."""
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
        if is_index(name)
        for shard in shard_names(folder / name)
    ]
    if shards:
        hub.snapshot_download(model, revision=folder.name, allow_patterns=shards)  # same commit
    return folder


def _cached(hub: Any, model: str) -> Path | None:  # noqa: ANN401
    """Cached folder of a model that cannot be listed because there is no network; None if it is not cached."""
    try:
        # Asking for all files would fail, since the cache holds only those that the engine reads.
        return Path(hub.snapshot_download(model, local_files_only=True, allow_patterns=[CONFIG]))
    except (OSError, ValueError):
        return None
