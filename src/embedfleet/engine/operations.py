"""What each route computes, from a parsed request to the values of its reply.

Checks come in TEI's order (TEI 1.9, router/src/http/server.rs): emptiness, kind of model, batch size, permits.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
from embedfleet.engine.engine import Engine
from embedfleet.engine.job import Inference, Wanted
from embedfleet.engine.pooling import max_sim, normalize
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.tokenization import Encoded
from embedfleet.errors import Backend, Validation


@dataclass(frozen=True, slots=True)
class _Computed:
    encoded: Sequence[Encoded]
    inference: Inference
    cost: Cost


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

    async def embed_all(self, request: EmbedRequest) -> tuple[list[Floats], Cost]:
        """Each input's token states, [tokens, hidden], special tokens included, not normalised."""
        self._require_embedder()
        self._check_batch(len(request.inputs))
        computed = await self._compute(request.inputs, request.truncation, self._prompt(request.prompt_name))
        return list(computed.inference.outputs), computed.cost

    async def similarity(self, request: SimilarityRequest) -> tuple[Floats, Cost]:
        """Cosine similarity of the source with each sentence, [sentences]."""
        self._require_embedder()
        inputs = [request.source, *request.sentences]
        self._check_batch(len(inputs))
        vectors, cost = await self._vectors(
            inputs, request.truncation, self._prompt(request.prompt_name), normalized=True, dimensions=None
        )
        return vectors[1:] @ vectors[0], cost

    async def rerank(self, request: RerankRequest) -> tuple[Floats, Cost]:
        """One score per text, in the texts' order."""
        if self._engine.late_interaction:
            self._check_batch(len(request.texts))
            return await self._late_interaction(request)
        if self._engine.spec.kind != "reranker":
            raise Backend("Backend error: model is not a re-ranker model")
        self._check_batch(len(request.texts))
        self._refuse_default_prompt()
        pairs: list[Pair] = [(request.query, text) for text in request.texts]
        computed = await self._compute(pairs, request.truncation, None)
        logits = np.array([output[0] for output in computed.inference.outputs], dtype=np.float32)
        return (logits if request.raw_scores else _sigmoid(logits)), computed.cost

    async def predict(self, request: PredictRequest) -> tuple[list[list[dict[str, Any]]], Cost]:
        """Each input's classes, best first."""
        spec = self._engine.spec
        if spec.kind == "embedding":
            raise Backend("Backend error: Model is not a classifier model")
        self._check_batch(len(request.inputs))
        if any(isinstance(item, tuple) for item in request.inputs):
            self._refuse_default_prompt()
        computed = await self._compute(request.inputs, request.truncation, self._default_prompt)
        labels = [spec.id2label[index] for index in sorted(spec.id2label)]
        scores = [output if request.raw_scores else _probabilities(output) for output in computed.inference.outputs]
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
        if dimensions == 0:
            raise Validation("`dimensions` should be positive")
        if dimensions is not None and dimensions > spec.hidden_size:
            raise Validation("`dimensions` should be smaller than the maximum embedding dimension.")
        computed = await self._compute(inputs, truncation, prompt, Wanted.VECTOR)
        vectors = np.array(computed.inference.outputs)[:, :dimensions]
        return (normalize(vectors) if normalized else vectors), computed.cost

    async def _late_interaction(self, request: RerankRequest) -> tuple[Floats, Cost]:
        """Mean over the query's tokens of the best cosine over a text's tokens, from -1 to 1.

        It is no logit, so what a sigmoid does for a cross-encoder a straight line does here: -1 … 1 becomes 0 … 1.
        """
        computed = await self._compute([request.query, *request.texts], request.truncation, self._default_prompt)
        states = [
            output[encoded.content]
            for encoded, output in zip(computed.encoded, computed.inference.outputs, strict=True)
        ]
        scores = np.array([max_sim(states[0], text) for text in states[1:]], dtype=np.float32)
        return (scores if request.raw_scores else (scores + np.float32(1)) / np.float32(2)), computed.cost

    async def _compute(
        self,
        inputs: Sequence[Input | Pair],
        truncation: Truncation,
        prompt: str | None,
        wanted: Wanted | None = None,
    ) -> _Computed:
        """Tokenize and run, under as many permits as there are inputs."""
        started = time.perf_counter()
        truncate = self._settings.auto_truncate if truncation.truncate is None else truncation.truncate
        with self._engine.permits(len(inputs)):
            encoded = await self._engine.encode(
                inputs, truncate=truncate, direction=truncation.direction, prompt=prompt
            )
            tokenized = time.perf_counter()
            inference = await self._engine.infer(encoded, wanted)
        cost = Cost(
            characters=sum(item.characters for item in encoded),
            tokens=sum(len(item.ids) for item in encoded),
            total_s=time.perf_counter() - started,
            tokenization_s=tokenized - started,
            queue_s=inference.queue_s,
            inference_s=inference.inference_s,
        )
        return _Computed(encoded, inference, cost)

    def _require_embedder(self) -> None:
        if self._engine.late_interaction or self._engine.spec.kind != "embedding":
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


def _sigmoid(logits: Floats) -> Floats:
    positive: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.abs(logits)))
    return np.where(logits >= 0, positive, np.float32(1) - positive).astype(np.float32)


def _probabilities(logits: Floats) -> Floats:
    """Sigmoid for one class, softmax for more."""
    if len(logits) == 1:
        return _sigmoid(logits)
    exponentials: Floats = np.exp(logits - logits.max())
    probabilities: Floats = exponentials / exponentials.sum()
    return probabilities
