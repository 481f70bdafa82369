"""Loading of a model: its folder is read and checked, its weights go to a backend, and it runs once."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from embedfleet.engine.backends import make_backend
from embedfleet.engine.batching.worker import join
from embedfleet.engine.compute.backend import Backend
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.memory_estimate import pass_bytes
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.model.source import resolve_model
from embedfleet.engine.model.sparse_unused_tokens import sparse_unused_tokens
from embedfleet.engine.model.spec import ModelSpec, read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.encoded import Encoded
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from embedfleet.errors import ModelError, OutOfMemory, ServingError, WeightsChanged
from embedfleet.system.cgroup import memory_limit
from embedfleet.system.heap import give_back

log = logging.getLogger(__name__)

_GPU_BATCH_TOKENS = 16_384  # as in TEI


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, ready to compute.

    Attributes:
        spec: Description of the model.
        tokenization: Tokenizer of the model.
        backend: Backend that holds the weights.
        pooler: Pooler of token states; None for a model that is not an embedder.
        unweighted_ids: Token ids that bge-m3 gives no lexical weight.
    """

    spec: ModelSpec
    tokenization: Tokenization
    backend: Backend
    pooler: EmbeddingPooler | None
    unweighted_ids: frozenset[int] = frozenset()

    def warm_up_input(self) -> Encoded:
        """A short input that shows whether the model computes."""
        limits = TextLimits(self.spec.max_input_length, truncate=True, direction="right")
        return self.tokenization.encode(["warm up"], limits, None)[0]


def load_model(settings: EngineSettings) -> LoadedModel:
    """Load the model that the settings name, and run it once.

    Raises:
        ModelError: The model cannot be served; the message names the file.
        ModelChanged: The model's files changed while they were read.
        WeightsChanged: Mapped weights changed while the model ran.
    """
    folder = resolve_model(settings.model)
    spec = _read_spec(folder, settings)
    state = FolderState(spec)
    try:
        model = _load(spec, settings)
    except (MemoryError, OutOfMemory) as error:
        raise not_enough_memory(folder) from error
    except ModelError:
        state.check()  # a changed file explains any other error
        raise
    except WeightsChanged:
        raise
    except ServingError as error:
        raise ModelError(
            f"{folder} is loaded, but its first forward pass failed: {error}", "copy or download the whole folder again"
        ) from error
    state.check()
    give_back()
    if settings.device == "cpu":
        log_memory_need(spec, max(settings.batch_tokens, spec.max_input_length), settings.worker_threads)
    elif settings.batch_tokens < _GPU_BATCH_TOKENS:
        log.warning(
            "passes have up to %d tokens, which suits a CPU: set batch_tokens to %d for a GPU",
            *(settings.batch_tokens, _GPU_BATCH_TOKENS),
        )
    return model


def log_memory_need(spec: ModelSpec, tokens: int, threads: int) -> None:
    """Log how much memory the largest passes need; the line is a warning if this exceeds the limit of this process.

    Args:
        spec: Model; nothing is logged for an exported one, whose operations are unknown.
        tokens: Tokens of the largest pass.
        threads: Passes that run at the same time.
    """
    if spec.is_onnx_file:
        return
    needed, given = pass_bytes(spec, tokens), memory_limit()
    level = logging.WARNING if threads * needed > given else logging.INFO
    log.log(
        level,
        "a pass of %d tokens takes up to %.0f MB beside the weights, on each of %d threads; there are %.0f MB in all",
        *(tokens, needed / 1e6, threads, given / 1e6),
        extra={"tokens": tokens, "pass_bytes": needed, "threads": threads, "memory_bytes": given},
    )


def not_enough_memory(folder: Path) -> ModelError:
    """The error for a model that does not fit into memory."""
    size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    return ModelError(
        f"{folder}: not enough memory to load a model of {size / 1e6:.0f} MB on disk",
        "free memory, raise the container's or service's memory limit, run fewer replicas, or serve a smaller model",
    )


def _read_spec(folder: Path, settings: EngineSettings) -> ModelSpec:
    """The description of a model, with its input length limited by the settings."""
    pooling = None if settings.pooling == "auto" else Pooling(settings.pooling.replace("-", "_"))
    spec = read_model(folder, pooling=pooling, ranks=settings.task == "rerank")
    spec = _limit_length(spec, settings.max_batch_tokens, auto_truncate=settings.auto_truncate)
    if spec.is_limited_by_tokenizer:
        log.info(
            "inputs are truncated to %d tokens, as tokenizer_config.json says; TEI reads %d, as config.json alone says",
            *(spec.max_input_length, spec.family.max_input_length),
        )
    return spec


def _limit_length(spec: ModelSpec, max_batch_tokens: int, *, auto_truncate: bool) -> ModelSpec:
    """Limit a model's input length to ``max_batch_tokens``.

    As in TEI, the limit applies only if longer inputs are truncated.

    Raises:
        ModelError: The model takes longer inputs, and the settings do not truncate them.
    """
    length = spec.max_input_length
    if length <= max_batch_tokens:
        return spec
    hint = f"set max_batch_tokens to {length} or more"
    if not auto_truncate:
        raise ModelError(
            f"max_batch_tokens is {max_batch_tokens}, below the model's input length of {length} ({spec.folder})", hint
        )
    log.warning(
        "inputs are truncated to %d tokens, max_batch_tokens; the model reads %d: %s", max_batch_tokens, length, hint
    )
    return replace(spec, max_input_length=max_batch_tokens)


def _load(spec: ModelSpec, settings: EngineSettings) -> LoadedModel:
    tokenization = Tokenization.of(spec)
    _check_tokenizer(spec, tokenization)
    model = LoadedModel(
        spec,
        tokenization,
        make_backend(spec, settings),
        EmbeddingPooler(spec) if spec.kind == "embedding" else None,
        tokenization.ids_of(sparse_unused_tokens(spec.body)) if spec.has_m3_heads else frozenset(),
    )
    model.backend.forward(*join([model.warm_up_input()]), outputs_of(spec))
    return model


def _check_tokenizer(spec: ModelSpec, tokenization: Tokenization) -> None:
    """Check that the model has an embedding for each token, and that special tokens leave room for a text.

    Raises:
        ModelError: The tokenizer has more tokens than the model, or the special tokens alone fill an input.
    """
    hint, vocabulary = "the tokenizer belongs to another model", spec.family.vocabulary
    if tokenization.vocabulary > vocabulary:
        raise ModelError(
            f"{spec.tokenizer_file} has {tokenization.vocabulary} tokens, but config.json says {vocabulary}", hint
        )
    if tokenization.special_tokens >= spec.max_input_length:
        raise ModelError(
            f"{spec.tokenizer_file} adds {tokenization.special_tokens} special tokens,"
            f" but an input has room for only {spec.max_input_length}",
            hint,
        )
