"""What each route computes, from a parsed request to the values of its reply.

Checks come in TEI's order (TEI 1.9, router/src/http/server.rs): emptiness, kind of model, batch size, permits.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedfleet.dialects.encode import EncodeRequest, Encoding, Scoring
from embedfleet.dialects.openai import EmbeddingsRequest
from embedfleet.dialects.tei import (
    Cost,
    DecodeRequest,
    EmbedRequest,
    Floats,
    Input,
    Pair,
    PredictRequest,
    RerankRequest,
    SimilarityRequest,
    TokenizeRequest,
    Truncation,
    predictions,
)
from embedfleet.engine import m3
from embedfleet.engine.backend import Output
from embedfleet.engine.engine import Engine
from embedfleet.engine.heads import outputs_of
from embedfleet.engine.job import Inference
from embedfleet.engine.m3 import colbert_vectors, lexical_weights
from embedfleet.engine.model import COLBERT_FILE, SPARSE_FILE
from embedfleet.engine.pooling import max_sim, normalize, probabilities, sigmoid, words_of
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.tokenization import Encoded
from embedfleet.errors import Backend, Validation


@dataclass(frozen=True, slots=True)
class _Computed:
    outputs: tuple[Output, ...]
    encoded: Sequence[Encoded]
    inference: Inference
    cost: Cost

    @property
    def rows(self) -> list[Floats]:
        """Of each input the one output that was asked."""
        return [rows for (rows,) in self.inference.outputs]

    def each(self) -> Iterator[tuple[Encoded, dict[Output, Floats]]]:
        """Each input with all its outputs."""
        for encoded, rows in zip(self.encoded, self.inference.outputs, strict=True):
            yield encoded, dict(zip(self.outputs, rows, strict=True))


class Operations:
    """The engine's work by request kind."""

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._default_prompt = self._choose_default_prompt()

    async def embed(self, request: EmbedRequest) -> tuple[Floats, Cost]:
        """Pooled vectors, [inputs, dimensions]."""
        self._require_embedder()
        self._check_batch(len(request.inputs))
        return await self._vectors(
            request.inputs,
            request.truncation,
            self._prompt(request.prompt_name),
            normalized=request.normalize,
            dimensions=request.dimensions,
        )

    async def embeddings(self, request: EmbeddingsRequest) -> tuple[Floats, Cost]:
        """Pooled vectors for OpenAI's route: always of length one, truncated as the server does by default."""
        self._require_embedder()
        self._check_batch(len(request.inputs))
        return await self._vectors(
            request.inputs, Truncation(), self._default_prompt, normalized=True, dimensions=request.dimensions
        )

    async def embed_all(self, request: EmbedRequest, *, colbert: bool = False) -> tuple[list[Floats], Cost]:
        """Each input's token states, [tokens, hidden], special tokens included, not normalised.

        With ``colbert`` those of bge-m3's ColBERT head, without the first token's, each of length one.
        """
        self._require_embedder()
        if self._engine.spec.kind == "splade":
            raise Backend("Backend error: `embed_all` is not available for SPLADE models")
        if colbert:
            self._require(Output.COLBERT)
        self._check_batch(len(request.inputs))
        prompt = self._prompt(request.prompt_name)
        output = Output.COLBERT if colbert else Output.STATES
        computed = await self._compute(request.inputs, request.truncation, prompt, output)
        return list(map(colbert_vectors, computed.rows)) if colbert else computed.rows, computed.cost

    async def embed_sparse(self, request: EmbedRequest) -> tuple[list[dict[int, float]], Cost]:
        """Each input's words that have a weight, by SPLADE or by bge-m3's sparse head."""
        spec = self._engine.spec
        if spec.kind != "splade" and (self._engine.late_interaction or Output.LEXICAL not in outputs_of(spec)):
            raise Backend("Backend error: Model is not an embedding model with SPLADE pooling")
        self._check_batch(len(request.inputs))
        prompt = self._prompt(request.prompt_name)
        if spec.kind == "splade":
            computed = await self._compute(request.inputs, request.truncation, prompt, Output.WORDS)
            return list(map(words_of, computed.rows)), computed.cost
        encodings, cost = await self._encode(request.inputs, request.truncation, prompt, (Output.LEXICAL,))
        return [encoding.lexical or {} for encoding in encodings], cost

    async def encode(self, request: EncodeRequest) -> tuple[list[Encoding], Cost]:
        """Each input's outputs that are asked for, of one pass."""
        self._require_embedder()
        wanted = {Output.VECTOR: request.dense, Output.LEXICAL: request.sparse, Output.COLBERT: request.colbert}
        outputs = tuple(output for output, is_wanted in wanted.items() if is_wanted)
        self._require(*outputs)
        embed = request.embed
        self._check_batch(len(embed.inputs))
        return await self._encode(embed.inputs, embed.truncation, self._prompt(embed.prompt_name), outputs)

    async def similarity(self, request: SimilarityRequest, scoring: Scoring | None = None) -> tuple[Floats, Cost]:
        """Cosine similarity of the source with each sentence, [sentences]; or what ``scoring`` says of it."""
        self._require_embedder()
        inputs = [request.source, *request.sentences]
        self._check_batch(len(inputs))
        if scoring is not None:
            return await self._scores(inputs, request.truncation, self._prompt(request.prompt_name), scoring)
        vectors, cost = await self._vectors(
            inputs, request.truncation, self._prompt(request.prompt_name), normalized=True, dimensions=None
        )
        return vectors[1:] @ vectors[0], cost

    async def rerank(self, request: RerankRequest, scoring: Scoring | None = None) -> tuple[Floats, Cost]:
        """One score per text, in the texts' order; by bge-m3's outputs if there is a ``scoring``, see `m3.score`."""
        if scoring is not None:
            self._check_batch(len(request.texts))
            inputs = [request.query, *request.texts]
            return await self._scores(inputs, request.truncation, self._default_prompt, scoring)
        if self._engine.late_interaction:
            self._check_batch(len(request.texts))
            return await self._late_interaction(request)
        if self._engine.spec.kind != "reranker":
            raise Backend("Backend error: model is not a re-ranker model")
        self._check_batch(len(request.texts))
        self._refuse_default_prompt()
        pairs: list[Pair] = [(request.query, text) for text in request.texts]
        computed = await self._compute(pairs, request.truncation, None, Output.CLASSES)
        logits = np.array([row[0] for row in computed.rows], dtype=np.float32)
        return (logits if request.raw_scores else sigmoid(logits)), computed.cost

    async def predict(self, request: PredictRequest) -> tuple[list[list[dict[str, Any]]], Cost]:
        """Each input's classes, best first."""
        spec = self._engine.spec
        if not spec.id2label:
            raise Backend("Backend error: Model is not a classifier model")
        self._check_batch(len(request.inputs))
        if any(isinstance(item, tuple) for item in request.inputs):
            self._refuse_default_prompt()
        computed = await self._compute(request.inputs, request.truncation, self._default_prompt, Output.CLASSES)
        labels = [spec.id2label[index] for index in sorted(spec.id2label)]
        scores = [row if request.raw_scores else probabilities(row) for row in computed.rows]
        return [predictions(row, labels) for row in scores], computed.cost

    async def tokenize(self, request: TokenizeRequest) -> list[list[dict[str, Any]]]:
        """Each input's tokens with their byte offsets; never truncated."""
        self._check_batch(len(request.inputs))
        prompt = self._prompt(request.prompt_name)
        return await self._engine.tokenize(request.inputs, add_special_tokens=request.add_special_tokens, prompt=prompt)

    async def decode(self, request: DecodeRequest) -> list[str]:
        """Each list of ids as text."""
        self._check_batch(len(request.ids))
        return await self._engine.decode(request.ids, skip_special_tokens=request.skip_special_tokens)

    async def _vectors(
        self,
        inputs: Sequence[Input],
        truncation: Truncation,
        prompt: str | None,
        *,
        normalized: bool,
        dimensions: int | None,
    ) -> tuple[Floats, Cost]:
        spec = self._engine.spec
        is_splade = spec.kind == "splade"
        if is_splade and normalized:
            raise Backend("Backend error: `normalize` is not available for SPLADE models")
        if dimensions == 0:
            raise Validation("`dimensions` should be positive")
        if dimensions is not None and dimensions > spec.dimensions:
            raise Validation("`dimensions` should be smaller than the maximum embedding dimension.")
        if is_splade:
            computed = await self._compute(inputs, truncation, prompt, Output.WORDS)
            return np.array(computed.rows)[:, :dimensions], computed.cost
        computed = await self._compute(inputs, truncation, prompt, Output.VECTOR)
        vectors = np.array(computed.rows)[:, :dimensions]
        return (normalize(vectors) if normalized else vectors), computed.cost

    async def _late_interaction(self, request: RerankRequest) -> tuple[Floats, Cost]:
        """Mean over the query's tokens of the best cosine over a text's tokens, from -1 to 1.

        Of a model with a head that was trained for it, by that head. It is no logit, so what a sigmoid does for a
        cross-encoder a straight line does here: -1 … 1 becomes 0 … 1.
        """
        inputs = [request.query, *request.texts]
        if Output.COLBERT in outputs_of(self._engine.spec):
            scores, cost = await self._scores(inputs, request.truncation, self._default_prompt, Scoring(colbert=1.0))
            return (scores if request.raw_scores else (scores + np.float32(1)) / np.float32(2)), cost
        computed = await self._compute(inputs, request.truncation, self._default_prompt, Output.STATES)
        states = [row[encoded.content] for encoded, row in zip(computed.encoded, computed.rows, strict=True)]
        scores = np.array([max_sim(states[0], text) for text in states[1:]], dtype=np.float32)
        return (scores if request.raw_scores else (scores + np.float32(1)) / np.float32(2)), computed.cost

    async def _scores(
        self, inputs: Sequence[str], truncation: Truncation, prompt: str | None, scoring: Scoring
    ) -> tuple[Floats, Cost]:
        """What each input but the first scores for the first."""
        wanted = {Output.VECTOR: scoring.dense, Output.LEXICAL: scoring.sparse, Output.COLBERT: scoring.colbert}
        outputs = tuple(output for output, weight in wanted.items() if weight)
        self._require(*outputs)
        (query, *texts), cost = await self._encode(inputs, truncation, prompt, outputs)
        return np.array([m3.score(query, text, scoring) for text in texts], dtype=np.float32), cost

    async def _encode(
        self, inputs: Sequence[Input], truncation: Truncation, prompt: str | None, outputs: tuple[Output, ...]
    ) -> tuple[list[Encoding], Cost]:
        """Each input's ``outputs`` as bge-m3's clients get them, of one pass."""
        computed = await self._compute(inputs, truncation, prompt, *outputs)
        return [self._encoding(encoded, rows) for encoded, rows in computed.each()], computed.cost

    def _encoding(self, encoded: Encoded, rows: dict[Output, Floats]) -> Encoding:
        dense = lexical = colbert = None
        if Output.VECTOR in rows:
            dense = normalize(rows[Output.VECTOR])
        if Output.LEXICAL in rows:
            lexical = lexical_weights(rows[Output.LEXICAL], encoded.ids.tolist(), self._engine.unused_ids)
        if Output.COLBERT in rows:
            colbert = colbert_vectors(rows[Output.COLBERT])
        return Encoding(dense, lexical, colbert)

    def _require(self, *outputs: Output) -> None:
        """Refuse what the model cannot give."""
        for output in outputs:
            if output.source not in outputs_of(self._engine.spec):
                needed = f"its folder needs {SPARSE_FILE} and {COLBERT_FILE}"
                raise Backend(f"Backend error: the model has no {output} output: {needed}")

    async def _compute(
        self, inputs: Sequence[Input | Pair], truncation: Truncation, prompt: str | None, *outputs: Output
    ) -> _Computed:
        """Tokenize and run, under as many permits as there are inputs."""
        started = time.perf_counter()
        truncate = self._settings.auto_truncate if truncation.truncate is None else truncation.truncate
        with self._engine.permits(len(inputs)):
            encoded = await self._engine.encode(
                inputs, truncate=truncate, direction=truncation.direction, prompt=prompt
            )
            tokenized = time.perf_counter()
            inference = await self._engine.infer(encoded, outputs)
        cost = Cost(
            characters=sum(item.characters for item in encoded),
            tokens=sum(len(item.ids) for item in encoded),
            total_s=time.perf_counter() - started,
            tokenization_s=tokenized - started,
            queue_s=inference.queue_s,
            inference_s=inference.inference_s,
        )
        return _Computed(outputs, encoded, inference, cost)

    def _require_embedder(self) -> None:
        if self._engine.late_interaction or self._engine.spec.kind not in {"embedding", "splade"}:
            raise Backend("Backend error: Model is not an embedding model")

    def _check_batch(self, size: int) -> None:
        limit = self._settings.max_client_batch_size
        if size > limit:
            raise Validation(f"batch size {size} > maximum allowed batch size {limit}")

    def _refuse_default_prompt(self) -> None:
        if self._default_prompt is not None:
            raise Validation("`prompt_name` cannot be set with dual inputs")

    def _prompt(self, name: str | None) -> str | None:
        """The text that a request's ``prompt_name`` stands for."""
        if name is None:
            return self._default_prompt
        prompts = self._engine.spec.prompts
        if name not in prompts:
            known = f" Available prompts: {list(prompts)}" if prompts else ""
            raise Validation(
                f"`default-prompt-name` is set to `{name}` but it was not found in the Sentence Transformers prompts."
                f"{known}"
            )
        return prompts[name]

    def _choose_default_prompt(self) -> str | None:
        self._default_prompt = self._settings.default_prompt or None
        return self._prompt(self._settings.default_prompt_name or None)
