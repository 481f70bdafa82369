"""Settings of sentence-transformers for the transformer, in ``sentence_bert_config.json``.

Keys as in sentence-transformers 6.2, base/modules/transformer.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedfleet.engine.model.tokenizer_config import LENGTH, read_length
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import SENTENCE_BERT_CONFIGS

_TASKS = ("feature-extraction", "fill-mask", "sequence-classification")
_OUTPUTS = ("last_hidden_state", "logits")
_NAMES = ("token_embeddings", "scores")
_ARGUMENTS = ("model_args", "model_kwargs", "config_args", "config_kwargs", "tokenizer_args", "processor_kwargs")
_TOKENIZER_ARGUMENTS = ("tokenizer_args", "processor_kwargs")
# Arguments that change no computed number.
_HARMLESS = {"attn_implementation", "device_map", "dtype", "padding_side", "torch_dtype", "use_cache", "use_fast"}
_GENERATIVE_TASKS, _GENERATIVE_NAMES = ("text-generation",), ("causal_logits",)
_PROCESSING = "processing_kwargs"
_REFUSED = (_PROCESSING, "query_length", "document_length", "query_expansion")


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """Settings for the transformer.

    Attributes:
        longest: Longest input, in tokens; None if not stated.
        lowercases: Whether texts are lowercased first.
    """

    longest: int | None = None
    lowercases: bool = False


def read_sentence_config(folder: Path, *, is_generative: bool = False, has_prompt: bool = False) -> SentenceConfig:
    """Read the file of a transformer's folder, if there is one.

    Args:
        folder: Folder of the transformer.
        is_generative: Whether the model is a generative reranker.
        has_prompt: Whether pairs go through its chat template; `chat_template` then reads the template's arguments.

    Raises:
        ModelError: The file cannot be read, or has an unsupported setting.
    """
    file = next((folder / name for name in SENTENCE_BERT_CONFIGS if has_file(folder / name)), None)
    if file is None:
        return SentenceConfig()
    config = ModelConfig(file)
    _check_outputs(config, is_generative=is_generative)
    for key in _REFUSED:
        if config.values.get(key) and not (has_prompt and key == _PROCESSING):
            raise _refused(config, key, config.values[key])
    arguments = {key: _arguments(config, key) for key in _ARGUMENTS}
    lengths = [read_length(config, f"{key}.{LENGTH}", arguments[key].get(LENGTH)) for key in _TOKENIZER_ARGUMENTS]
    length = next((length for length in lengths if length is not None), None)
    longest = config.number("max_seq_length", -1, at_most=None)
    return SentenceConfig(
        longest=length if length is not None else None if longest < 0 else longest,
        lowercases=config.flag("do_lower_case", default=False),
    )


def _check_outputs(config: ModelConfig, *, is_generative: bool) -> None:
    """Check that the stated output of the model is the one that is computed here.

    Raises:
        ModelError: The stated output is another one.
    """
    tasks, names = (_GENERATIVE_TASKS, _GENERATIVE_NAMES) if is_generative else (_TASKS, _NAMES)
    config.choice("transformer_task", dict.fromkeys(tasks, True), tasks[0])
    config.choice("module_output_name", dict.fromkeys(names, True), names[0])
    modalities = config.values.get("modality_config")
    if modalities is None:
        return
    text: Any = modalities.get("text") if isinstance(modalities, dict) else None
    if not isinstance(text, dict) or text.get("method") != "forward" or text.get("method_output_name") not in _OUTPUTS:
        raise _refused(config, "modality_config", modalities)


def _arguments(config: ModelConfig, key: str) -> dict[str, Any]:
    """Read the arguments for the libraries under a key.

    Raises:
        ModelError: An argument changes the computation.
    """
    values = config.values.get(key) or {}
    if not isinstance(values, dict):
        raise _refused(config, key, values)
    for name, value in values.items():
        if name not in _HARMLESS and not (name == LENGTH and key in _TOKENIZER_ARGUMENTS) and value is not None:
            raise _refused(config, f"{key}.{name}", value)
    return values


def _refused(config: ModelConfig, key: str, value: object) -> ModelError:
    return ModelError(
        f"{config.file}: `{key}` is {value!r}, which changes what sentence-transformers computes and is not supported",
        "serve the model with sentence-transformers, or save it without that setting and compare the vectors",
    )
