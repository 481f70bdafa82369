"""What one engine process is told."""

from dataclasses import dataclass, field
from typing import Literal

from embedfleet.http.message import Limits

Task = Literal["auto", "embed", "rerank"]
BackendName = Literal["onnx", "torch"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]
PoolingChoice = Literal["auto", "cls", "mean", "last-token", "max", "mean-sqrt-len-tokens", "weightedmean", "splade"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one engine.

    Attributes:
        model: ``builtin``, a folder, or a hub id.
        task: ``auto`` takes what the architecture is; ``rerank`` on an embedding model is late interaction.
        backend: what computes, see `choice.make_backend`, as are ``device`` and ``precision``.
        packed_dir: folder of weights that replicas on this machine share, see `packed`; empty for none.
        served_model_name: as ``/info`` and ``/v1/embeddings`` tell it; empty means the model as given.
        workers: threads that run the model, one core each.
        batch_tokens: the most tokens of one forward pass.
        max_batch_tokens: as ``/info`` tells it; an input may not be longer.
        cache_mb: megabytes (of 1,000,000 bytes) of outputs that are remembered; 0 remembers nothing.
        max_concurrent_requests: inputs under way before the next is refused 429.
        max_client_batch_size: inputs in one request.
        api_key: that requests must have but for health, metrics and docs; empty for none.
        preferred_port: tried first when ``port`` is 0, so that a restarted replica keeps its address.
    """

    model: str = "builtin"
    task: Task = "auto"
    pooling: PoolingChoice = "auto"
    backend: BackendName = "onnx"
    device: str = "cpu"
    precision: Precision = "auto"
    packed_dir: str = ""
    served_model_name: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    preferred_port: int = 0
    workers: int = 1
    tokenization_workers: int = 1
    batch_tokens: int = 512
    max_batch_tokens: int = 16_384
    cache_mb: int = 0
    max_concurrent_requests: int = 512
    max_client_batch_size: int = 128
    auto_truncate: bool = True
    default_prompt_name: str = ""
    default_prompt: str = ""
    api_key: str = ""
    stop_grace_s: float = 30.0
    limits: Limits = field(default_factory=Limits)
