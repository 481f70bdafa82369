"""Chat template of a model folder, for models that read a query and a document through one."""

from dataclasses import replace
from pathlib import Path

from embedfleet.engine.model.reranker_prompt import RerankerPrompt, parse_reranker_prompt
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.file_names import (
    CHAT_TEMPLATE,
    SENTENCE_BERT_CONFIG,
    SENTENCE_TRANSFORMERS_CONFIG,
    TOKENIZER_CONFIG,
)

_CHAT_KEYS = {"add_generation_prompt"}  # harmless, since a template that reads this variable is refused
PROMPT_HINT = (
    "use a reranker's folder that states its prompt: Qwen3-Reranker as currently published, with a chat template of "
    "the roles query and document, or one that sentence-transformers saved (CrossEncoder, 5.4 or later)"
)
"""Hint for a reranker's folder that does not state its prompt."""


def read_reranker_prompt(folder: Path, body: Path) -> RerankerPrompt | None:
    """Read a folder's chat template as a reranker's prompt, with the folder's default instruction.

    Args:
        folder: Folder of the model.
        body: Folder of the transformer, usually the same.

    Returns:
        The prompt; None if there is no template, or it does not mention the roles query and document.

    Raises:
        ModelError: The template mentions these roles, and has an unsupported form.
    """
    template = _template(body)
    try:
        prompt = None if template is None else parse_reranker_prompt(template)
    except ValueError as error:
        raise ModelError(
            f"{_template_file(body)}: unsupported chat template: {error}",
            "supported: text around the content of the roles system, query and document, as in Qwen3-Reranker",
        ) from error
    return None if prompt is None else _with_instruction(folder, prompt)


def read_declared_prompt(folder: Path, body: Path) -> RerankerPrompt | None:
    """Read the prompt if sentence-transformers' files say that pairs use the chat template; None otherwise.

    Raises:
        ModelError: They say so, but the template does not mention the roles query and document.
    """
    if not uses_chat_template(body):
        return None
    prompt = read_reranker_prompt(folder, body)
    if prompt is None:
        raise ModelError(
            f"{_template_file(body)}: the chat template does not have the roles query and document", PROMPT_HINT
        )
    return prompt


def uses_chat_template(folder: Path) -> bool:
    """Whether ``modality_config`` says that texts go through the chat template.

    Raises:
        ModelError: The file has an unsupported setting.
    """
    if not has_file(folder / SENTENCE_BERT_CONFIG):
        return False
    config = ModelConfig(folder / SENTENCE_BERT_CONFIG)
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
        raise ModelError(f"{config.file}: `processing_kwargs` has {unknown[0]!r}", "supported: no such key")
    return True


def _with_instruction(folder: Path, prompt: RerankerPrompt) -> RerankerPrompt:
    """The prompt with the default instruction, which is the default prompt in sentence-transformers' settings."""
    file = folder / SENTENCE_TRANSFORMERS_CONFIG
    if not has_file(file):
        return prompt
    config = ModelConfig(file)
    name, prompts = config.values.get("default_prompt_name"), config.values.get("prompts")
    text = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    return replace(prompt, instruction=str(text)) if text else prompt


def _template_file(folder: Path) -> Path:
    return folder / (CHAT_TEMPLATE if has_file(folder / CHAT_TEMPLATE) else TOKENIZER_CONFIG)


def _template(folder: Path) -> str | None:
    """Chat template that transformers uses by default: that of its own file, else the tokenizer's."""
    file = _template_file(folder)
    if not has_file(file):
        return None
    if file.name == CHAT_TEMPLATE:
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
