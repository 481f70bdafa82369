"""Settings in ``config_sentence_transformers.json``: prompts, and the dimensions to which vectors are truncated."""

from dataclasses import dataclass, field
from pathlib import Path

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import SENTENCE_TRANSFORMERS_CONFIG


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """Settings for prompts and dimensions.

    Attributes:
        prompts: Name → text to put before an input.
        default: Name of the prompt for requests that name none; None for no prompt.
        dimensions: Number of leading dimensions of a vector to keep; None for all.
        model_type: Class of the model in sentence-transformers; empty if not stated.
    """

    prompts: dict[str, str] = field(default_factory=dict)
    default: str | None = None
    dimensions: int | None = None
    model_type: str = ""


def read_prompt_config(folder: Path) -> PromptConfig:
    """Read the file of a model's folder, if there is one.

    Raises:
        ModelError: The file cannot be read, a prompt is not a text, or the default prompt does not exist.
    """
    file = folder / SENTENCE_TRANSFORMERS_CONFIG
    if not has_file(file):
        return PromptConfig()
    config = ModelConfig(file)
    stated = config.values.get("prompts") or {}
    if not isinstance(stated, dict):
        raise ModelError(f"{file}: `prompts` is {stated!r}, it must be an object of names and texts")
    prompts = {name: "" if text is None else text for name, text in stated.items()}  # null stands for no text
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise ModelError(f"{file}: prompt {name!r} is {text!r}, it must be a text")
    default = config.values.get("default_prompt_name")
    if default is not None and default not in list(stated):
        raise ModelError(f"{file}: `default_prompt_name` is {default!r}, but `prompts` has {list(stated)}")
    dimensions = config.number("truncate_dim", 0)
    if config.values.get("max_active_dims") is not None:
        stated = config.values["max_active_dims"]
        raise ModelError(
            f"{file}: `max_active_dims` is {stated!r}: limiting the number of words with a weight is not supported",
            "remove it to get all weights, and keep the largest ones in the client",
        )
    return PromptConfig(
        prompts=prompts,
        default=None if default is None or stated[default] is None else default,
        dimensions=dimensions or None,
        model_type=str(config.values.get("model_type") or ""),
    )
