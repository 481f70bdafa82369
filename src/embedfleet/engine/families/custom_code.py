"""Custom code of a model, named by ``auto_map`` in config.json. It is never run."""

import re

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_KEY = "auto_map"
_OTHER_NAMES = {
    "bert": ("jinabert",),
    "bidirectional_pplx_qwen3": ("pplxqwen3",),
    "llama_bidirec": ("llamabidirectional",),
}
"""``model_type`` → lowercase names of the architecture besides the type itself."""


def known_class(config: ModelConfig) -> str:
    """Find the architecture that a folder's custom code implements, in lowercase; empty if there is no such code.

    A class with the name that transformers or the model's authors use is assumed to compute what the family does. Code
    with any other name may compute anything.

    Raises:
        ModelError: The custom code has any other name.
    """
    model_type = str(config.values.get("model_type"))
    own = re.sub("[^a-z0-9]", "", model_type.lower())
    found = ""
    for key, name in _classes(config).items():
        stem = name.rpartition(".")[2]
        match = re.fullmatch("(.+?)(Config|Model|PreTrainedModel|For[A-Z][A-Za-z]*)", stem)
        architecture = match[1].lower() if match else ""
        if architecture not in {own, *_OTHER_NAMES.get(model_type, ())}:
            raise ModelError(
                f"{config.file}: `{_KEY}` has {key} {name!r}, custom code, which is never run",
                f"if it computes the same as transformers' {model_type}, remove `{_KEY}` from config.json",
            )
        found = architecture
    return found


def _classes(config: ModelConfig) -> dict[str, str]:
    """Classes of the config and the model by their keys in ``auto_map``; tokenizer classes are left out.

    Raises:
        ModelError: The value of ``auto_map`` is not an object of names.
    """
    stated = config.values.get(_KEY) or {}
    if not isinstance(stated, dict):
        raise ModelError(f"{config.file}: `{_KEY}` is {stated!r}, it must be an object of names")
    classes = {key: name for key, name in stated.items() if key == "AutoConfig" or key.startswith("AutoModel")}
    for key, name in classes.items():
        if not isinstance(name, str):
            raise ModelError(f"{config.file}: `{_KEY}` has {key} {name!r}, it must be a name")
    return classes
