"""Kinds of model names, recognised by their text: a folder, a hub id, the built-in model, or auto."""

import os
import re
from pathlib import Path

BUILTIN = "builtin"
AUTO = "auto"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Usual folders of models: a name that begins with one is a path, not a hub id.
_FOLDERS = ("models/", "data/", "./", "../", "/", "~")


def usual_folder(task: str) -> str:
    """Return the default folder of the model of a service with this task."""
    return "models/bge-reranker-v2-m3" if task == "rerank" else "models/bge-m3"


def is_hub_id(model: str) -> bool:
    """Whether a name that is not a local folder is a hub id, ``organisation/name``."""
    return bool(_HUB_ID.fullmatch(model)) and not model.startswith(_FOLDERS)


def model_folder(model: str, root: Path) -> Path | None:
    """Resolve a model's name to a folder, which may not exist; None for the built-in model, hub ids and auto."""
    if model in {BUILTIN, AUTO}:
        return None
    folder = root / at_home(model)
    return None if not is_folder(folder) and is_hub_id(model) else folder


def at_home(model: str) -> Path:
    """Expand ``~`` in a path; a ``~user`` that does not exist stays as it is."""
    return Path(os.path.expanduser(model))  # noqa: PTH111 - Path.expanduser raises for an unknown user


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False also for paths that cannot exist."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a name that is too long or not accessible
