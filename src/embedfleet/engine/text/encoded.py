"""The tokens of one input, as the model reads them."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one input.

    Attributes:
        ids: Token ids, special tokens included, [tokens].
        types: Token types, [tokens].
        special: Whether each token is special, [tokens].
        characters: Characters of the input; for an input of ids, the number of ids.
        skipped: Number of leading tokens that are not pooled, because they belong to a prompt.
    """

    ids: np.ndarray[Any, np.dtype[np.int64]]
    types: np.ndarray[Any, np.dtype[np.int64]]
    special: np.ndarray[Any, np.dtype[np.bool_]]
    characters: int
    skipped: int = 0

    @property
    def content(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each token belongs to the text, that is, is not special; a text of blanks has no such token."""
        return ~self.special
