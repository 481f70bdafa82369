"""Refusal of keys that TEI ignores although results depend on them, unless their value has no effect; pure.

Source: router/src/lib.rs, backends/src/lib.rs and backends/candle/src do not name these keys.
"""

from typing import Any

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft
from embedfleet.model_folder.file_names import SENTENCE_BERT_CONFIGS

_SENTENCE = SENTENCE_BERT_CONFIGS[0]
_TOKENIZER_CONFIG = "tokenizer_config.json"
_NO_TYPES = "TokenizersBackend"  # in transformers 4 it was PreTrainedTokenizerFast, which made token types
_STATE_TYPES = (
    'if the model was trained with token types, state "model_input_names": ["input_ids", "token_type_ids",'
    ' "attention_mask"]'
)
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
    ("config_sentence_transformers.json", "max_active_dims", (None,)),
    (_TOKENIZER_CONFIG, "truncation_side", (None, "right")),
    (_TOKENIZER_CONFIG, "split_special_tokens", (None, False)),
    (_TOKENIZER_CONFIG, "fast_tokenizer_files", (None, [], ["tokenizer.json"])),
)


def refuse_unread(draft: Draft, folder: ModelFolder) -> None:
    """Refuse a folder with settings that TEI would ignore silently."""
    for file, key, harmless in _UNREAD:
        _check(draft, file, key, (folder.values(file) or {}).get(key), harmless)


def refuse_output(draft: Draft, folder: ModelFolder, *, classifies: bool) -> None:
    """Refuse a folder that selects another output of the model than TEI does.

    Args:
        draft: Draft of the verdict.
        folder: Folder of the model.
        classifies: Whether TEI treats the model as a classifier.
    """
    values = folder.values(_SENTENCE) or {}
    _check(draft, _SENTENCE, "transformer_task", values.get("transformer_task"), (None, *_TASKS[classifies]))
    _check(draft, _SENTENCE, "module_output_name", values.get("module_output_name"), (None, *_OUTPUTS[classifies]))
    output = _text_output(values.get("modality_config"))
    _check(draft, _SENTENCE, "modality_config", output, (None, *_METHOD_OUTPUTS[classifies]))


def refuse_lost_types(draft: Draft, folder: ModelFolder) -> None:
    """Refuse a cross-encoder that gets no token types in its library, because TEI always passes the tokenizer's."""
    values = folder.values(_TOKENIZER_CONFIG) or {}
    names = values.get("model_input_names")
    if not isinstance(names, list) and values.get("tokenizer_class") == _NO_TYPES:
        what = f"is {_NO_TYPES!r} without model_input_names: transformers 5 then makes no token types, TEI makes them"
        draft.refuse(_TOKENIZER_CONFIG, "tokenizer_class", what, f"{_STATE_TYPES}; else {OWN_ENGINE}")
    elif isinstance(names, list) and "token_type_ids" not in names:
        what = f"is {str(names)[:80]}, without token types, which TEI gives to the second text of a pair"
        draft.refuse(_TOKENIZER_CONFIG, "model_input_names", what, OWN_ENGINE)


def _check(draft: Draft, file: str, key: str, value: object, harmless: tuple[object, ...]) -> None:
    if value not in harmless:
        draft.refuse(file, key, f"is {repr(value)[:80]}, which TEI does not read", OWN_ENGINE)


def _text_output(modalities: Any) -> object:  # noqa: ANN401 - any JSON value
    """Return the name of the model's output that is used for texts."""
    text = modalities.get("text") if isinstance(modalities, dict) else None
    return text.get("method_output_name") if isinstance(text, dict) else None
