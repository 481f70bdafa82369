"""Tokenization of texts, pairs and token ids, by Hugging Face's ``tokenizers``.

One tokenizer serves all threads and all kinds of truncation. The library keeps truncation as state of the tokenizer, so
we switch it off there. We truncate where the library would: after tokenizing, before special tokens are added. A
`Template` holds the special tokens that the library adds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from embedfleet.dialects.serving.tei import NO_IDS, NO_INPUTS, Direction, Input, Pair
from embedfleet.engine.model.reranker_prompt import RerankerPrompt
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.text.encoded import Encoded
from embedfleet.engine.text.special_tokens import Template, Tokens
from embedfleet.engine.text.tokenizer_library import call, encode_whole, template_of, vocabulary_of
from embedfleet.engine.text.truncation import (
    CHARACTERS_PER_TOKEN,
    TextLimits,
    check_characters,
    truncate_texts,
    truncated_lengths,
)
from embedfleet.errors import EmptyInput, ModelError, WrongInput
from embedfleet.errors import Tokenizer as TokenizerError

_PROBES = ("a", "1")  # texts that reveal the library's templates
# Inputs that both the library and we encode at load, truncated and whole, to compare the results.
_TRIALS = ("a", "1 2 3 a b c d e f g", ("a", "1"), ("1", "a b c d e f g 2 3"), ("1 2 3 a b c d e f", "a"))
_FEW_CHARACTERS = 1000  # a shorter text takes less time alone than as a batch, which lets other threads run meanwhile
_BARE = Template((Tokens((), (), ()),) * 2, (0,), (0,))  # one text without special tokens
_FILLERS = ("0", "1 2 3 4")  # texts that begin and end with different tokens


class Tokenization:
    """A model's tokenizer; several threads may call its methods at once.

    Args:
        file: Path of the ``tokenizer.json``.
        text: Content to use instead of the file's, if other files override it; None for the file's.
        gives_types: Whether the model reads token types; otherwise all are 0.
        pools_prompt: Whether a prompt's tokens are pooled.
        reranker_prompt: Prompt that joins a pair; None if the tokenizer joins pairs itself.
        ending: Token to append to each text, unless the tokenizer does so itself; None for none.

    Attributes:
        vocabulary: One more than the greatest token id.
        special_tokens: Largest number of special tokens in an input: a text, a pair, or a reranker's prompt. Those of
            a prompt are the tokens that it always begins and ends with.

    Raises:
        ModelError: The file cannot be read, or our inputs would differ from the library's.
    """

    def __init__(
        self,
        file: Path,
        text: str | None = None,
        *,
        gives_types: bool = True,
        pools_prompt: bool = True,
        reranker_prompt: RerankerPrompt | None = None,
        ending: str | None = None,
    ) -> None:
        self._pools_prompt = pools_prompt
        self._reranker_prompt = reranker_prompt
        try:
            self._tokenizer = call(Tokenizer.from_file, str(file)) if text is None else call(Tokenizer.from_str, text)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._templates = {count: template_of(self._tokenizer, _PROBES[:count]) for count in (1, 2)}
            self._compare()
            if not gives_types:
                self._templates = {count: template.without_types() for count, template in self._templates.items()}
            self._ending = "" if ending is None or self._ends_with(ending) else ending
            if self._ending:
                self._templates = {count: one.ended(self._id(self._ending)) for count, one in self._templates.items()}
            framing = 0 if reranker_prompt is None else sum(self._frame(reranker_prompt, None))
        except (TokenizerError, ValueError) as error:
            raise ModelError(f"{file} is not a tokenizer: {error}", "copy or download it again") from error
        self.vocabulary = vocabulary_of(self._tokenizer)
        self.special_tokens = max(framing, *(template.special for template in self._templates.values()))

    @classmethod
    def of(cls, spec: ModelSpec) -> "Tokenization":
        """The tokenizer of a model.

        Raises:
            ModelError: The tokenizer's file cannot be read, or our inputs would differ from the library's.
        """
        return cls(
            spec.tokenizer_file,
            spec.tokenizer(),
            gives_types=spec.gives_types,
            pools_prompt=spec.pools_prompt,
            reranker_prompt=spec.reranker_prompt,
            ending=spec.eos_token,
        )

    def ids_of(self, tokens: Iterable[str]) -> frozenset[int]:
        """The ids of the tokens that are in the vocabulary."""
        ids = map(self._tokenizer.token_to_id, tokens)
        return frozenset(token for token in ids if token is not None)

    def encode(self, inputs: Sequence[Input | Pair], limits: TextLimits, prompt: str | None) -> list[Encoded]:
        """Encode inputs.

        Args:
            inputs: Texts, lists of token ids, or pairs.
            limits: Length limits of an input.
            prompt: Text to put before each text; for a pair, the instruction in the reranker's prompt.

        Raises:
            EmptyInput: An input is empty.
            WrongInput: An input is too long, or has an id that the vocabulary lacks.
            errors.Tokenizer: The library refuses a text.
        """
        if len(inputs) == 1 and not prompt and isinstance(text := inputs[0], str):
            encoded = self._encode_text(text, limits)
            if encoded is not None:
                return [encoded]
        texts: list[str] = []
        plans = [self._plan(item, limits, prompt, texts) for item in inputs]
        pieces = iter(self._split(texts))
        skipped = 0 if self._pools_prompt or not prompt else len(self._split([prompt])[0])
        return [self._assemble(plan, [next(pieces) for _ in range(plan.texts)], limits, skipped) for plan in plans]

    def _encode_text(self, text: str, limits: TextLimits) -> Encoded | None:
        """Encode a text alone, as `encode` does, in fewer steps; None if it needs truncation or is refused."""
        if not 0 < len(text) <= limits.characters:
            return None
        if len(text) <= _FEW_CHARACTERS:
            piece = call(self._tokenizer.encode, text, add_special_tokens=False)
        else:
            piece = self._split([text])[0]
        ids, template = piece.ids, self._templates[1]
        if not 0 < template.special + len(ids) <= limits.tokens:
            return None
        return Encoded(*template.surround(ids, piece.special_tokens_mask), len(text))

    def tokenize(self, text: str, *, add_special_tokens: bool, prompt: str | None, limit: int) -> list[dict[str, Any]]:
        """Tokenize a text into tokens, each with the range of bytes that it covers.

        Args:
            text: Text to tokenize.
            add_special_tokens: Whether to add special tokens, as for the model.
            prompt: Text to put before it.
            limit: Maximum tokens of the model's input; a text may have 250 times as many characters.

        Raises:
            EmptyInput: The text is empty.
            WrongInput: The text has too many characters.
            errors.Tokenizer: The library refuses the text.
        """
        if not text:
            raise EmptyInput(NO_INPUTS)
        check_characters(len(text), limit * CHARACTERS_PER_TOKEN)
        text = (prompt or "") + text
        encoding = call(self._tokenizer.encode, text, add_special_tokens=add_special_tokens)
        offsets = _byte_offsets(text)
        tokens: list[dict[str, Any]] = []
        # The library builds each of these lists anew at every access.
        parts = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
        for number, word, is_special, (start, stop) in parts:
            if is_special:
                tokens.append({"id": number, "text": word, "special": True, "start": None, "stop": None})
            else:
                place = {"start": offsets[start], "stop": offsets[stop]}
                tokens.append({"id": number, "text": text[start:stop], "special": False, **place})
        if add_special_tokens and self._ending:
            number = self._id(self._ending)
            tokens.append({"id": number, "text": self._ending, "special": True, "start": None, "stop": None})
        return tokens

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Turn ids into text; ids that the vocabulary lacks are skipped.

        Raises:
            EmptyInput: There are no ids.
            errors.Tokenizer: The library refuses the ids.
        """
        if not ids:
            raise EmptyInput(NO_IDS)
        return self._decode(ids, skip_special_tokens=skip_special_tokens)

    def _plan(self, item: Input | Pair, limits: TextLimits, prompt: str | None, texts: list[str]) -> "_Plan":
        """Append an input's texts to ``texts``; returns the form in which they make one input."""
        if isinstance(item, tuple):
            if not any(item):
                raise EmptyInput(NO_INPUTS)
            query, text = truncate_texts(item, limits)
            characters = sum(map(len, item))
            reranker_prompt = self._reranker_prompt
            if reranker_prompt is None:
                texts += query, text
                return _Plan(texts=2, specials=True, characters=characters)
            texts.append(reranker_prompt.render(query, text, prompt))
            return _Plan(
                texts=1, specials=False, characters=characters, frame=lambda: self._frame(reranker_prompt, prompt)
            )
        if not item and not limits.may_be_empty:
            raise EmptyInput(NO_INPUTS)
        if isinstance(item, str):
            before = "" if limits.may_be_empty and not item.strip() else prompt or ""
            texts.append(before + truncate_texts([item], limits)[0])
            return _Plan(texts=1, specials=True, characters=len(item))
        # Like TEI, we turn ids back into text, and tokenize that.
        self._check_ids(item)
        if not limits.truncate:
            check_characters(len(item), limits.characters)
        text = self._decode(item, skip_special_tokens=prompt is not None)
        texts.append((prompt or "") + truncate_texts([text], limits)[0])
        return _Plan(texts=1, specials=prompt is not None, characters=len(item))

    def _check_ids(self, ids: Sequence[int]) -> None:
        if ids and max(ids) >= self.vocabulary:
            raise WrongInput(
                f"`inputs` has the token id {max(ids)}, the model's vocabulary ends at {self.vocabulary - 1}; "
                "were the ids made by another model's tokenizer? Send text instead "
                "(langchain-openai: check_embedding_ctx_length=False)"
            )

    def _split(self, texts: list[str]) -> list[Encoding]:
        return call(self._tokenizer.encode_batch_fast, texts, add_special_tokens=False)

    def _ends_with(self, token: str) -> bool:
        """Whether the tokenizer itself puts that token after a text."""
        number, whole = self._id(token), self._templates[1]
        return list(whole.around[-1].ids[-1:]) == [number]

    def _id(self, token: str) -> int:
        """The id of a token.

        Raises:
            ValueError: The vocabulary lacks it.
        """
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(f"it lacks the token {token!r}, which must end each text")
        return number

    def _frame(self, reranker_prompt: RerankerPrompt, instruction: str | None) -> tuple[int, int]:
        """Numbers of tokens that a reranker's prompt begins and ends with for any query and document."""
        one, other = (
            piece.ids for piece in self._split([reranker_prompt.render(said, said, instruction) for said in _FILLERS])
        )
        return _common_prefix(one, other), _common_prefix(one[::-1], other[::-1])

    def _decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return call(self._tokenizer.decode, list(ids), skip_special_tokens=skip_special_tokens)

    def _assemble(self, plan: "_Plan", pieces: list[Encoding], limits: TextLimits, skipped: int) -> Encoded:
        """Truncate the texts of an input, and join them with special tokens.

        Args:
            plan: Form of the input.
            pieces: Tokens of its texts.
            limits: Length limits of the input.
            skipped: Tokens of the prompt, without special tokens.

        Raises:
            EmptyInput: The input has no tokens.
            WrongInput: The input is too long, or the prompt leaves no tokens to pool.
        """
        template = self._templates[len(pieces)] if plan.specials else _BARE
        lengths = [len(piece) for piece in pieces]
        total = template.special + sum(lengths)
        if total > limits.tokens:
            if not limits.truncate:
                raise WrongInput(
                    f"Input validation error: `inputs` must have less than {limits.tokens} tokens. Given: {total}"
                )
            if plan.frame is not None:
                return _truncate_middle(plan.frame(), pieces[0], limits, plan.characters)
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
                    f"the prompt alone fills the {limits.tokens} tokens that are read: nothing is left to pool"
                )
        return Encoded(*filled, characters=plan.characters, skipped=skipped)

    def _compare(self) -> None:
        """Check that our inputs equal the library's, whole and truncated.

        Raises:
            ValueError: An input differs.
        """
        for trial in _TRIALS:
            texts = trial if isinstance(trial, tuple) else (trial,)
            whole, template = encode_whole(self._tokenizer, texts), self._templates[len(texts)]
            for limit in {len(whole), max(template.special + len(texts), len(whole) - 3)}:
                for direction in ("left", "right"):
                    self._compare_one(texts, TextLimits(limit, truncate=True, direction=direction))

    def _compare_one(self, texts: tuple[str, ...], limits: TextLimits) -> None:
        self._tokenizer.enable_truncation(limits.tokens, strategy="longest_first", direction=limits.direction)
        theirs = encode_whole(self._tokenizer, texts)
        self._tokenizer.no_truncation()
        ours = self._assemble(_Plan(len(texts), specials=True, characters=0), self._split(list(texts)), limits, 0)
        if (theirs.ids, theirs.type_ids) != (ours.ids.tolist(), ours.types.tolist()):
            raise ValueError(f"for {texts!r} the library gives {theirs.ids}, we would give {ours.ids.tolist()}")


def _kept(piece: Encoding, length: int, direction: Direction) -> Tokens:
    """The first or last tokens of a text, without types, which the template adds."""
    given = len(piece)
    tokens = Tokens(piece.ids, (), piece.special_tokens_mask)
    if length == given:
        return tokens
    return tokens.part(0, length) if direction == "right" else tokens.part(given - length, given)


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _truncate_middle(frame: tuple[int, int], piece: Encoding, limits: TextLimits, characters: int) -> Encoded:
    """Truncate a reranker's prompt in its middle, since the model needs its beginning and its end."""
    ids, ends = piece.ids, frame[1]
    begins = min(frame[0], limits.tokens)
    if limits.direction == "right":
        kept = ids[: limits.tokens - ends] + ids[len(ids) - ends :]
    else:
        kept = ids[:begins] + ids[len(ids) - (limits.tokens - begins) :]
    nothing = np.zeros(len(kept), dtype=np.int64)
    return Encoded(np.array(kept, dtype=np.int64), nothing, [0] * len(kept), characters)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The form of one input.

    Attributes:
        texts: Number of texts.
        specials: Whether special tokens are added.
        characters: Characters of the input; for an input of ids, the number of ids.
        frame: For a reranker's prompt, function that counts the tokens that it always begins and ends with; else None.
    """

    texts: int
    specials: bool
    characters: int
    frame: Callable[[], tuple[int, int]] | None = None


def _byte_offsets(text: str) -> list[int]:
    """Byte offset of each character in UTF-8, and of the end."""
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + len(character.encode("utf-8", "surrogatepass")))
    return offsets
