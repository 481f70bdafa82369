"""What the name of a model means, before anything is opened."""

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
    folder = root / Path(model).expanduser()
    return None if not folder.is_dir() and is_hub_id(model) else folder
