"""Where a model comes from: the package, a folder, or the hub."""

from pathlib import Path

from embedfleet.config.model_name import BUILTIN, is_hub_id
from embedfleet.engine.builtin import builtin_model
from embedfleet.errors import ModelError

# What the engine reads; everything else in a hub repository stays there.
_FILES = ["*.json", "model.safetensors", "1_Pooling/*"]


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
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{model} is a file", "a model is a folder in Hugging Face layout")
    if not is_hub_id(model):
        raise ModelError(f"there is no model folder {model}", "give a folder, a hub id (organisation/name) or builtin")
    return _download(model)


def _download(model: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra, and slow to import
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise ModelError(
            f"{model} is neither a folder nor downloadable: huggingface-hub is not installed",
            "pip install 'embedfleet[hub]', or put the model's files into a folder and give its path",
        ) from None
    try:
        return Path(snapshot_download(model, allow_patterns=_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"{model} is not a folder here, and the hub did not give it: {str(error).splitlines()[0]}",
            "with no network, put the model's files into a folder and give its path",
        ) from error
