"""Reads ``config_sentence_transformers.json``: prompts, and to how many dimensions vectors are cut."""

from dataclasses import dataclass, field
from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file

FILE = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """What it says.

    Attributes:
        prompts: name → text to put before an input.
        default: the name of the prompt where none is asked for; None means none.
        dimensions: how many of a vector's first numbers are wanted; None means all.
        model_type: sentence-transformers' class of the model; empty where it is not stated.
    """

    prompts: dict[str, str] = field(default_factory=dict)
    default: str | None = None
    dimensions: int | None = None
    model_type: str = ""


def read_prompt_config(folder: Path) -> PromptConfig:
    """Read the file of a model's folder, if there is one.

    Raises:
        ModelError: it cannot be read, or a prompt is no text, or the default is none of them.
    """
    file = folder / FILE
    if not has_file(file):
        return PromptConfig()
    config = ModelConfig(file)
    stated = config.values.get("prompts") or {}
    if not isinstance(stated, dict):
        raise ModelError(f"{file}: `prompts` is {stated!r}, an object of names and texts is needed")
    prompts = {name: "" if text is None else text for name, text in stated.items()}  # null: no text before an input
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise ModelError(f"{file}: prompt {name!r} is {text!r}, a text is needed")
    default = config.values.get("default_prompt_name")
    if default is not None and default not in list(stated):
        raise ModelError(f"{file}: `default_prompt_name` is {default!r}, `prompts` has {list(stated)}")
    dimensions = config.number("truncate_dim", 0)
    if config.values.get("max_active_dims") is not None:
        stated = config.values["max_active_dims"]
        raise ModelError(
            f"{file}: `max_active_dims` is {stated!r}: only so many words' weights are wanted, which is not built here",
            "remove it to have all weights, and keep the largest in the client",
        )
    return PromptConfig(
        prompts=prompts,
        default=None if default is None or stated[default] is None else default,
        dimensions=dimensions or None,
        model_type=str(config.values.get("model_type") or ""),
    )
