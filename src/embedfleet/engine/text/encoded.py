"""The tokens of one input, as the model reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(slots=True)  # making a frozen one takes three times as long, and each input needs one
class Encoded:
    """The tokens of one input; nothing changes it.

    Attributes:
        ids: Token ids, special tokens included, [tokens].
        types: Token types, [tokens].
        marks: 1 for each special token, 0 for any other, [tokens].
        characters: Characters of the input; for an input of ids, the number of ids.
        skipped: Number of leading tokens that are not pooled, because they belong to a prompt.
    """

    ids: np.ndarray[Any, np.dtype[np.int64]]
    types: np.ndarray[Any, np.dtype[np.int64]]
    marks: Sequence[int] | np.ndarray[Any, np.dtype[np.bool_]]
    characters: int
    skipped: int = 0

    @property
    def special(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each token is special, [tokens]."""
        return np.asarray(self.marks, dtype=np.bool_)

    @property
    def content(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each token belongs to the text, that is, is not special; a text of blanks has no such token."""
        return ~self.special
