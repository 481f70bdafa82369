"""Special and added tokens that a tokenizer's files name, as transformers 5.23 reads them.

The rules are those of its tokenization_utils_base.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedfleet.model_folder.config import ModelConfig

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Roles, in the order in which tokens that the vocabulary lacks get ids."""


@dataclass(frozen=True, slots=True)
class Token:
    """An added token, which the tokenizer finds in a text before it splits the text.

    Attributes:
        content: Text of the token.
        single_word: Whether it matches whole words only.
        lstrip: Whether it absorbs white space before it.
        rstrip: Whether it absorbs white space after it.
        normalized: Whether it is searched for in the normalised text; None means yes, unless it is special.
        special: Whether it is a special token.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = True

    def entry(self, number: int) -> dict[str, Any]:
        """Entry of the token in a ``tokenizer.json``."""
        return {
            "id": number,
            "content": self.content,
            "single_word": self.single_word,
            "lstrip": self.lstrip,
            "rstrip": self.rstrip,
            "normalized": not self.special if self.normalized is None else self.normalized,
            "special": self.special,
        }


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Special and added tokens that the files name.

    Attributes:
        named: Special tokens by role, such as ``cls_token``.
        added: Tokens in addition to the vocabulary, in the order of their ids.
        extra: Special tokens without a role; None if no file states any.
    """

    named: Mapping[str, Token]
    added: tuple[Token, ...]
    extra: tuple[Token, ...] | None


def read_special_tokens(
    settings: Mapping[str, Any], special_map: ModelConfig | None, added: ModelConfig | None
) -> SpecialTokens:
    """Join the tokens of three files; if the first has ``added_tokens_decoder``, the others are ignored.

    Args:
        settings: Settings of tokenizer_config.json.
        special_map: special_tokens_map.json; None if absent.
        added: added_tokens.json; None if absent.

    Raises:
        ValueError: A token is neither a text nor an object with one.
    """
    values = dict(settings)
    decoder = values.get("added_tokens_decoder")
    if isinstance(decoder, Mapping):
        numbered = {int(number): _token(token) for number, token in decoder.items()}
    else:
        mapped = special_map.values if special_map else {}
        extra = _extra(settings) or mapped.get("extra_special_tokens")
        values |= mapped
        numbered = _legacy(values, extra, added)
    known = {token.content: token for token in numbered.values()}
    named = {
        name: known.get(_content(value), _token(value)) for name, value in values.items() if _is_named(name, value)
    }
    extra = _extra(values)
    others = extra.values() if isinstance(extra, Mapping) else extra
    return SpecialTokens(
        named,
        tuple(token for _, token in sorted(numbered.items())),
        None if others is None else tuple(known.get(_content(value), _token(value)) for value in others),
    )


def _extra(values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a list or an object, from a file
    return values.get("extra_special_tokens") or values.get("additional_special_tokens")


def _legacy(values: Mapping[str, Any], extra: Any, added: ModelConfig | None) -> dict[int, Token]:  # noqa: ANN401 - a list or an object, from a file
    """Read the tokens of added_tokens.json by id; the file states nothing but their ids."""
    if added is None:
        return {}
    special = {_content(values[name]) for name in NAMES if values.get(name)} | set(map(_content, extra or ()))
    return {
        int(number): Token(content, normalized=content not in special, special=content in special)
        for content, number in added.values.items()
    }


def _is_named(name: str, value: object) -> bool:
    return name.endswith("_token") and (isinstance(value, str) or (isinstance(value, Mapping) and "content" in value))


def _content(value: object) -> str:
    content = value.get("content") if isinstance(value, Mapping) else value
    if not isinstance(content, str):
        raise ValueError(f"{value!r} is not a token")  # noqa: TRY004 - a fault of the file, not of the call
    return content


def _token(value: object) -> Token:
    if not isinstance(value, Mapping):
        return Token(_content(value))
    normalized = value.get("normalized")
    return Token(
        _content(value),
        single_word=bool(value.get("single_word")),
        lstrip=bool(value.get("lstrip")),
        rstrip=bool(value.get("rstrip")),
        normalized=None if normalized is None else bool(normalized),
        special=bool(value.get("special", "__type" not in value)),
    )
