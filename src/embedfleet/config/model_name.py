"""What the name of a model means, before anything is opened."""

import os
import re
from pathlib import Path

BUILTIN = "builtin"
AUTO = "auto"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Folders where people keep models: a first part like this is meant as a path.
_FOLDERS = ("models/", "data/", "./", "../", "/", "~")


def usual_folder(task: str) -> str:
    """Where the document that asked for this keeps the model of a service, by its task."""
    return "models/bge-reranker-v2-m3" if task == "rerank" else "models/bge-m3"


def is_hub_id(model: str) -> bool:
    """Whether a name that is no folder here can only be meant as ``organisation/name`` on the hub."""
    return bool(_HUB_ID.fullmatch(model)) and not model.startswith(_FOLDERS)


def model_folder(model: str, root: Path) -> Path | None:
    """The folder that a model's name means, whether or not it exists; None for the built-in, hub ids and auto."""
    if model in {BUILTIN, AUTO}:
        return None
    folder = root / at_home(model)
    return None if not is_folder(folder) and is_hub_id(model) else folder


def at_home(model: str) -> Path:
    """A path with what ``~`` stands for; as it is if that is nobody's."""
    return Path(os.path.expanduser(model))  # noqa: PTH111 - Path's raises for a user who is not known here


def is_folder(path: Path) -> bool:
    """Whether there is such a folder, whatever the path is."""
    return os.path.isdir(path)  # noqa: PTH112 - Path's raises if a name is too long, or may not be looked up
