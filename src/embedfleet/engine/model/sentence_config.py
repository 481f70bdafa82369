"""Reads ``sentence_bert_config.json``, sentence-transformers' file about the transformer.

Source of the keys: sentence-transformers 6.2, base/modules/transformer.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedfleet.engine.model.tokenizer_config import LENGTH, read_length
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.sentence_files import LENGTH_FILES

_TASKS = ("feature-extraction", "fill-mask", "sequence-classification")
_OUTPUTS = ("last_hidden_state", "logits")
_NAMES = ("token_embeddings", "scores")
_ARGUMENTS = ("model_args", "model_kwargs", "config_args", "config_kwargs", "tokenizer_args", "processor_kwargs")
_OF_TOKENIZER = ("tokenizer_args", "processor_kwargs")
# Of the arguments those on which no number depends.
_HARMLESS = {"attn_implementation", "device_map", "dtype", "padding_side", "torch_dtype", "use_cache", "use_fast"}
_GENERATES, _WORDS = ("text-generation",), ("causal_logits",)  # of a reranker that generates
_PROCESSING = "processing_kwargs"
_UNUSED = (_PROCESSING, "query_length", "document_length", "query_expansion")


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """What it says.

    Attributes:
        longest: tokens of the longest input; None where it is not stated.
        lowers: whether a text is lowered first.
    """

    longest: int | None = None
    lowers: bool = False


def read_sentence_config(folder: Path, *, generates: bool = False, asks: bool = False) -> SentenceConfig:
    """Read the file of a transformer's folder, if there is one.

    Args:
        folder: of the transformer.
        generates: whether it is a reranker that generates.
        asks: whether pairs go through its chat template, whose arguments `chat_template` reads.

    Raises:
        ModelError: it cannot be read, or asks for what we do not compute.
    """
    file = next((folder / name for name in LENGTH_FILES if has_file(folder / name)), None)
    if file is None:
        return SentenceConfig()
    config = ModelConfig(file)
    _check_outputs(config, generates=generates)
    for key in _UNUSED:
        if config.values.get(key) and not (asks and key == _PROCESSING):
            raise _refused(config, key, config.values[key])
    arguments = {key: _arguments(config, key) for key in _ARGUMENTS}
    lengths = [read_length(config, f"{key}.{LENGTH}", arguments[key].get(LENGTH)) for key in _OF_TOKENIZER]
    length = next((length for length in lengths if length is not None), None)
    longest = config.number("max_seq_length", -1, at_most=None)
    return SentenceConfig(
        longest=length if length is not None else None if longest < 0 else longest,
        lowers=config.flag("do_lower_case", default=False),
    )


def _check_outputs(config: ModelConfig, *, generates: bool) -> None:
    """Check that the stated output of the model is the one that we compute."""
    tasks, names = (_GENERATES, _WORDS) if generates else (_TASKS, _NAMES)
    config.choice("transformer_task", dict.fromkeys(tasks, True), tasks[0])
    config.choice("module_output_name", dict.fromkeys(names, True), names[0])
    modalities = config.values.get("modality_config")
    if modalities is None:
        return
    text: Any = modalities.get("text") if isinstance(modalities, dict) else None
    if not isinstance(text, dict) or text.get("method") != "forward" or text.get("method_output_name") not in _OUTPUTS:
        raise _refused(config, "modality_config", modalities)


def _arguments(config: ModelConfig, key: str) -> dict[str, Any]:
    """The arguments that a key has for the libraries."""
    values = config.values.get(key) or {}
    if not isinstance(values, dict):
        raise _refused(config, key, values)
    for name, value in values.items():
        if name not in _HARMLESS and not (name == LENGTH and key in _OF_TOKENIZER) and value is not None:
            raise _refused(config, f"{key}.{name}", value)
    return values


def _refused(config: ModelConfig, key: str, value: object) -> ModelError:
    return ModelError(
        f"{config.file}: `{key}` is {value!r}, which changes what sentence-transformers computes and is not built here",
        "serve the model with sentence-transformers, or save it without that setting and compare the vectors",
    )
