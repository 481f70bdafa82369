"""Reads a folder's chat template, for models that get query and document through one."""

from dataclasses import replace
from pathlib import Path

from embedfleet.engine.model.dialogue import Dialogue, read_dialogue
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import check_file, has_file

TEMPLATE_FILE = "chat_template.jinja"
_MODALITIES_FILE = "sentence_bert_config.json"
_CHAT_KEYS = {"add_generation_prompt"}  # a variable of templates; one that reads it is refused
NEEDED = (
    "of a reranker take a folder that says how it is asked: Qwen3-Reranker as it is published today, with a chat "
    "template of the roles query and document, or one that sentence-transformers saved (CrossEncoder, from 5.4 on)"
)
"""The hint for a folder that does not say how it is asked."""


def read_chat(folder: Path, body: Path) -> Dialogue | None:
    """The folder's chat template as a dialogue, with the folder's own instruction.

    Args:
        folder: of the model.
        body: of the transformer, mostly the same.

    Returns:
        None if there is no template, or it does not speak of a query and a document.

    Raises:
        ModelError: it does, and is not read.
    """
    template = _template(body)
    try:
        dialogue = None if template is None else read_dialogue(template)
    except ValueError as error:
        raise ModelError(
            f"{_template_file(body)}: the chat template is not read: {error}",
            "supported: text around the content of the roles system, query and document, as of Qwen3-Reranker's",
        ) from error
    return None if dialogue is None else _told(folder, dialogue)


def read_stated_chat(folder: Path, body: Path) -> Dialogue | None:
    """As `read_chat`, where sentence-transformers' files say that pairs go through the template; else None.

    Raises:
        ModelError: they do, and it does not speak of a pair.
    """
    if not speaks(body):
        return None
    dialogue = read_chat(folder, body)
    if dialogue is None:
        raise ModelError(f"{_template_file(body)}: the chat template does not speak of a query and a document", NEEDED)
    return dialogue


def speaks(folder: Path) -> bool:
    """Whether texts go through the chat template, as ``modality_config`` says.

    Raises:
        ModelError: the file asks for what is not supported.
    """
    if not has_file(folder / _MODALITIES_FILE):
        return False
    config = ModelConfig(folder / _MODALITIES_FILE)
    modalities = config.values.get("modality_config") or {}
    message = modalities.get("message") if isinstance(modalities, dict) else None
    if message is None:
        return False
    if isinstance(message, dict) and message.get("format", "flat") != "flat":
        raise ModelError(f"{config.file}: `format` of `message` is {message['format']!r}", "supported: flat")
    options = config.values.get("processing_kwargs") or {}
    chat = options.get("chat_template", {}) if isinstance(options, dict) else {}
    unknown = sorted(
        {*options} - {"chat_template"} | ({*chat} - _CHAT_KEYS if isinstance(chat, dict) else {"chat_template"})
    )
    if unknown:
        raise ModelError(f"{config.file}: `processing_kwargs` has {unknown[0]!r}", "supported: none of it")
    return True


def _told(folder: Path, dialogue: Dialogue) -> Dialogue:
    """With the folder's own instruction, the prompt that it names as the default."""
    file = folder / "config_sentence_transformers.json"
    if not has_file(file):
        return dialogue
    config = ModelConfig(file)
    name, prompts = config.values.get("default_prompt_name"), config.values.get("prompts")
    text = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    return replace(dialogue, instruction=str(text)) if text else dialogue


def _template_file(folder: Path) -> Path:
    return folder / (TEMPLATE_FILE if has_file(folder / TEMPLATE_FILE) else "tokenizer_config.json")


def _template(folder: Path) -> str | None:
    """The chat template that transformers takes by default: its own file's, else the tokenizer's."""
    file = _template_file(folder)
    if not has_file(file):
        return None
    if file.name == TEMPLATE_FILE:
        check_file(file)
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"{file} cannot be read: {error}") from error
    template = ModelConfig(file).values.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
