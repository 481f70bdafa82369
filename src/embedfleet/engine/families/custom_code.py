"""Code of a model's own, which ``auto_map`` in config.json names: it is never run."""

import re

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

_KEY = "auto_map"
_OTHERS = {
    "bert": ("jinabert",),
    "bidirectional_pplx_qwen3": ("pplxqwen3",),
    "llama_bidirec": ("llamabidirectional",),
}
"""Of a ``model_type`` the architectures that are known by another name, in small letters."""


def known_class(config: ModelConfig) -> str:
    """The architecture that a folder's own code is named after, in small letters; empty where it names none.

    A class of the name that transformers or the model's authors give to a family's is believed to compute what the
    family does. Any other computes something that we cannot know.

    Raises:
        ModelError: code of another name is asked for.
    """
    model_type = str(config.values.get("model_type"))
    own = re.sub("[^a-z0-9]", "", model_type.lower())
    found = ""
    for key, name in _classes(config).items():
        stem = name.rpartition(".")[2]
        match = re.fullmatch("(.+?)(Config|Model|PreTrainedModel|For[A-Z][A-Za-z]*)", stem)
        architecture = match[1].lower() if match else ""
        if architecture not in {own, *_OTHERS.get(model_type, ())}:
            raise ModelError(
                f"{config.file}: `{_KEY}` has {key} {name!r}, code of the model's own, which is never run",
                f"if it computes what transformers' {model_type} does, remove `{_KEY}` from config.json",
            )
        found = architecture
    return found


def _classes(config: ModelConfig) -> dict[str, str]:
    """What stands for the config and the model, by the key; a tokenizer's class is of no interest.

    Raises:
        ModelError: the key is not an object of names.
    """
    stated = config.values.get(_KEY) or {}
    if not isinstance(stated, dict):
        raise ModelError(f"{config.file}: `{_KEY}` is {stated!r}, an object of names is needed")
    classes = {key: name for key, name in stated.items() if key == "AutoConfig" or key.startswith("AutoModel")}
    for key, name in classes.items():
        if not isinstance(name, str):
            raise ModelError(f"{config.file}: `{_KEY}` has {key} {name!r}, a name is needed")
    return classes
