"""The computation of each route, from a parsed request to the values of its reply.

Checks run in TEI's order (TEI 1.9, router/src/http/server.rs): emptiness, kind of model, batch size, permits.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from embedfleet.arrays import Floats
from embedfleet.dialects.serving.bge_m3 import EncodeRequest, Encoding, Scoring
from embedfleet.dialects.serving.openai import EmbeddingsRequest
from embedfleet.dialects.serving.tei import (
    NO_INPUTS,
    DecodeRequest,
    EmbedRequest,
    Input,
    Pair,
    PredictRequest,
    RequestCost,
    RerankRequest,
    SimilarityRequest,
    TokenizeRequest,
    Truncation,
    predictions,
)
from embedfleet.engine.batching.job import Inference
from embedfleet.engine.compute import bge_m3
from embedfleet.engine.compute.bge_m3 import colbert_vectors, lexical_weights
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.compute.pooling import max_sim, probabilities, sigmoid, unit, words_of
from embedfleet.engine.engine import Engine
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.encoded import Encoded
from embedfleet.errors import BatchTooLarge, EmptyInput, Validation, WrongInput, WrongModel
from embedfleet.model_folder.file_names import COLBERT_LINEAR, SPARSE_LINEAR

_NO_ROWS = np.zeros((0, 1), dtype=np.float32)  # the output for an input without tokens


@dataclass(slots=True)  # making a frozen one takes three times as long, and each request needs one
class _ModelInputs:
    """Inputs for the model.

    Attributes:
        inputs: Texts, pairs or token ids.
        truncation: Treatment of inputs that are too long.
        prompt: Text to put before each input; None for none.
        kind: Kind under which TEI's metrics count them.
        uncounted: Number of inputs that these metrics do not count, such as the query of a ranking.
        may_be_empty: Whether a text may be empty.
    """

    inputs: Sequence[Input | Pair]
    truncation: Truncation
    prompt: str | None = None
    kind: Literal["embed", "predict"] = "embed"
    uncounted: int = 0
    may_be_empty: bool = False


@dataclass(slots=True)  # making a frozen one takes three times as long, and each request needs one
class _Computed:
    """The outputs of a request's inputs, and their cost."""

    outputs: tuple[Output, ...]
    encoded: Sequence[Encoded]
    inference: Inference
    cost: RequestCost

    @property
    def rows(self) -> list[Floats]:
        """Output of each input, if a single output was requested."""
        return [rows for (rows,) in self.inference.outputs]

    def each(self) -> Iterator[tuple[Encoded, dict[Output, Floats]]]:
        """Yield each input with all its outputs."""
        for encoded, rows in zip(self.encoded, self.inference.outputs, strict=True):
            yield encoded, dict(zip(self.outputs, rows, strict=True))


class Operations:
    """The operations of one engine, one method each.

    Args:
        engine: Engine that computes.
        settings: Settings of the engine.
    """

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._counts = {kind: engine.registry[f"te_{kind}_count"].value() for kind in ("embed", "predict")}
        self._default_prompt = self._choose_default_prompt()

    async def embed(self, request: EmbedRequest) -> tuple[Floats, RequestCost]:
        """Compute pooled vectors, [inputs, dimensions]."""
        self._require_embedder()
        self._check_batch(len(request.inputs))
        given = _ModelInputs(request.inputs, request.truncation, self._prompt(request.prompt_name))
        return await self._vectors(given, normalized=request.normalize, dimensions=request.dimensions)

    async def embeddings(self, request: EmbeddingsRequest) -> tuple[Floats, RequestCost]:
        """Compute normalised vectors for OpenAI's route; the server's default decides whether inputs are truncated."""
        self._require_embedder()
        self._check_batch(len(request.inputs))
        given = _ModelInputs(request.inputs, Truncation(), self._default_prompt)
        return await self._vectors(given, normalized=True, dimensions=request.dimensions)

    async def embed_all(self, request: EmbedRequest, *, colbert: bool = False) -> tuple[list[Floats], RequestCost]:
        """Compute each input's token states, [tokens, hidden], with special tokens and not normalised.

        With ``colbert``, compute the normalised vectors of bge-m3's ColBERT head instead, without the first token's.
        """
        self._require_embedder()
        if self._engine.spec.kind == "splade":
            raise WrongModel("Backend error: `embed_all` is not available for SPLADE models")
        if colbert:
            self._require(Output.COLBERT)
        self._check_batch(len(request.inputs))
        given = _ModelInputs(request.inputs, request.truncation, self._prompt(request.prompt_name))
        computed = await self._compute(given, Output.COLBERT if colbert else Output.STATES)
        return list(map(colbert_vectors, computed.rows)) if colbert else computed.rows, computed.cost

    async def embed_sparse(self, request: EmbedRequest) -> tuple[list[dict[int, float]], RequestCost]:
        """Compute the nonzero weights of each input's words, by SPLADE or by bge-m3's sparse head."""
        spec = self._engine.spec
        if spec.kind != "splade" and (self._engine.is_late_interaction or Output.LEXICAL not in outputs_of(spec)):
            raise WrongModel("Backend error: Model is not an embedding model with SPLADE pooling")
        self._check_batch(len(request.inputs))
        given = _ModelInputs(request.inputs, request.truncation, self._prompt(request.prompt_name))
        if spec.kind == "splade":
            computed = await self._compute(given, Output.WORDS)
            return list(map(words_of, computed.rows)), computed.cost
        encodings, cost = await self._encode(given, (Output.LEXICAL,))
        return [encoding.lexical or {} for encoding in encodings], cost

    async def encode(self, request: EncodeRequest) -> tuple[list[Encoding], RequestCost]:
        """Compute each input's requested outputs in one pass."""
        self._require_embedder()
        wanted = {Output.VECTOR: request.dense, Output.LEXICAL: request.sparse, Output.COLBERT: request.colbert}
        outputs = tuple(output for output, is_wanted in wanted.items() if is_wanted)
        self._require(*outputs)
        embed = request.embed
        self._check_batch(len(embed.inputs))
        return await self._encode(
            _ModelInputs(embed.inputs, embed.truncation, self._prompt(embed.prompt_name)), outputs
        )

    async def similarity(
        self, request: SimilarityRequest, scoring: Scoring | None = None
    ) -> tuple[Floats, RequestCost]:
        """Compute each sentence's cosine with the source, or its score by ``scoring``, [sentences]."""
        self._require_embedder()
        inputs = [request.source, *request.sentences]
        self._check_batch(len(inputs))
        given = _ModelInputs(inputs, request.truncation, self._prompt(request.prompt_name))
        if scoring is not None:
            return await self._scores(given, scoring)
        # TEI refuses to normalise SPLADE's weights on /embed, but takes such a model here.
        is_splade = self._engine.spec.kind == "splade"
        vectors, cost = await self._vectors(given, normalized=not is_splade, dimensions=None)
        vectors = unit(vectors) if is_splade else vectors
        return vectors[1:] @ vectors[0], cost

    async def rerank(self, request: RerankRequest, scoring: Scoring | None = None) -> tuple[Floats, RequestCost]:
        """Compute a score for each text, in the texts' order; with ``scoring``, from bge-m3's outputs."""
        if scoring is not None:
            self._check_batch(len(request.texts))
            return await self._scores(self._query_and_texts(request), scoring)
        if self._engine.is_late_interaction:
            self._check_batch(len(request.texts))
            return await self._late_interaction(request)
        if self._engine.spec.kind != "reranker":
            raise WrongModel("Backend error: model is not a re-ranker model")
        self._check_batch(len(request.texts))
        prompt = self._instruction()
        pairs: list[Pair] = [(request.query, text) for text in request.texts]
        computed = await self._compute(_ModelInputs(pairs, request.truncation, prompt, "predict"), Output.CLASSES)
        logits = np.array([row[0] for row in computed.rows], dtype=np.float32)
        return (logits if request.raw_scores else sigmoid(logits)), computed.cost

    async def predict(self, request: PredictRequest) -> tuple[list[list[dict[str, Any]]], RequestCost]:
        """Compute each input's classes, best first."""
        spec = self._engine.spec
        if not spec.id2label:
            raise WrongModel("Backend error: Model is not a classifier model")
        self._check_batch(len(request.inputs))
        if any(isinstance(item, tuple) for item in request.inputs):
            self._instruction()
        if spec.reranker_prompt is not None and not all(isinstance(item, tuple) for item in request.inputs):
            raise WrongInput("the model scores pairs: give [query, text]")
        given = _ModelInputs(request.inputs, request.truncation, self._default_prompt, "predict")
        computed = await self._compute(given, Output.CLASSES)
        labels = [spec.id2label[index] for index in sorted(spec.id2label)]
        scores = [row if request.raw_scores else probabilities(row) for row in computed.rows]
        return [predictions(row, labels) for row in scores], computed.cost

    async def tokenize(self, request: TokenizeRequest) -> list[list[dict[str, Any]]]:
        """Tokenize each input without truncation, into tokens with their byte offsets."""
        self._check_batch(len(request.inputs))
        prompt = self._prompt(request.prompt_name)
        return await self._engine.tokenize(request.inputs, add_special_tokens=request.add_special_tokens, prompt=prompt)

    async def decode(self, request: DecodeRequest) -> list[str]:
        """Decode each list of token ids to a text."""
        self._check_batch(len(request.ids))
        return await self._engine.decode(request.ids, skip_special_tokens=request.skip_special_tokens)

    async def _vectors(
        self, given: _ModelInputs, *, normalized: bool, dimensions: int | None
    ) -> tuple[Floats, RequestCost]:
        spec = self._engine.spec
        is_splade = spec.kind == "splade"
        if is_splade and normalized:
            raise WrongModel("Backend error: `normalize` is not available for SPLADE models")
        if dimensions == 0:
            raise Validation("Input validation error: `dimensions` should be positive")
        if dimensions is not None and dimensions > spec.dimensions:
            raise Validation(
                "Input validation error: `dimensions` should be smaller than the maximum embedding dimension."
            )
        dimensions = dimensions or spec.prompts.dimensions
        if is_splade:
            computed = await self._compute(given, Output.WORDS)
            return np.array(computed.rows)[:, :dimensions], computed.cost
        computed = await self._compute(given, Output.VECTOR)
        vectors = np.array(computed.rows)[:, :dimensions]
        return (unit(vectors) if normalized else vectors), computed.cost

    async def _late_interaction(self, request: RerankRequest) -> tuple[Floats, RequestCost]:
        """Score texts by late interaction, from the best cosine of each query token with a token of the text.

        A text's score is the mean of these cosines, from -1 to 1; a text without tokens scores -1. A model with a
        ColBERT head is scored by that head's vectors, which special tokens have too; a text without any scores 0.
        The score is not a logit. So it does not go through a sigmoid, as a cross-encoder's does: unless raw scores are
        requested, it is scaled linearly from -1 … 1 to 0 … 1.
        """
        given = self._query_and_texts(request)
        if Output.COLBERT in outputs_of(self._engine.spec):
            scores, cost = await self._scores(given, Scoring(colbert=1.0))
        else:
            computed = await self._compute(given, Output.STATES)
            states = [row[encoded.content] for encoded, row in zip(computed.encoded, computed.rows, strict=True)]
            scores = np.array([max_sim(states[0], text) for text in states[1:]], dtype=np.float32)
            cost = computed.cost
        return (scores if request.raw_scores else (scores + np.float32(1)) / np.float32(2)), cost

    def _query_and_texts(self, request: RerankRequest) -> _ModelInputs:
        """Make an input of the query and one of each text; an empty text does not fail the others."""
        inputs = [request.query, *request.texts]
        return _ModelInputs(inputs, request.truncation, self._default_prompt, "predict", uncounted=1, may_be_empty=True)

    async def _scores(self, given: _ModelInputs, scoring: Scoring) -> tuple[Floats, RequestCost]:
        """Score each text against the query, which is the first input."""
        wanted = {Output.VECTOR: scoring.dense, Output.LEXICAL: scoring.sparse, Output.COLBERT: scoring.colbert}
        outputs = tuple(output for output, weight in wanted.items() if weight)
        self._require(*outputs)
        (query, *texts), cost = await self._encode(given, outputs)
        return np.array([bge_m3.score(query, text, scoring) for text in texts], dtype=np.float32), cost

    async def _encode(self, given: _ModelInputs, outputs: tuple[Output, ...]) -> tuple[list[Encoding], RequestCost]:
        """Compute each input's ``outputs`` in one forward pass, in the form that clients of bge-m3 receive."""
        computed = await self._compute(given, *outputs)
        return [self._encoding(encoded, rows) for encoded, rows in computed.each()], computed.cost

    def _encoding(self, encoded: Encoded, rows: dict[Output, Floats]) -> Encoding:
        dense = lexical = colbert = None
        if Output.VECTOR in rows:
            dense = unit(rows[Output.VECTOR])
        if Output.LEXICAL in rows:
            lexical = lexical_weights(rows[Output.LEXICAL], encoded.ids.tolist(), self._engine.unweighted_ids)
        if Output.COLBERT in rows:
            colbert = colbert_vectors(rows[Output.COLBERT])
        return Encoding(dense, lexical, colbert)

    def _require(self, *outputs: Output) -> None:
        """Refuse outputs that the model does not have."""
        for output in outputs:
            if output.source not in outputs_of(self._engine.spec):
                needed = f"its folder needs {SPARSE_LINEAR} and {COLBERT_LINEAR}"
                raise WrongModel(f"Backend error: the model has no {output} output: {needed}")

    async def _compute(self, given: _ModelInputs, *outputs: Output) -> _Computed:
        """Tokenize inputs and run the model on them; like TEI, count each input once it has its permit."""
        started = time.perf_counter()
        truncation, count = given.truncation, len(given.inputs)
        truncate = self._settings.auto_truncate if truncation.truncate is None else truncation.truncate
        with self._engine.permits(count):
            self._counts[given.kind].inc(count - given.uncounted)
            encoded = await self._engine.encode(
                given.inputs,
                truncate=truncate,
                direction=truncation.direction,
                prompt=given.prompt,
                may_be_empty=given.may_be_empty,
            )
            tokenized = time.perf_counter()
            inference = await (self._infer_non_empty if given.may_be_empty else self._engine.infer)(encoded, outputs)
        cost = RequestCost(
            characters=sum([item.characters for item in encoded]),
            tokens=sum([len(item.ids) for item in encoded]),
            total_s=time.perf_counter() - started,
            tokenization_s=tokenized - started,
            queue_s=inference.queue_s,
            inference_s=inference.inference_s,
        )
        return _Computed(outputs, encoded, inference, cost)

    async def _infer_non_empty(self, encoded: Sequence[Encoded], outputs: tuple[Output, ...]) -> Inference:
        """Run `Engine.infer` on the inputs with tokens; an input without tokens gets outputs without rows.

        Raises:
            EmptyInput: An input has no tokens, and an output has one row per input instead of one per token.
        """
        some = [item for item in encoded if len(item.ids)]
        if len(some) == len(encoded):
            return await self._engine.infer(encoded, outputs)
        if not all(output.is_per_token for output in outputs):
            raise EmptyInput(NO_INPUTS)
        inference = await self._engine.infer(some, outputs) if some else Inference((), 0.0, 0.0)
        rows = iter(inference.outputs)
        nothing = (_NO_ROWS,) * len(outputs)
        found = [next(rows) if len(item.ids) else nothing for item in encoded]
        return replace(inference, outputs=found)

    def _require_embedder(self) -> None:
        if self._engine.is_late_interaction or self._engine.spec.kind not in {"embedding", "splade"}:
            raise WrongModel("Backend error: Model is not an embedding model")

    def _check_batch(self, size: int) -> None:
        limit = self._settings.max_client_batch_size
        if size > limit:
            raise BatchTooLarge(f"batch size {size} > maximum allowed batch size {limit}")

    def _instruction(self) -> str | None:
        """The default prompt for pairs, which is the instruction in a reranker's prompt; None for none.

        Raises:
            WrongInput: There is a default prompt, and the model has no `RerankerPrompt`.
        """
        if self._default_prompt is not None and self._engine.spec.reranker_prompt is None:
            raise WrongInput("`prompt_name` cannot be set with dual inputs")
        return self._default_prompt

    def _prompt(self, name: str | None) -> str | None:
        """Look up the prompt that a request's ``prompt_name`` names."""
        if name is None:
            return self._default_prompt
        prompts = self._engine.spec.prompts.prompts
        if name not in prompts:
            names = ", ".join(f'"{known}"' for known in prompts)
            wrong = (
                f"it was not found in the Sentence Transformers prompts. Available prompts: [{names}]"
                if prompts
                else "no prompts were found in the Sentence Transformers configuration"
            )
            raise WrongInput(f"Input validation error: `default-prompt-name` is set to `{name}` but {wrong}")
        return prompts[name]

    def _choose_default_prompt(self) -> str | None:
        """Choose the default prompt: that of the settings, else an embedder's own."""
        self._default_prompt = self._settings.default_prompt or None
        spec = self._engine.spec
        own = spec.prompts.default if spec.kind in {"embedding", "splade"} and self._default_prompt is None else None
        return self._prompt(self._settings.default_prompt_name or own)
