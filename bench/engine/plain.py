"""A loop without a server: tokenize, run and pool one text after the other. Its vectors are the reference."""

import time
from collections.abc import Sequence

import numpy as np

from bench.engine.texts import Texts
from bench.measuring.process import on_core
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.pooling import normalize, pool
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits


class Plain:
    """The loop, in one process without HTTP."""

    def __init__(self) -> None:
        self._spec = read_model(builtin_model())
        self._tokenization = Tokenization(self._spec.tokenizer_file)
        self._backend = OnnxBackend.load(self._spec)
        self._limits = TextLimits(self._spec.max_input_length, truncate=True, direction="right")

    def embed(self, text: str) -> np.ndarray:
        """The vector of a text."""
        (encoded,) = self._tokenization.encode([text], self._limits, None)
        lengths = np.array([len(encoded.ids)])
        (states,) = self._backend.forward(encoded.ids, encoded.types, lengths, (Output.STATES,))
        assert self._spec.pooling is not None
        return normalize(pool(states, self._spec.pooling))

    def measure(self, texts: Texts, seconds: float, core: int) -> float:
        """Tokens per second on one core, text by text."""
        with on_core(core):
            return self._measure(texts.real, texts, seconds)

    def _measure(self, pool_of: Sequence[str], texts: Texts, seconds: float) -> float:
        done, number, started = 0, 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            text = pool_of[number % len(pool_of)]
            self.embed(text)
            done += texts.tokens[text]
            number += 1
        return done / elapsed
