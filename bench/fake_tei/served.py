"""A model whose answers our engine computes for a fake replica, which keeps its queue, permits and deaths.

An answer is computed when its call arrives, and given when its batch has run. So answers are TEI's, and times are not.
The tokenizers library, as in TEI, decides which sequences have no tokens; our engine does not.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tokenizers import Tokenizer

from bench.fake_tei.calls import OWN_PATHS, Kind, Work, admit
from bench.fake_tei.settings import ReplicaSettings
from bench.fake_tei.vertex import instances, together
from embedfleet.config.settings import PoolingChoice
from embedfleet.dialects.json_body import Fields, read_object
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.structs import Struct
from embedfleet.dialects.serving import openai, tei
from embedfleet.engine.api.info import model_type
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import Empty
from embedfleet.metrics import TEI, Registry

_SOUND = "warm up"  # replaces an input without tokens; its answer is never sent
_BATCH_REQUESTS = 4  # TEI's type on a CPU
_ANY = 1_000_000


@dataclass(frozen=True, slots=True)
class _Sound:
    """Inputs that can be computed, in the places of the given ones.

    Attributes:
        inputs: Inputs without ids outside of the vocabulary.
        deadly: Places of the inputs without tokens.
        lost: Number of ids left out.
    """

    inputs: list[tei.Input]
    deadly: frozenset[int]
    lost: int


class Served:
    """A loaded model.

    Args:
        folder: Model folder, as our engine takes it.
        settings: Settings of the replica.
        pooling: Pooling, instead of the folder's.

    Raises:
        ModelError: The model cannot be served.
    """

    def __init__(self, folder: Path, settings: ReplicaSettings, pooling: PoolingChoice = "auto") -> None:
        told = EngineSettings(
            model=str(folder),
            pooling=pooling,
            max_concurrent_requests=_ANY,
            max_client_batch_size=settings.client_batch,
            auto_truncate=settings.auto_truncate,
            default_prompt_name=settings.prompt_name,
        )
        self._settings = settings
        self._engine = load(told, Registry(TEI))
        self._operations = Operations(self._engine, told)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.kind: Kind = self._engine.spec.kind

    def close(self) -> None:
        """End the engine's threads."""
        self._engine.close()

    def info(self) -> dict[str, Any]:
        """Body of ``/info``."""
        spec = self._engine.spec
        return self._settings.info() | {
            "model_dtype": self._engine.precision,
            "model_type": model_type(spec, late_interaction=False),
            "max_input_length": spec.max_input_length,
            "max_batch_requests": _BATCH_REQUESTS,
        }

    async def read(self, path: str, content_type: bytes | None, body: bytes) -> Work:
        """The work of a call, with its answer computed.

        Args:
            path: One of `routes.INFERRED`.
            content_type: Content type of the body.
            body: Body, as JSON.

        Raises:
            RequestError: The body does not fit the route.
            ServingError: The input is empty, out of bounds or not for this model.
        """
        if path == "/vertex":
            asked = instances(content_type, body, self.kind)
            return together([await _CALLS[task][1](self, fields) for task, fields in asked])
        struct, call = _CALLS.get(path) or _CALLS[OWN_PATHS[self.kind]]
        return await call(self, read_object(content_type, body, struct))

    async def ask(self, path: str, content_type: bytes | None, body: bytes) -> Any:  # noqa: ANN401 - a JSON value
        """The tokenizer's answer to one of `routes.ASKED`; arguments and errors are those of `read`."""
        if path == "/tokenize":
            request = tei.parse_tokenize(read_object(content_type, body, tei_structs.TOKENIZE))
            return await self._operations.tokenize(request)
        asked = tei.parse_decode(read_object(content_type, body, tei_structs.DECODE))
        admit(len(asked.ids), self._settings.client_batch)
        if not all(asked.ids):
            raise Empty(tei.NO_IDS)
        return [self._tokenizer.decode(list(ids), skip_special_tokens=asked.skip_special_tokens) for ids in asked.ids]

    async def embed(self, fields: Fields) -> Work:
        """Vectors, as `Operations.embed` gives them."""
        request = tei.parse_embed(fields)
        sound = self._sound(request.inputs)
        vectors, cost = await self._operations.embed(replace(request, inputs=sound.inputs))
        return self._answered(sound, tei.render(vectors), cost)

    async def embed_all(self, fields: Fields) -> Work:
        """Vectors of all tokens."""
        request = tei.parse_embed_all(fields)
        sound = self._sound(request.inputs)
        states, cost = await self._operations.embed_all(replace(request, inputs=sound.inputs))
        return self._answered(sound, tei.render(states), cost)

    async def embed_sparse(self, fields: Fields) -> Work:
        """Weights of words."""
        request = tei.parse_embed_all(fields)
        sound = self._sound(request.inputs)
        weights, cost = await self._operations.embed_sparse(replace(request, inputs=sound.inputs))
        return self._answered(sound, tei.render([tei.sparse(row) for row in weights]), cost)

    async def embeddings(self, fields: Fields) -> Work:
        """Vectors in OpenAI's shape."""
        request = openai.parse_embeddings(fields)
        sound = self._sound(request.inputs)
        vectors, cost = await self._operations.embeddings(replace(request, inputs=sound.inputs))
        name = self._settings.served_name or self._settings.model
        body = openai.render_embeddings(vectors, base64=request.base64, model=name, tokens=cost.tokens)
        return self._answered(sound, body, cost)

    async def similarity(self, fields: Fields) -> Work:
        """Cosine similarities."""
        request = tei.parse_similarity(fields)
        sound = self._sound([request.source, *request.sentences])
        source, *sentences = map(str, sound.inputs)
        scores, cost = await self._operations.similarity(replace(request, source=source, sentences=sentences))
        return self._answered(sound, tei.render(np.ascontiguousarray(scores)), cost)

    async def rerank(self, fields: Fields) -> Work:
        """Scores of texts, best first."""
        request = tei.parse_rerank(fields)
        deadly = frozenset(place for place, text in enumerate(request.texts) if self._ends(request.query, text))
        texts = [_SOUND if place in deadly else text for place, text in enumerate(request.texts)]
        scores, cost = await self._operations.rerank(replace(request, texts=texts))
        body = tei.render_ranks(scores, request.texts if request.return_text else None)
        return self._answered(_Sound([*request.texts], deadly, 0), body, cost)

    async def predict(self, fields: Fields) -> Work:
        """Scores of classes, best first."""
        request = tei.parse_predict(fields)
        pairs = [item if isinstance(item, tuple) else (item, None) for item in request.inputs]
        deadly = frozenset(place for place, pair in enumerate(pairs) if self._ends(*pair))
        inputs = [_SOUND if place in deadly else item for place, item in enumerate(request.inputs)]
        rows, cost = await self._operations.predict(replace(request, inputs=inputs))
        texts: list[tei.Input] = [" ".join(item) if isinstance(item, tuple) else item for item in request.inputs]
        return self._answered(_Sound(texts, deadly, 0), tei.render(rows if request.batch else rows[0]), cost)

    def _sound(self, inputs: Sequence[tei.Input]) -> _Sound:
        """Inputs without the ids that TEI decodes to nothing; an empty input stays, because it is refused."""
        found: list[tei.Input] = []
        deadly: set[int] = set()
        lost = 0
        for place, item in enumerate(inputs):
            known: tei.Input
            if isinstance(item, str):
                known, ends = item, self._ends(item)
            else:
                known = ids = [one for one in item if self._tokenizer.id_to_token(one) is not None]
                lost += len(item) - len(ids)
                ends = bool(item) and self._has_no_token(self._tokenizer.decode(ids, skip_special_tokens=False))
            if ends:
                deadly.add(place)
            found.append(_SOUND if ends else known)
        return _Sound(found, frozenset(deadly), lost)

    def _ends(self, text: str, pair: str | None = None) -> bool:
        """Whether a sequence, a text or a pair, ends the replica that computes it."""
        poison = self._settings.fake.poison
        if poison and poison in text + (pair or ""):
            return True
        return bool(text or pair) and not self._tokenizer.encode(text, pair).ids

    def _has_no_token(self, decoded: str) -> bool:
        """Whether a text decoded from ids has no tokens; no special tokens are added to it."""
        return not self._tokenizer.encode(decoded, add_special_tokens=False).ids

    @staticmethod
    def _answered(sound: _Sound, body: bytes, cost: tei.RequestCost) -> Work:
        texts = [item if isinstance(item, str) else str(item) for item in sound.inputs]
        each, rest = divmod(cost.tokens, len(texts))
        return Work(
            texts=texts,
            characters=cost.characters + sound.lost,
            answer=lambda _: orjson.loads(body),
            deadly=sound.deadly,
            tokens=[each + (place < rest) for place in range(len(texts))],
        )


_CALLS: dict[str, tuple[Struct, Callable[[Served, Fields], Awaitable[Work]]]] = {
    "/embed": (tei_structs.EMBED, Served.embed),
    "/embed_all": (tei_structs.EMBED_ALL, Served.embed_all),
    "/embed_sparse": (tei_structs.EMBED_SPARSE, Served.embed_sparse),
    "/rerank": (tei_structs.RERANK, Served.rerank),
    "/predict": (tei_structs.PREDICT, Served.predict),
    "/similarity": (tei_structs.SIMILARITY, Served.similarity),
    "/v1/embeddings": (tei_structs.EMBEDDINGS, Served.embeddings),
    "/embeddings": (tei_structs.EMBEDDINGS, Served.embeddings),
}
