"""Calls of Hugging Face's ``tokenizers``, with its errors and panics turned into ours."""

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from tokenizers import Encoding, Tokenizer

from embedfleet.engine.text.special_tokens import Template, Tokens, read_template
from embedfleet.errors import Tokenizer as TokenizerError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def call(function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """Call a function of the library.

    Raises:
        errors.Tokenizer: The library raises an Exception, or panics, which is a BaseException.
    """
    try:
        return function(*arguments, **named)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise TokenizerError(f"tokenizer error {error}") from error


def encode_whole(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoding:
    """Encode one text, or a pair, with the special tokens that the library adds."""
    return call(tokenizer.encode, texts[0], texts[1] if len(texts) == 2 else None)


def template_of(tokenizer: Tokenizer, texts: Sequence[str]) -> Template:
    """The template by which the library makes an input of one text, or of a pair.

    Args:
        tokenizer: Tokenizer without truncation.
        texts: One text or a pair, to try it with.

    Raises:
        ValueError: The library does more than put special tokens around the texts.
    """
    whole = encode_whole(tokenizer, texts)
    given = [call(tokenizer.encode, text, add_special_tokens=False).ids for text in texts]
    return read_template(Tokens(whole.ids, whole.type_ids, whole.special_tokens_mask), given)


def vocabulary_of(tokenizer: Tokenizer) -> int:
    """One more than the greatest token id: the number of tokens, unless some ids are unused."""
    count: int = tokenizer.get_vocab_size(with_added_tokens=True)
    if None not in map(tokenizer.id_to_token, range(count)):
        return count
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())  # takes far more time and memory
