"""The deviation of a model in int8 from the same model in float32, measured on a few texts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from embedfleet.arrays import Floats, Integers
from embedfleet.engine.batching.worker import join
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import normalize, probabilities
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.text.encoded import Encoded
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import Empty, ModelError
from embedfleet.errors import Tokenizer as TokenizerError

Forward = Callable[[Integers, Integers, Integers, tuple[Output, ...]], tuple[Floats, ...]]
"""A function with the arguments and results of `Backend.forward`."""

Rows = dict[Output, list[Floats]]
"""For each output, the values that clients receive, one array per text: [rows, numbers], or [numbers] for scores."""

TEXTS = (
    "weather",
    "how do I reset my password?",
    "best way to cook rice without a rice cooker",
    "The committee will meet on Tuesday to discuss next year's budget.",
    "A transformer changes the voltage of an alternating current by means of two coils on a shared core.",
    "def area(width, height):\n    return width * height",
    "SELECT name, price FROM products WHERE price < 20 ORDER BY price DESC;",
    "Error 502: the upstream server closed the connection before it had sent a reply",
    "Order no. 48213: 3 x chair, oak, $149.90 each, delivery on 4 March, invoice to follow.",
    "She closed the book, looked out at the rain and wondered whether he would still come.",
    "Patients who received the drug had fewer attacks than those on placebo (2.1 against 3.4 a month, p = 0.02).",
    "The tenant shall return the premises in the condition in which they were received, fair wear excepted.",
    "Die Bibliothek ist am Sonntag geschlossen, am Montag öffnet sie um neun Uhr.",
    "Le train de nuit pour Marseille part de la voie sept avec vingt minutes de retard.",
    "La receta lleva tomates maduros, aceite de oliva, ajo y un poco de pan del día anterior.",
    "今日は天気がいいので、公園を散歩しました。",
    (
        "Bees tell each other where flowers are by a dance: its angle to the vertical is the flowers' angle to the "
        "sun, and the longer they waggle, the farther they are. Whoever follows the dance flies out and mostly "
        "finds the place. Scouts that look for a new home dance for it too; those whose find is poor give up "
        "sooner, until nearly all dance for one place and the swarm leaves for it."
    ),
    (
        "Glaciers flow. Under the weight of the snow above, ice deforms like a very thick liquid, and where the bed "
        "is wet the whole mass slides. In the middle, where nothing holds it back, it is fastest; at the edges and "
        "at the bottom friction slows it down. If less snow falls at the top than melts at the tongue, the tongue "
        "retreats, though the ice in it still moves forward. What it carried stays behind as ridges of rubble, from "
        "which one can read how far it once reached, and the lakes that fill the hollows behind those ridges are "
        "among the clearest on earth."
    ),
)
"""Sample texts of different lengths, kinds and languages, so that most models get some that they are made for."""

_QUERY = "how do animals and machines find their way?"  # paired with each text for a reranker
_NAMES = {Output.STATES: "vectors", Output.WORDS: "word weights", Output.COLBERT: "tokens' vectors"}
_NAMES |= {Output.CLASSES: "scores", Output.LEXICAL: "tokens' weights"}
_NUMBERS = {Output.CLASSES, Output.LEXICAL}  # compared number by number, not as directions


@dataclass(frozen=True, slots=True)
class Int8Deviation:
    """Distance of one output from float32, over all its rows.

    Distances are cosine distances of rows; for scores and for bge-m3's lexical weights, differences of single numbers.

    Attributes:
        output: Output of the model; for token states, the embeddings made of them are compared.
        worst: Largest distance.
        mean: Mean distance.
        inputs: Number of texts.
    """

    output: Output
    worst: float
    mean: float
    inputs: int

    def __str__(self) -> str:
        measure = "" if self.output in _NUMBERS else "a cosine distance of "
        return (
            f"int8 moves {_NAMES[self.output]} by {measure}{self.worst:.2g} at worst, {self.mean:.2g} on average,"
            f" from float32 (of {self.inputs} texts)"
        )


def deviations_of(exact: Rows, found: Rows) -> tuple[Int8Deviation, ...]:
    """The deviation of each output, from the results of `SampleTexts.rows` in float32 and in int8.

    Raises:
        ModelError: A number in int8 is not finite.
    """
    return tuple(_error(output, exact[output], found[output]) for output in exact if exact[output])


class SampleTexts:
    """The sample texts as a model reads them, without those that its tokenizer refuses or has no tokens for.

    Args:
        spec: Model that computes them.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._encoded = list(_encode(spec))
        self._outputs = outputs_of(spec)
        self._pooler = EmbeddingPooler(spec) if spec.kind == "embedding" else None

    def rows(self, forward: Forward) -> Rows:
        """Compute every text alone with ``forward``."""
        found: dict[Output, list[Floats]] = {output: [] for output in self._outputs}
        for item in self._encoded:
            for output, rows in zip(self._outputs, forward(*join([item]), self._outputs), strict=True):
                found[output].append(self._as_sent(output, rows))
        return found

    def _as_sent(self, output: Output, rows: Floats) -> Floats:
        """The values that a client receives for one text."""
        if output is Output.STATES and self._pooler is not None:
            return self._pooler(rows)[None]
        return probabilities(rows[0]) if output is Output.CLASSES else rows


def _encode(spec: ModelSpec) -> Iterator[Encoded]:
    tokenization = Tokenization.of(spec)
    limits = TextLimits(spec.max_input_length, truncate=True, direction="right")
    for text in TEXTS:
        with suppress(Empty, TokenizerError):
            yield from tokenization.encode([(_QUERY, text) if spec.kind == "reranker" else text], limits, None)


def _error(output: Output, exact: Sequence[Floats], found: Sequence[Floats]) -> Int8Deviation:
    lost = sum(not np.isfinite(rows).all() for rows in found)
    if lost:
        raise ModelError(
            f"in int8, {lost} of {len(found)} texts have {_NAMES[output]} that are not finite",
            "set precision to float32; if float32 is refused too, the weights are damaged: copy or download them again",
        )
    pairs = zip(exact, found, strict=True)
    distances = np.concatenate([_distances(output, truth, ours).reshape(-1) for truth, ours in pairs])
    return Int8Deviation(output, float(distances.max()), float(distances.mean()), len(exact))


def _distances(output: Output, exact: Floats, found: Floats) -> Floats:
    if output in _NUMBERS:
        differences: Floats = np.abs(exact - found)
        return differences
    # For unit vectors, half the squared distance equals 1 - cosine, and is exact where that is small.
    apart = normalize(exact) - normalize(found)
    distances: Floats = 0.5 * np.add.reduce(apart * apart, axis=-1)
    return distances
