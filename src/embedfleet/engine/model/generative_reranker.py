"""Generative rerankers: their declaration in a folder, and the tokens whose logits make the score.

The score is the logit of one token at the last position, usually minus the logit of another, such as "yes" and "no".
Its sigmoid is the probability of "yes" among the two.
"""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.engine.families.decoder import Decoder
from embedfleet.engine.families.family import Family
from embedfleet.engine.model.chat_template import PROMPT_HINT, read_reranker_prompt
from embedfleet.engine.model.modules import Module
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig, parse_json
from embedfleet.model_folder.file import has_file
from embedfleet.model_folder.file_names import CONFIG, MODULES, POOLING_CONFIG, TOKENIZER

LOGIT_SCORE = "LogitScore"
"""Class of the sentence-transformers module that names the tokens of the score."""

_GENERATES = "ForCausalLM"
_TRUE, _FALSE = "yes", "no"  # defaults of sentence-transformers


@dataclass(frozen=True, slots=True)
class LogitScore:
    """Tokens whose logits make the score of a generative reranker.

    Attributes:
        true_token: Id of the token whose logit is the score, or the first term of the difference.
        false_token: Id of the token whose logit is subtracted; None for none.
        is_tied: Whether logits are computed with the word embeddings instead of an ``lm_head``.
    """

    true_token: int
    false_token: int | None
    is_tied: bool


def read_logit_score(folder: Path, config: ModelConfig, modules: list[Module], family: Family) -> LogitScore | None:
    """Read the score of a generative reranker; None if the folder does not declare one.

    A folder declares one by sentence-transformers' module LogitScore or, without modules, by a chat template with the
    roles query and document.

    Raises:
        ModelError: The folder declares one with an unsupported setting.
    """
    module = next((module for module in modules if module.name == LOGIT_SCORE), None)
    if module is not None:
        score = _read_module(folder, config, modules, module)
    elif modules or not _is_bare_generative(folder, config) or read_reranker_prompt(folder, folder) is None:
        return None
    else:
        score = LogitScore(_token_id(folder, _TRUE), _token_id(folder, _FALSE), _is_tied(config))
    if not isinstance(family, Decoder):
        raise ModelError(f"{config.file}: model_type {config.values['model_type']!r} is not generative", PROMPT_HINT)
    if config.values.get("final_logit_softcapping") is not None:
        capped = config.values["final_logit_softcapping"]
        raise ModelError(f"{config.file}: `final_logit_softcapping` is {capped!r}", "supported: null")
    for token in (score.true_token, score.false_token or 0):
        if token >= family.vocabulary:
            raise ModelError(
                f"{folder}: the score uses token {token}, the model's last token is {family.vocabulary - 1}",
                "the tokenizer or the module belongs to another model",
            )
    return score


def refuse_generation(folder: Path, config: ModelConfig) -> None:
    """Refuse a generative model whose folder has no files of sentence-transformers.

    Such a model is an embedder only if the settings state its pooling, and never a reranker by late interaction.

    Raises:
        ModelError: The folder holds such a model.
    """
    if _is_bare_generative(folder, config):
        (name, *_) = config.values["architectures"]
        raise ModelError(
            f"{config.file}: `architectures` is {name!r}, a model that generates text,"
            " and the folder does not state its prompt",
            f"{PROMPT_HINT}; for an embedder set its pooling",
        )


def _is_bare_generative(folder: Path, config: ModelConfig) -> bool:
    """Whether the folder holds a generative model without files of sentence-transformers."""
    names = config.values.get("architectures")
    generates = isinstance(names, list) and bool(names) and str(names[0]).endswith(_GENERATES)
    return generates and not has_file(folder / POOLING_CONFIG) and not has_file(folder / MODULES)


def _is_tied(config: ModelConfig) -> bool:
    """Whether the logits use the word embeddings; transformers' class for Gemma ties them by default."""
    return config.flag("tie_word_embeddings", default=config.values.get("model_type") == "gemma3_text")


def _read_module(folder: Path, config: ModelConfig, modules: list[Module], module: Module) -> LogitScore:
    """Read the module's config; keys as in sentence-transformers 6.2, cross_encoder/modules/logit_score.py."""
    others = [other.name for other in modules if other.name not in {"Transformer", LOGIT_SCORE}]
    if others:
        raise ModelError(
            f"{folder / MODULES}: module {others[0]!r} is not supported beside {LOGIT_SCORE}",
            f"supported: Transformer, {LOGIT_SCORE}",
        )
    stated = ModelConfig(module.folder / CONFIG)
    stated.choice("module_input_name", {"causal_logits": True}, "causal_logits")
    false_token = None if stated.values.get("false_token_id") is None else stated.number("false_token_id")
    return LogitScore(stated.number("true_token_id"), false_token, _is_tied(config))


def _token_id(folder: Path, word: str) -> int:
    """Id of a word in the tokenizer.

    Raises:
        ModelError: The tokenizer does not have the word.
    """
    file = folder / TOKENIZER
    values = parse_json(file)
    values = values if isinstance(values, dict) else {}
    model = values.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    found = words.get(word) if isinstance(words, dict) else None
    for token in values.get("added_tokens") or []:
        if isinstance(token, dict) and token.get("content") == word:
            found = token.get("id")
    if not isinstance(found, int):
        raise ModelError(f"{file} has no token {word!r}, which the score needs", PROMPT_HINT)
    return found
