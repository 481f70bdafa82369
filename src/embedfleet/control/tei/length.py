"""Correction of the maximum input length, in the file that TEI reads, to at most the number of positions; pure.

Source: ``STConfig`` and the choice of ``max_input_length`` in ``run`` (router/src/lib.rs); ``ST_CONFIG_NAMES``
(core/src/download.rs) for the file's names.
"""

from typing import Any

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import Draft
from embedfleet.model_folder.file_names import SENTENCE_BERT_CONFIGS

_KEY = "max_seq_length"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_AGAIN = "copy the folder again from a complete one"
_BEHIND_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet"}  # their positions begin after the padding id
_BEYOND = 10**9  # transformers writes 1e30 for "no limit"


def settle_length(draft: Draft, folder: ModelFolder, config: dict[str, Any], *, positions: int) -> None:
    """Write the maximum length of sentence-transformers into the file that TEI reads, if TEI would use another one.

    Args:
        draft: Draft of the verdict.
        folder: Folder of the model.
        config: Content of ``config.json``.
        positions: Number of the model's positions.
    """
    kind, padding = config.get("model_type"), config.get("pad_token_id")
    padding = padding if isinstance(padding, int) else 1
    limit = positions - padding - 1 if kind in _BEHIND_PADDING else positions
    by_itself = positions if kind == "mpnet" else limit  # TEI's default if no file states a length
    if limit < 1:
        draft.refuse(
            "config.json", "max_position_embeddings", f"is {positions}, which leaves no position for a text", _AGAIN
        )
        return
    file = next((name for name in SENTENCE_BERT_CONFIGS if folder.has(name)), "")
    values = folder.values(file) if file else {}
    if values is None:
        draft.refuse(file, "", f"cannot be read: {folder.broken.get(file, 'it holds no JSON object')}", _AGAIN)
        return
    stated = values.get(_KEY)
    if stated is not None and (isinstance(stated, bool) or not isinstance(stated, int) or stated < 1):
        draft.refuse(file, _KEY, f"is {stated!r}, TEI needs a whole number from 1", _AGAIN)
        return
    bounded = kind != "deberta-v2" or bool(config.get("position_biased_input", True))
    right = _right(draft, folder, stated, limit, bounded=bounded)
    draft.max_input_length = right
    if file and (stated != right or file in folder.odd):
        if stated is None:
            what = _missing(folder, right, limit)
        elif stated != right:
            what = f"is {stated}, more than the number of positions: {right}"
        else:
            what = "is in a file with a byte order mark or a repeated key"
        draft.change(file, _KEY, what)
        draft.write(file, values | {_KEY: right})
    elif not file and right != by_itself:
        draft.change(SENTENCE_BERT_CONFIGS[0], _KEY, _missing(folder, right, limit))
        draft.write(SENTENCE_BERT_CONFIGS[0], {_KEY: right, "do_lower_case": False})


def _right(draft: Draft, folder: ModelFolder, stated: int | None, limit: int, *, bounded: bool) -> int:
    """Return the stated length, at most ``limit`` if ``bounded``; else the tokenizer's, always at most ``limit``."""
    if stated is not None:
        return min(stated, limit) if bounded else stated
    length = _tokenizers(folder)
    if isinstance(length, float) and length != int(length):
        draft.refuse(_TOKENIZER_CONFIG, "model_max_length", f"is {length!r}, which is not a whole number", _AGAIN)
        return limit
    return limit if length is None else min(int(length), limit)


def _tokenizers(folder: ModelFolder) -> float | None:
    """Return the maximum length that the tokenizer states; None if it states none."""
    settings = folder.values(_TOKENIZER_CONFIG) or {}
    length = settings.get("model_max_length", settings.get("max_len"))
    if isinstance(length, bool) or not isinstance(length, (int, float)) or not 1 <= length < _BEYOND:
        return None
    return length


def _missing(folder: ModelFolder, right: int, limit: int) -> str:
    """Describe the length that replaces a missing one, and its source."""
    length = _tokenizers(folder)
    if length is None:
        return f"is missing: {right}, the number of positions"
    both = f"{int(length)} (model_max_length in {_TOKENIZER_CONFIG}) and {limit} (positions)"
    return f"is missing: {right}, the smaller of {both}"
