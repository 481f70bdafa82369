"""The settings: every option once, in the record of the part that it is for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from embedfleet.config.option import option

Auto = Literal["auto"]
Task = Literal["auto", "embed", "rerank"]
PoolingChoice = Literal["auto", "cls", "mean", "last-token", "max", "mean-sqrt-len-tokens", "weightedmean", "splade"]
BackendName = Literal["onnx", "torch"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a model server does."""

    model: str = option(
        "auto",
        "a folder in Hugging Face layout, a hub id, or builtin (all-MiniLM-L6-v2); auto is"
        " models/bge-m3 or, for a reranker, models/bge-reranker-v2-m3 where there is such a folder, else builtin",
    )
    task: Task = option(
        "auto", "auto takes what the architecture is; rerank with an embedding model is late interaction"
    )
    served_model_name: str = option("", "the model's name as clients see it; empty for the model as given")
    pooling: PoolingChoice = option(
        "auto",
        "auto reads the model's 1_Pooling; splade needs a model with a masked-language head;"
        " max, mean-sqrt-len-tokens and weightedmean are not for TEI's containers",
    )
    backend: BackendName = option(
        "onnx", "what the engine computes with: ONNX Runtime on the CPU, or PyTorch, which has to be installed"
    )
    device: str = option("cpu", "where PyTorch computes: cpu, cuda, or cuda:1 and so on")
    precision: Precision = option(
        "auto",
        "what the engine computes in; auto is float32 on the CPU and float16 on a GPU; float16 and bfloat16 are for"
        " PyTorch, int8 for ONNX Runtime on a processor with VNNI or AMX, which prints how far it is from float32",
    )
    packed_dir: str = option(
        "auto",
        "folder of weights packed for this processor, which replicas map instead of holding a copy each; auto is"
        " `packed` under state_dir if there are several, and for an engine by itself none; empty is none",
        may_be_empty=True,
    )
    tokenization_workers: int | Auto = option(
        "auto",
        "tokenizer threads per replica; auto is 1, and in TEI's containers the cores over the replicas",
        minimum=1,
        maximum=64,
    )
    batch_tokens: int = option(512, "most tokens of one forward pass on a CPU", minimum=1)
    max_batch_tokens: int = option(
        16_384,
        "the longest input; of a model that takes longer ones they are cut, or without auto_truncate it is refused",
        minimum=1,
    )
    cache_mb: int = option(
        0, "megabytes of vectors and scores that the engine remembers of earlier inputs; 0 remembers nothing", minimum=0
    )
    max_concurrent_requests: int = option(512, "inputs under way per replica before the next gets 429", minimum=1)
    max_client_batch_size: int = option(128, "most inputs in one request to a replica", minimum=1)
    auto_truncate: bool = option(True, "cut inputs that are too long, unless the request says otherwise")
    default_prompt_name: str = option("", "prompt of the model's own that is put before every input")
    default_prompt: str = option("", "text that is put before every input")


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What a gateway does."""

    max_request_texts: int = option(4096, "texts in one request, which is cut to what a replica takes", minimum=1)
    max_request_bytes: int = option(
        32_000_000, "largest request body; nginx and requests without texts have payload_limit_bytes", minimum=1
    )
    coalesce: bool = option(True, "ask for small requests together that come at the same moment")
    split: bool = option(True, "cut requests of many texts into parts for several replicas")
    prefer_online: bool = option(True, "small requests and reranking go before bulk")
    reserve: bool = option(True, "keep one replica free of bulk while little of that waits")
    hedge: bool = option(True, "what a silent replica has is sent to another as well")
    sort_by_length: bool = option(False, "cut texts of like length together, for replicas that pad")
    online_queue_s: float = option(30.0, "seconds of work that may wait online; more gets 503", minimum=0)
    bulk_queue_s: float = option(60.0, "seconds of work that may wait as bulk; more gets 429", minimum=0)
    max_queue_bytes: int = option(256_000_000, "bytes of the bodies that may wait", minimum=0)
    online_deadline_s: float = option(120.0, "an online request is given up after, in seconds", minimum=0.1)
    bulk_deadline_s: float = option(600.0, "a bulk request is given up after, in seconds", minimum=0.1)
    no_replica_s: float = option(30.0, "longest wait while no replica serves, in seconds", minimum=0)
    quarantine_s: float = option(
        600.0, "what ended two replicas is refused until so many seconds after it was last asked", minimum=10
    )
    response_timeout_s: float = option(120.0, "longest wait for a replica's reply, in seconds", minimum=0.1)
    probe_interval_s: float = option(5.0, "a replica silent for so many seconds is asked to infer", minimum=0.1)
    probe_timeout_s: float = option(30.0, "longest wait for a probe, behind a batch, in seconds", minimum=0.1)
    calibrate: bool = option(True, "measure a new replica with a few batches, to know what work costs it")
    header_timeout_s: float = option(10.0, "longest wait for a request's head, in seconds", minimum=0.1)
    body_timeout_s: float = option(60.0, "longest wait for a request's body, in seconds", minimum=0.1)
    idle_timeout_s: float = option(120.0, "a kept connection without requests is closed after, in seconds", minimum=0.1)
    max_connections: int = option(10_000, "open client connections", minimum=1)
    access_log: bool = option(False, "a line per request in the gateway's log")


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where a service is and on what it runs."""

    enabled: bool = option(True, "false leaves the service out")
    port: int = option(0, "port that clients call", minimum=1, maximum=65_535)
    host: str = option("0.0.0.0", "address to listen on")
    payload_limit_bytes: int = option(2_000_000, "largest request body", minimum=1)
    replicas: int | Auto | tuple[str, ...] = option(
        "auto",
        "model servers; auto is one per GPU, 2 without a GPU; or the URLs of TEI servers that somebody else runs",
        minimum=1,
        maximum=64,
    )
    worker_threads: int | Auto = option(
        "auto", "cores per replica; auto shares those of the machine, or of a quota", minimum=1, maximum=1024
    )
    driver: Literal["auto", "process", "docker"] = option(
        "auto", "what runs the replicas; auto is docker on a machine with a GPU, else process"
    )
    balancer: Literal["gateway", "nginx"] = option("gateway", "what clients talk to")
    balancer_in: Literal["auto", "process", "container"] = option(
        "auto", "where the balancer runs; auto is a container if the replicas are containers and its image is there"
    )
    upstream: str = option("", "name of the replicas' containers and of nginx's upstream; empty for NAME-tei")
    devices: Auto | tuple[str, ...] = option("auto", "GPUs of the replicas, by index or UUID; auto is every GPU")
    image: str = option("", "image of the replicas' containers; empty takes TEI's for the GPU")
    dtype: Literal["auto", "float16", "float32"] = option("auto", "of a TEI container's weights; auto leaves it to TEI")


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What concerns all services."""

    gpu: str = option("auto", "GPU type, such as T4, L4, A100 or H100; auto looks at the machine, CPU is none")
    tei_version: str = option("1.9.3", "release of Text Embeddings Inference whose images are used")
    tei_image: str = option("ghcr.io/huggingface/text-embeddings-inference", "their name, without the tag")
    nginx_image: str = option("nginx:latest", "image of nginx")
    own_image: str = option("embedfleet:latest", "image made from this project's Dockerfile")
    images_dir: str = option("tei-images", "folder of image tars; what the daemon lacks is loaded from here")
    data_dir: str = option("data", "folder that every replica's container sees as /data")
    network: str = option("tei-net", "network of the containers")
    docker_host: str = option("", "socket of Docker or Podman, as unix:///run/podman/podman.sock; empty for the usual")
    device_request: Literal["auto", "gpu", "cdi"] = option("auto", "how a container is given its GPU")
    pull: bool = option(False, "images that are neither in the daemon nor in a tar may be pulled from the network")
    state_dir: str = option(".embedfleet", "folder for logs and for what `status` and `down` need")
    log_level: Literal["debug", "info", "warning", "error"] = option("info", "least severe line that is logged")
    log_format: Literal["text", "json"] = option("text", "of log lines")
    ready_timeout_s: float = option(300.0, "longest wait of `up` for all replicas, in seconds", minimum=1)
    drain_s: float = option(0.0, "a stopping gateway goes on accepting for so many seconds", minimum=0)
    stop_grace_s: float = option(30.0, "requests under way may take so long at a stop, in seconds", minimum=0)
    restart_backoff_s: float = option(0.5, "wait before a dead child is restarted, doubled each time", minimum=0)
    restart_backoff_max_s: float = option(30.0, "longest such wait, in seconds", minimum=0)
    hung_after_s: float = option(
        20.0,
        "a replica of ours that does not answer and does nothing for so many seconds is replaced; 0: never",
        minimum=0,
    )
    balancer_hung_after_s: float = option(8.0, "the same for a balancer", minimum=0)


@dataclass(frozen=True, slots=True)
class Service:
    """One service's settings."""

    name: str
    options: ServiceOptions
    engine: EngineOptions
    gateway: GatewayOptions

    @property
    def upstream(self) -> str:
        """The name that containers, servers elsewhere and nginx's upstream share."""
        return self.options.upstream or f"{self.name}-tei"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings in force.

    Attributes:
        root: the folder that relative paths count from: that of fleet.toml, or the working directory.
        origins: dotted key → where its value came from, for every option.
        notes: what the person should know of the environment, one line each.
    """

    root: Path
    fleet: FleetOptions
    services: tuple[Service, ...]
    origins: dict[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def state_dir(self) -> Path:
        """The state folder, absolute."""
        return self.root / self.fleet.state_dir


# The services that are there without a file, and what distinguishes them.
DEFAULT_SERVICES: dict[str, dict[str, str | int]] = {
    "embedder": {"port": 8001, "upstream": "bge-embedder-tei"},
    "reranker": {"port": 8002, "upstream": "bge-reranker-tei", "task": "rerank"},
}
SERVICE_RECORDS = (ServiceOptions, EngineOptions, GatewayOptions)
