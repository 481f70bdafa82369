"""Texts, pairs and token ids to what the model reads, by Hugging Face's ``tokenizers``.

One tokenizer serves all threads and all kinds of truncation: the library keeps truncation as state of the tokenizer,
so it is left off, and we cut between tokenizing and the adding of special tokens, where the library itself cuts. What
it adds is in a `Template`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from tokenizers import Encoding, Tokenizer

from embedfleet.dialects.serving.tei import NO_IDS, NO_INPUTS, Direction, Input, Pair
from embedfleet.engine.model.reranker_prompt import RerankerPrompt
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.text.special_tokens import Template, Tokens, read_template
from embedfleet.engine.text.truncation import (
    CHARACTERS_PER_TOKEN,
    TextLimits,
    check_characters,
    cut_texts,
    truncated_lengths,
)
from embedfleet.errors import EmptyInput, ModelError, WrongInput
from embedfleet.errors import Tokenizer as TokenizerError

_P = ParamSpec("_P")
_T = TypeVar("_T")
_PROBES = ("a", "1")
# What is encoded at load, by the library and by us, cut and whole.
_TRIALS = ("a", "1 2 3 a b c d e f g", ("a", "1"), ("1", "a b c d e f g 2 3"), ("1 2 3 a b c d e f", "a"))
_BARE = Template((Tokens((), (), ()),) * 2, (0,), (0,))  # a text and nothing else
_FILLERS = ("0", "1 2 3 4")  # which begin and end with unlike tokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input as the model reads it.

    Attributes:
        ids: [tokens], special tokens included.
        types: token types, [tokens].
        special: which tokens are special, [tokens].
        characters: of the input; of an input of ids, how many ids.
        skipped: of the first tokens, so many are not pooled, for they are a prompt's.
    """

    ids: np.ndarray[Any, np.dtype[np.int64]]
    types: np.ndarray[Any, np.dtype[np.int64]]
    special: np.ndarray[Any, np.dtype[np.bool_]]
    characters: int
    skipped: int = 0

    @property
    def content(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The tokens that carry meaning: those that are not special. A text of blanks has none."""
        return ~self.special


class Tokenization:
    """A model's tokenizer; its methods may be called by several threads at once.

    Args:
        file: a ``tokenizer.json``.
        text: what is in it, where that is made of other files.
        gives_types: whether the model is told token types; without, all are 0.
        pools_prompt: whether a prompt's tokens are pooled.
        dialogue: how pairs are put together, if not as the tokenizer does it.
        ending: a token that ends each text, unless one does already.

    Attributes:
        vocabulary: one more than the greatest id.
        special_tokens: that are put around a text, or around and between the two of a pair, whichever are more; of a
            dialogue what it begins and ends with.

    Raises:
        ModelError: the file cannot be read, or we would not make of texts what the library makes of them.
    """

    def __init__(
        self,
        file: Path,
        text: str | None = None,
        *,
        gives_types: bool = True,
        pools_prompt: bool = True,
        dialogue: RerankerPrompt | None = None,
        ending: str | None = None,
    ) -> None:
        self._pools_prompt = pools_prompt
        self._dialogue = dialogue
        try:
            self._tokenizer = _call(Tokenizer.from_file, str(file)) if text is None else _call(Tokenizer.from_str, text)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._templates = {count: _template(self._tokenizer, _PROBES[:count]) for count in (1, 2)}
            self._compare()
            if not gives_types:
                self._templates = {count: template.without_types() for count, template in self._templates.items()}
            self._ending = "" if ending is None or self._ends_with(ending) else ending
            if self._ending:
                self._templates = {count: one.ended(self._id(self._ending)) for count, one in self._templates.items()}
            asked = 0 if dialogue is None else sum(self._frame(dialogue, None))
        except (TokenizerError, ValueError) as error:
            raise ModelError(f"{file} is not a tokenizer: {error}", "copy or download it again") from error
        self.vocabulary = _vocabulary(self._tokenizer)
        self.special_tokens = max(asked, *(template.special for template in self._templates.values()))

    @classmethod
    def of(cls, spec: ModelSpec) -> "Tokenization":
        """The tokenizer of a model.

        Raises:
            ModelError: as of the class.
        """
        return cls(
            spec.tokenizer_file,
            spec.tokenizer(),
            gives_types=spec.gives_types,
            pools_prompt=spec.pools_prompt,
            dialogue=spec.reranker_prompt,
            ending=spec.eos_token,
        )

    def ids_of(self, tokens: Iterable[str]) -> frozenset[int]:
        """The ids of tokens; those that the vocabulary lacks have none."""
        ids = map(self._tokenizer.token_to_id, tokens)
        return frozenset(token for token in ids if token is not None)

    def encode(self, inputs: Sequence[Input | Pair], limits: TextLimits, prompt: str | None) -> list[Encoded]:
        """Encode inputs; ``prompt`` is put before each. Of a pair it is the dialogue's instruction, or nothing.

        Raises:
            EmptyInput: an input has nothing in it.
            WrongInput: an input is too long, or has an id that the vocabulary lacks.
            errors.Tokenizer: the tokenizer refuses a text.
        """
        texts: list[str] = []
        plans = [self._plan(item, limits, prompt, texts) for item in inputs]
        pieces = iter(self._split(texts))
        skipped = 0 if self._pools_prompt or not prompt else len(self._split([prompt])[0])
        return [self._assemble(plan, [next(pieces) for _ in range(plan.texts)], limits, skipped) for plan in plans]

    def tokenize(self, text: str, *, add_special_tokens: bool, prompt: str | None, limit: int) -> list[dict[str, Any]]:
        """A text's tokens with the bytes they stand for.

        Args:
            text: what to tokenize.
            add_special_tokens: as the model would read it, or the text alone.
            prompt: put before it.
            limit: tokens of the model's input; 250 times as many characters are the most that is taken.

        Raises:
            EmptyInput: the text is.
            WrongInput: the text has too many characters.
            errors.Tokenizer: the tokenizer refuses the text.
        """
        if not text:
            raise EmptyInput(NO_INPUTS)
        check_characters(len(text), limit * CHARACTERS_PER_TOKEN)
        text = (prompt or "") + text
        encoding = _call(self._tokenizer.encode, text, add_special_tokens=add_special_tokens)
        places = _byte_offsets(text)
        tokens: list[dict[str, Any]] = []
        # Each of these is made anew whenever it is asked for.
        parts = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
        for number, word, is_special, (start, stop) in parts:
            if is_special:
                tokens.append({"id": number, "text": word, "special": True, "start": None, "stop": None})
            else:
                place = {"start": places[start], "stop": places[stop]}
                tokens.append({"id": number, "text": text[start:stop], "special": False, **place})
        if add_special_tokens and self._ending:
            number = self._id(self._ending)
            tokens.append({"id": number, "text": self._ending, "special": True, "start": None, "stop": None})
        return tokens

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Ids as text; those that the vocabulary lacks are none.

        Raises:
            EmptyInput: no ids.
            errors.Tokenizer: the tokenizer refuses the ids.
        """
        if not ids:
            raise EmptyInput(NO_IDS)
        return self._decode(ids, skip_special_tokens=skip_special_tokens)

    def _plan(self, item: Input | Pair, limits: TextLimits, prompt: str | None, texts: list[str]) -> "_Plan":
        """Append an input's texts to ``texts`` and say how they become one encoding."""
        if isinstance(item, tuple):
            if not any(item):
                raise EmptyInput(NO_INPUTS)
            query, text = cut_texts(item, limits)
            characters = sum(map(len, item))
            dialogue = self._dialogue
            if dialogue is None:
                texts += query, text
                return _Plan(texts=2, specials=True, characters=characters)
            texts.append(dialogue.render(query, text, prompt))
            return _Plan(texts=1, specials=False, characters=characters, frame=lambda: self._frame(dialogue, prompt))
        if not item and not limits.may_be_empty:
            raise EmptyInput(NO_INPUTS)
        if isinstance(item, str):
            before = "" if limits.may_be_empty and not item.strip() else prompt or ""
            texts.append(before + cut_texts([item], limits)[0])
            return _Plan(texts=1, specials=True, characters=len(item))
        # Ids are read as TEI reads them: back to text, and through the tokenizer again.
        self._check_ids(item)
        if not limits.truncate:
            check_characters(len(item), limits.characters)
        text = self._decode(item, skip_special_tokens=prompt is not None)
        texts.append((prompt or "") + cut_texts([text], limits)[0])
        return _Plan(texts=1, specials=prompt is not None, characters=len(item))

    def _check_ids(self, ids: Sequence[int]) -> None:
        if ids and max(ids) >= self.vocabulary:
            raise WrongInput(
                f"`inputs` has the token id {max(ids)}, the model's vocabulary ends at {self.vocabulary - 1}; "
                "were the ids made by another model's tokenizer? Send text instead "
                "(langchain-openai: check_embedding_ctx_length=False)"
            )

    def _split(self, texts: list[str]) -> list[Encoding]:
        return _call(self._tokenizer.encode_batch_fast, texts, add_special_tokens=False)

    def _ends_with(self, token: str) -> bool:
        """Whether a text ends with a token already."""
        number, whole = self._id(token), self._templates[1]
        return list(whole.around[-1].ids[-1:]) == [number]

    def _id(self, token: str) -> int:
        """Raises ValueError: the vocabulary lacks it."""
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(f"it has no token {token!r}, which is to end each text")
        return number

    def _frame(self, dialogue: RerankerPrompt, instruction: str | None) -> tuple[int, int]:
        """How many tokens a dialogue begins and ends with, whatever it is about."""
        one, other = (
            piece.ids for piece in self._split([dialogue.render(said, said, instruction) for said in _FILLERS])
        )
        return _alike(one, other), _alike(one[::-1], other[::-1])

    def _decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return _call(self._tokenizer.decode, list(ids), skip_special_tokens=skip_special_tokens)

    def _assemble(self, plan: "_Plan", pieces: list[Encoding], limits: TextLimits, skipped: int) -> Encoded:
        """Cut and join; ``skipped`` are the tokens of the prompt, special ones left out."""
        template = self._templates[len(pieces)] if plan.specials else _BARE
        lengths = [len(piece) for piece in pieces]
        total = template.special + sum(lengths)
        if total > limits.tokens:
            if not limits.truncate:
                raise WrongInput(
                    f"Input validation error: `inputs` must have less than {limits.tokens} tokens. Given: {total}"
                )
            if plan.frame is not None:
                return _within(plan.frame(), pieces[0], limits, plan.characters)
            lengths = truncated_lengths(lengths, limits.tokens - template.special)
        elif not total and not limits.may_be_empty:
            raise EmptyInput(NO_INPUTS)
        kept = [_kept(piece, length, limits.direction) for piece, length in zip(pieces, lengths, strict=True)]
        filled = template.fill(kept)
        if skipped:
            lost = sum(map(len, pieces)) - sum(lengths) if limits.direction == "left" else 0
            skipped = len(template.around[0]) + max(0, skipped - lost)
            if skipped >= len(filled[0]):
                raise WrongInput(
                    f"the prompt alone has the {limits.tokens} tokens that are read: nothing is left to pool"
                )
        return Encoded(*filled, characters=plan.characters, skipped=skipped)

    def _compare(self) -> None:
        """See that we put together and cut as the library does.

        Raises:
            ValueError: we do not.
        """
        for trial in _TRIALS:
            texts = trial if isinstance(trial, tuple) else (trial,)
            whole, template = _encode(self._tokenizer, texts), self._templates[len(texts)]
            for limit in {len(whole), max(template.special + len(texts), len(whole) - 3)}:
                for direction in ("left", "right"):
                    self._compare_one(texts, TextLimits(limit, truncate=True, direction=direction))

    def _compare_one(self, texts: tuple[str, ...], limits: TextLimits) -> None:
        self._tokenizer.enable_truncation(limits.tokens, strategy="longest_first", direction=limits.direction)
        theirs = _encode(self._tokenizer, texts)
        self._tokenizer.no_truncation()
        ours = self._assemble(_Plan(len(texts), specials=True, characters=0), self._split(list(texts)), limits, 0)
        if (theirs.ids, theirs.type_ids) != (ours.ids.tolist(), ours.types.tolist()):
            raise ValueError(f"of {texts!r} the library makes {theirs.ids}, we would make {ours.ids.tolist()}")


def _kept(piece: Encoding, length: int, direction: Direction) -> Tokens:
    """So many of a text's tokens, cut on that side; their types are the template's."""
    given = len(piece)
    tokens = Tokens(piece.ids, (), piece.special_tokens_mask)
    if length == given:
        return tokens
    return tokens.part(0, length) if direction == "right" else tokens.part(given - length, given)


def _alike(left: Sequence[int], right: Sequence[int]) -> int:
    """With how many equal numbers they begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _within(frame: tuple[int, int], piece: Encoding, limits: TextLimits, characters: int) -> Encoded:
    """A dialogue that is too long: what it begins or ends with is kept, as the model looks for it there."""
    ids, ends = piece.ids, frame[1]
    begins = min(frame[0], limits.tokens)
    if limits.direction == "right":
        kept = ids[: limits.tokens - ends] + ids[len(ids) - ends :]
    else:
        kept = ids[:begins] + ids[len(ids) - (limits.tokens - begins) :]
    nothing = np.zeros(len(kept), dtype=np.int64)
    return Encoded(np.array(kept, dtype=np.int64), nothing, nothing.astype(np.bool_), characters)


def _template(tokenizer: Tokenizer, texts: Sequence[str]) -> Template:
    whole = _encode(tokenizer, texts)
    given = [_call(tokenizer.encode, text, add_special_tokens=False).ids for text in texts]
    return read_template(Tokens(whole.ids, whole.type_ids, whole.special_tokens_mask), given)


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoding:
    """A text, or a pair, by the library."""
    return _call(tokenizer.encode, texts[0], texts[1] if len(texts) == 2 else None)


def _call(function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """What the library gives.

    Raises:
        errors.Tokenizer: it refuses, by Exception itself, or panics, by what is no Exception.
    """
    try:
        return function(*arguments, **named)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise TokenizerError(f"tokenizer error {error}") from error


def _vocabulary(tokenizer: Tokenizer) -> int:
    """One more than the greatest id: as many as there are tokens, unless ids are left out."""
    count: int = tokenizer.get_vocab_size(with_added_tokens=True)
    if None not in map(tokenizer.id_to_token, range(count)):
        return count
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())  # in times the time and memory


@dataclass(frozen=True, slots=True)
class _Plan:
    """How texts become an input.

    Attributes:
        frame: of a dialogue, tells how many tokens it begins and ends with.
    """

    texts: int
    specials: bool
    characters: int
    frame: Callable[[], tuple[int, int]] | None = None


def _byte_offsets(text: str) -> list[int]:
    """Byte offset of each character and of the end, in UTF-8."""
    places = [0]
    for character in text:
        places.append(places[-1] + len(character.encode("utf-8", "surrogatepass")))
    return places
