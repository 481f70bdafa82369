"""Generative rerankers: which two words their score compares, and how a folder says that it is one.

The score is the logit of one word at the last token, most often less that of another, as of "yes" and "no". A sigmoid
makes of it the share of "yes" among the two.
"""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.engine.families.decoder import Decoder
from embedfleet.engine.families.family import Family
from embedfleet.engine.model.chat_template import NEEDED, read_chat
from embedfleet.engine.model.modules import Module
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig, parse_json
from embedfleet.model_folder.file import has_file

JUDGES = "LogitScore"
"""The class of sentence-transformers' module that says which words are asked for."""

_GENERATES = "ForCausalLM"
_WORDS = ("yes", "no")  # as sentence-transformers takes where a folder names none


@dataclass(frozen=True, slots=True)
class Judge:
    """The tokens whose logits make the score of a generative reranker.

    Attributes:
        yes: the token whose logit is the score.
        no: the token whose logit is subtracted; None if none is.
        tied: whether the words' logits come from the table of words, and not from an ``lm_head``.
    """

    yes: int
    no: int | None
    tied: bool


def read_judge(folder: Path, config: ModelConfig, modules: list[Module], family: Family) -> Judge | None:
    """The judge of a generative reranker's folder; None if the folder does not say that it is one.

    It says so by sentence-transformers' module LogitScore, or, with no modules, by a chat template of a query and a
    document.

    Raises:
        ModelError: it does, and asks for what is not supported.
    """
    module = next((module for module in modules if module.name == JUDGES), None)
    if module is not None:
        judge = _of_module(folder, config, modules, module)
    elif modules or not _is_bare(folder, config) or read_chat(folder, folder) is None:
        return None
    else:
        judge = Judge(_id_of(folder, _WORDS[0]), _id_of(folder, _WORDS[1]), _is_tied(config))
    if not isinstance(family, Decoder):
        raise ModelError(f"{config.file}: a {config.values['model_type']} is no model that generates", NEEDED)
    if config.values.get("final_logit_softcapping") is not None:
        capped = config.values["final_logit_softcapping"]
        raise ModelError(f"{config.file}: `final_logit_softcapping` is {capped!r}", "supported: null")
    for token in (judge.yes, judge.no or 0):
        if token >= family.vocabulary:
            raise ModelError(
                f"{folder}: the model is asked for token {token}, its words end at {family.vocabulary - 1}",
                "the tokenizer or the module belongs to another model",
            )
    return judge


def refuse_generation(folder: Path, config: ModelConfig) -> None:
    """Refuse a generative model whose folder has no files of sentence-transformers.

    Such a one is an embedder only if somebody says how it pools, and never a reranker by its tokens' states.

    Raises:
        ModelError: it is.
    """
    if _is_bare(folder, config):
        (name, *_) = config.values["architectures"]
        raise ModelError(
            f"{config.file}: `architectures` is {name!r}, a model that generates text,"
            " and the folder does not say what it is asked",
            f"{NEEDED}; for an embedder state its pooling",
        )


def _is_bare(folder: Path, config: ModelConfig) -> bool:
    """Whether it is a generative model to which sentence-transformers has added no files."""
    names = config.values.get("architectures")
    generates = isinstance(names, list) and bool(names) and str(names[0]).endswith(_GENERATES)
    return generates and not has_file(folder / "1_Pooling" / "config.json") and not has_file(folder / "modules.json")


def _is_tied(config: ModelConfig) -> bool:
    """Gemma's class ties where the config does not say."""
    return config.flag("tie_word_embeddings", default=config.values.get("model_type") == "gemma3_text")


def _of_module(folder: Path, config: ModelConfig, modules: list[Module], module: Module) -> Judge:
    """Source of the keys: sentence-transformers 6.2, cross_encoder/modules/logit_score.py."""
    others = [other.name for other in modules if other.name not in {"Transformer", JUDGES}]
    if others:
        raise ModelError(
            f"{folder / 'modules.json'}: module {others[0]!r} is not supported beside {JUDGES}",
            f"supported: Transformer, {JUDGES}",
        )
    stated = ModelConfig(module.folder / "config.json")
    stated.choice("module_input_name", {"causal_logits": True}, "causal_logits")
    no = None if stated.values.get("false_token_id") is None else stated.number("false_token_id")
    return Judge(stated.number("true_token_id"), no, _is_tied(config))


def _id_of(folder: Path, word: str) -> int:
    """A word's id in the tokenizer.

    Raises:
        ModelError: it is not there.
    """
    file = folder / "tokenizer.json"
    values = parse_json(file)
    values = values if isinstance(values, dict) else {}
    model = values.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    found = words.get(word) if isinstance(words, dict) else None
    for token in values.get("added_tokens") or []:
        if isinstance(token, dict) and token.get("content") == word:
            found = token.get("id")
    if not isinstance(found, int):
        raise ModelError(f"{file} has no token {word!r}, which the model would be asked for", NEEDED)
    return found
