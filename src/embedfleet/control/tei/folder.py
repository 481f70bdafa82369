"""The verdict, before a container starts, on how a release of TEI would read a model folder; pure.

The rules follow TEI's source: ``router/src/lib.rs`` for the files beside the weights, ``backends/candle`` for
``config.json`` and the weights, ``backends/src/lib.rs`` for modules and the choice of the backend.
"""

from typing import Any

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.config import (
    CONFIG,
    is_classifier,
    settle_config,
    settle_labels,
    settle_names,
    settle_positions,
)
from embedfleet.control.tei.family import TeiFamily, class_of, model_type_of
from embedfleet.control.tei.length import settle_length
from embedfleet.control.tei.modules import refuse_subfolder, settle_modules
from embedfleet.control.tei.prompts import settle_prompts
from embedfleet.control.tei.unread_keys import refuse_lost_types, refuse_output, refuse_unread
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft, Target, Verdict
from embedfleet.control.tei.weights import HEADS, head_rows, settle_weights, takes_onnx, tensors_of

TOKENIZER = "tokenizer.json"
_MOST_LINKS = 200
_RANKER = "give a cross-encoder; or, for ranking by late interaction: {}"
_AGAIN = "copy the folder again from a complete one"


def judge(folder: ModelFolder, target: Target) -> Verdict:
    """Judge how TEI would read a folder.

    Args:
        folder: Content of the folder on the disk.
        target: TEI that will read the folder.
    """
    draft = Draft()
    if refuse_subfolder(draft, folder):
        return draft.verdict
    by_onnx = takes_onnx(folder, on_gpu=target.on_gpu, dtype=target.dtype) and target.pooling != "splade"
    settle_weights(draft, folder, by_onnx=by_onnx)
    _settle_tokenizer(draft, folder)
    _settle_links(draft, folder)
    config = folder.values(CONFIG)
    if config is None:
        draft.refuse(CONFIG, "", folder.broken.get(CONFIG, "is missing, or holds no JSON object"), _AGAIN)
        return draft.verdict
    _settle_head(draft, folder, config, target)
    if not settle_names(draft, config):
        return draft.verdict
    family = settle_config(draft, config, by_onnx=by_onnx)
    if family is not None and not by_onnx:
        _check_machine(draft, config, family, target)
    if positions := settle_positions(draft, config):
        settle_length(draft, folder, config, positions=positions)
    ranks = is_classifier(config)
    _settle_task(draft, folder, config, family, target, by_onnx=by_onnx)
    refuse_unread(draft, folder)
    if target.pooling != "splade":  # SPLADE's output is weights of words
        refuse_output(draft, folder, classifies=ranks)
    if ranks and config.get("type_vocab_size") not in (0, 1):
        refuse_lost_types(draft, folder)
    settle_prompts(draft, folder, target, ranks=ranks)
    if CONFIG in folder.odd:
        draft.change(CONFIG, "", "has a byte order mark or a repeated key")
    if draft.is_changed(CONFIG):
        draft.write(CONFIG, config)
    return draft.verdict


def links_of(folder: ModelFolder) -> dict[str, str]:
    """Return the targets of the links that lead outside the folder, by file."""
    return {name: str(target) for name, target in folder.outside.items() if folder.sizes[name] >= 0}


def _settle_tokenizer(draft: Draft, folder: ModelFolder) -> None:
    if TOKENIZER in folder.pointers:
        draft.refuse(TOKENIZER, "", "is a git-lfs pointer, not the file itself", "run `git lfs pull` in the folder")
    elif TOKENIZER in folder.odd:
        draft.refuse(TOKENIZER, "", "begins with a byte order mark, which TEI cannot read", "save it without one")
    elif folder.tokenizer:
        what = (
            "splits texts in another way than tokenizer_config.json and do_lower_case say, which the libraries follow"
        )
        draft.change(
            TOKENIZER, "", what if folder.has(TOKENIZER) else "is missing: made from the slow tokenizer's files"
        )
        draft.write_bytes(TOKENIZER, folder.tokenizer.encode())
    elif folder.has(TOKENIZER) and folder.no_tokenizer:
        draft.refuse(TOKENIZER, "", f"cannot be used: {folder.no_tokenizer}", _AGAIN)
    elif folder.has(TOKENIZER):
        if folder.sizes[TOKENIZER] < 0:
            draft.refuse(TOKENIZER, "", "is a broken link, or cannot be read", _AGAIN)
    else:
        hint = "write it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        why = f" ({folder.no_tokenizer})" if folder.no_tokenizer else ""
        draft.refuse(TOKENIZER, "", f"is missing, and TEI has only fast tokenizers{why}", hint)


def _settle_links(draft: Draft, folder: ModelFolder) -> None:
    """Mount the targets of links that lead outside the folder, as in the hub's cache; a container cannot see them."""
    if len(folder.outside) > _MOST_LINKS:
        name = next(iter(folder.outside))
        hint = "copy the folder with the targets of its links: cp -rL"
        draft.refuse(name, "", f"and {len(folder.outside) - 1} others are links to outside the folder", hint)
        return
    there = links_of(folder)
    for name, target in there.items():
        draft.link(name, target)
    if there:
        draft.notes.append(f"{', '.join(there)}: links to outside the folder, whose targets are mounted as well")


def _settle_head(draft: Draft, folder: ModelFolder, config: dict[str, Any], target: Target) -> None:
    """Add the class of a classification head in the weights if the config names none: TEI would ignore the head."""
    tensors = tensors_of(folder) or {}
    names = config.get("architectures")
    if target.task == "embed" or is_classifier(config) or not any(head in tensors for head in HEADS):
        return
    if target.pooling != "auto" or folder.has("modules.json") or folder.has("1_Pooling/config.json"):
        return  # the model is an embedder, whatever else is in its weights
    if names is not None and not isinstance(names, list):
        return
    kind = config.get("model_type") or (model_type_of(str(names[0])) if names else "")
    config["architectures"] = [class_of(str(kind), "ForSequenceClassification")]
    draft.change(CONFIG, "architectures", "names no class for the classification head that is in the weights")


def _check_machine(draft: Draft, config: dict[str, Any], family: TeiFamily, target: Target) -> None:
    kind = config["model_type"]
    if target.version < family.since:
        since = ".".join(map(str, family.since))
        draft.refuse(
            CONFIG,
            "model_type",
            f"is {kind}, which TEI computes from {since} on",
            f"use a newer tei_version; or {OWN_ENGINE}",
        )
    elif family.needs_flash and not (target.on_gpu and target.flash and target.dtype != "float32"):
        what = "which TEI computes only in float16 on GPUs with flash attention (Ampere and newer)"
        draft.refuse(CONFIG, "model_type", f"is {kind}, {what}", OWN_ENGINE)
    elif family.needs_float32 and target.dtype == "float16":
        draft.refuse("", "dtype", f"is float16, TEI computes {kind} only in float32", "unset dtype")


def _settle_task(
    draft: Draft,
    folder: ModelFolder,
    config: dict[str, Any],
    family: TeiFamily | None,
    target: Target,
    *,
    by_onnx: bool,
) -> None:
    """Check a classifier's labels or an embedder's pooling, and whether the model suits its service's task."""
    if not is_classifier(config):
        if target.task == "rerank":
            said = f"is {config.get('architectures')}, which is not a classifier: TEI ranks only with cross-encoders"
            draft.refuse(CONFIG, "architectures", said, _RANKER.format(OWN_ENGINE))
            return
        poolings = family.poolings if family is not None and not by_onnx else ("cls", "mean", "last-token")
        settle_modules(draft, folder, target, by_onnx=by_onnx, poolings=poolings)
        return
    name = next(name for name in config["architectures"] if name.endswith("Classification"))
    if not name.endswith("ForSequenceClassification"):
        draft.refuse(
            CONFIG, "architectures", f"is {name}, which TEI would treat as a classifier of whole texts", OWN_ENGINE
        )
        return
    if family is not None and not family.head and not by_onnx:
        draft.refuse(CONFIG, "architectures", f"is {name}, and TEI has no classifier of this family", OWN_ENGINE)
        return
    rows = head_rows(folder, family.head) if family is not None and not by_onnx else None
    if rows == 0 and family is not None:
        draft.refuse(CONFIG, "architectures", f"is {name}, and the weights have no {family.head}", _AGAIN)
        return
    labels = settle_labels(draft, config, rows)
    if labels > 1 and target.task == "rerank":
        draft.refuse(CONFIG, "id2label", f"names {labels} labels, TEI ranks with a model of one label", OWN_ENGINE)
    elif target.task == "embed":
        draft.refuse(CONFIG, "architectures", f"is {name}: TEI would classify, not embed", OWN_ENGINE)
