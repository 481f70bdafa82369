"""Correction of a model's own prompts for TEI, or their refusal; pure.

Source: ``run`` (router/src/lib.rs), which reads only ``prompts`` of the file.
"""

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft, Target

FILE = "config_sentence_transformers.json"
_AGAIN = "copy the folder again from a complete one"


def settle_prompts(draft: Draft, folder: ModelFolder, target: Target, *, ranks: bool) -> None:
    """Pass the folder's default prompt to TEI by a flag, because TEI does not read ``default_prompt_name``.

    Args:
        draft: Draft of the verdict.
        folder: Folder of the model.
        target: TEI that will read the folder.
        ranks: Whether the model is a classifier or a reranker; TEI puts no prompt before pairs of texts.
    """
    values = folder.values(FILE)
    prompts = (values or {}).get("prompts")
    if target.prompt_name and target.prompt_name not in (prompts if isinstance(prompts, dict) else {}):
        known = ", ".join(map(str, prompts)) if isinstance(prompts, dict) and prompts else "none"
        said = f"is {target.prompt_name!r}, which {FILE} does not define"
        draft.refuse("", "default_prompt_name", said, f"the model has {known}; default_prompt takes any text")
    if not folder.has(FILE):
        return
    if values is None:
        draft.refuse(FILE, "", f"cannot be read: {folder.broken.get(FILE, 'it holds no JSON object')}", _AGAIN)
        return
    if prompts is not None and not (
        isinstance(prompts, dict) and all(isinstance(text, str) for text in prompts.values())
    ):
        draft.refuse(FILE, "prompts", f"is {str(prompts)[:80]}, TEI needs a table of texts", _AGAIN)
        return
    if FILE in folder.odd:
        draft.change(FILE, "", "has a byte order mark or a repeated key")
        draft.write(FILE, values)
    name = values.get("default_prompt_name")
    if name is None or target.has_prompt:
        return
    if not isinstance(name, str) or name not in (prompts or {}):
        draft.refuse(FILE, "default_prompt_name", f"is {name!r}, which `prompts` does not define", _AGAIN)
    elif (prompts or {})[name] and ranks:
        draft.refuse(
            FILE, "default_prompt_name", f"is {name!r}, and TEI puts no prompt before pairs of texts", OWN_ENGINE
        )
    elif (prompts or {})[name]:
        what = f"is added: {FILE} names this prompt as the default, which TEI does not read"
        draft.flag("--default-prompt-name", name, what)
