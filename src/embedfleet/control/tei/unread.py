"""Refuses keys that TEI ignores though numbers depend on them, unless their value changes nothing; pure."""

from typing import Any

from embedfleet.control.model_folder import ModelFolder
from embedfleet.control.tei.config import OWN_ENGINE
from embedfleet.control.tei.verdict import Draft
from embedfleet.folder.sentence_files import LENGTH_FILES

_SENTENCE = LENGTH_FILES[0]
_TOKENIZER_CONFIG = "tokenizer_config.json"
_EMPTY: tuple[object, ...] = (None, {}, [])
_TASKS = {False: ("feature-extraction",), True: ("sequence-classification",)}
_OUTPUTS = {False: ("token_embeddings",), True: ("scores",)}
_METHOD_OUTPUTS = {False: ("last_hidden_state",), True: ("logits",)}
_ARGUMENTS = (
    "model_args",
    "model_kwargs",
    "config_args",
    "config_kwargs",
    "tokenizer_args",
    "processor_kwargs",
    "processing_kwargs",
)
_UNREAD: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    *((_SENTENCE, key, _EMPTY) for key in _ARGUMENTS),
    ("config_sentence_transformers.json", "truncate_dim", (None,)),
    (_TOKENIZER_CONFIG, "truncation_side", (None, "right")),
    (_TOKENIZER_CONFIG, "split_special_tokens", (None, False)),
    (_TOKENIZER_CONFIG, "fast_tokenizer_files", (None, [], ["tokenizer.json"])),
)


def refuse_unread(draft: Draft, folder: ModelFolder, *, classifies: bool) -> None:
    """Refuse a folder with settings that TEI would ignore in silence.

    Args:
        draft: of the verdict.
        folder: of the model.
        classifies: whether TEI takes it for a classifier.
    """
    for file, key, harmless in _UNREAD:
        _check(draft, file, key, (folder.values(file) or {}).get(key), harmless)
    values = folder.values(_SENTENCE) or {}
    _check(draft, _SENTENCE, "transformer_task", values.get("transformer_task"), (None, *_TASKS[classifies]))
    _check(draft, _SENTENCE, "module_output_name", values.get("module_output_name"), (None, *_OUTPUTS[classifies]))
    output = _text_output(values.get("modality_config"))
    _check(draft, _SENTENCE, "modality_config", output, (None, *_METHOD_OUTPUTS[classifies]))


def refuse_lost_types(draft: Draft, folder: ModelFolder) -> None:
    """Refuse a cross-encoder that takes no token types: TEI always gives it those of its tokenizer."""
    names = (folder.values(_TOKENIZER_CONFIG) or {}).get("model_input_names")
    if isinstance(names, list) and "token_type_ids" not in names:
        what = f"is {str(names)[:80]}, without token types, which TEI gives to the second text of a pair"
        draft.refuse(_TOKENIZER_CONFIG, "model_input_names", what, OWN_ENGINE)


def _check(draft: Draft, file: str, key: str, value: object, harmless: tuple[object, ...]) -> None:
    if value not in harmless:
        draft.refuse(file, key, f"is {str(value)[:80]!r}, which TEI does not read", OWN_ENGINE)


def _text_output(modalities: Any) -> object:  # noqa: ANN401 - what JSON holds
    """Which of a model's outputs is taken for texts."""
    text = modalities.get("text") if isinstance(modalities, dict) else None
    return text.get("method_output_name") if isinstance(text, dict) else None
