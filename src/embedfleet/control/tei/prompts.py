"""A model's own prompts, as TEI reads them; pure.

Source: ``run`` (router/src/lib.rs), which reads ``prompts`` and no other key of the file.
"""

from embedfleet.control.models.folder import ModelFolder
from embedfleet.control.tei.verdict import OWN_ENGINE, Draft, Target

FILE = "config_sentence_transformers.json"
_AGAIN = "copy the folder anew from where it is whole"


def settle_prompts(draft: Draft, folder: ModelFolder, target: Target, *, ranks: bool) -> None:
    """Give TEI the folder's default prompt by a flag, for it does not read ``default_prompt_name`` itself.

    Args:
        draft: of the verdict.
        folder: of the model.
        target: what reads it.
        ranks: whether the model is a classifier or a reranker, whose pairs TEI gives no prompt.
    """
    values = folder.values(FILE)
    prompts = (values or {}).get("prompts")
    if target.prompt_name and target.prompt_name not in (prompts if isinstance(prompts, dict) else {}):
        known = ", ".join(map(str, prompts)) if isinstance(prompts, dict) and prompts else "none"
        said = f"is {target.prompt_name!r}, of which {FILE} has no prompt"
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
        draft.change(FILE, "", "has a byte order mark or a key twice")
        draft.write(FILE, values)
    name = values.get("default_prompt_name")
    if name is None or target.has_prompt:
        return
    if not isinstance(name, str) or name not in (prompts or {}):
        draft.refuse(FILE, "default_prompt_name", f"is {name!r}, of which `prompts` has none", _AGAIN)
    elif (prompts or {})[name] and ranks:
        draft.refuse(FILE, "default_prompt_name", f"is {name!r}, and TEI gives pairs of texts no prompt", OWN_ENGINE)
    elif (prompts or {})[name]:
        what = f"is given: {FILE} names that prompt as the default, which TEI does not read"
        draft.flag("--default-prompt-name", name, what)
