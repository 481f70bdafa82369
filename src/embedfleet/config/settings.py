"""Definitions of all options, each in the record of the part that it configures."""

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
    """Options of a model server."""

    model: str = option(
        "auto",
        "folder in Hugging Face layout, hub id, or builtin (all-MiniLM-L6-v2); auto is models/bge-m3 (for a reranker"
        " models/bge-reranker-v2-m3) if that folder exists, else builtin",
    )
    task: Task = option(
        "auto",
        "use of the model; auto follows its architecture; rerank with an embedding model scores by late interaction",
    )
    served_model_name: str = option("", "model name that clients see; empty for the value of model")
    pooling: PoolingChoice = option(
        "auto",
        "pooling of token states; auto reads the model's 1_Pooling; splade needs a masked-language-model head; TEI's"
        " containers do not support max, mean-sqrt-len-tokens and weightedmean",
    )
    backend: BackendName = option(
        "onnx", "compute library: ONNX Runtime on the CPU, or PyTorch, which must be installed"
    )
    device: str = option("cpu", "PyTorch device: cpu, cuda, cuda:1, …")
    precision: Precision = option(
        "auto",
        "number format of the computation; auto is float32 on the CPU and float16 on a GPU; float16 and bfloat16 need"
        " PyTorch; int8 needs ONNX Runtime and a processor with VNNI or AMX, and logs how far it is from float32",
    )
    packed_dir: str = option(
        "auto",
        "folder of weights packed for this processor, which all replicas map into memory instead of holding a copy"
        " each; auto is `packed` in state_dir if a service has several replicas, else none; empty is none",
        may_be_empty=True,
    )
    tokenization_workers: int | Auto = option(
        "auto",
        "tokenizer threads per replica; auto is 1, and in TEI's containers the machine's cores divided by the replicas"
        " of the whole fleet",
        minimum=1,
        maximum=64,
    )
    batch_tokens: int = option(512, "maximum tokens of one forward pass on a CPU", minimum=1)
    max_batch_tokens: int = option(
        16_384,
        "maximum tokens of one input, even if the model takes more; longer inputs are truncated, or refused without"
        " auto_truncate",
        minimum=1,
    )
    cache_mb: int = option(
        0, "size of the engine's cache of vectors and scores of earlier inputs, in megabytes; 0 is no cache", minimum=0
    )
    max_concurrent_requests: int = option(512, "inputs in progress per replica; more get 429", minimum=1)
    max_client_batch_size: int = option(128, "maximum inputs of one request to a replica", minimum=1)
    auto_truncate: bool = option(True, "truncate inputs that are too long, unless the request says otherwise")
    default_prompt_name: str = option("", "name of one of the model's own prompts, to put before every input")
    default_prompt: str = option("", "text to put before every input")


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Options of a gateway."""

    max_request_texts: int = option(4096, "maximum texts of one request, which is split to fit the replicas", minimum=1)
    max_request_bytes: int = option(
        32_000_000,
        "largest request body that a gateway accepts, in bytes; a request that it cannot split, and every request to"
        " nginx, must fit into payload_limit_bytes",
        minimum=1,
    )
    coalesce: bool = option(True, "send small requests that arrive at the same moment to a replica as one request")
    gateway_cache_mb: int = option(
        0,
        "size of the gateway's cache of answers to earlier texts, in megabytes; with one, equal texts that arrive"
        " together are also computed once; 0 is no cache",
        minimum=0,
    )
    gateway_cache_keep: bool = option(
        False, "keep the gateway's cache over restarts, in a file of at most gateway_cache_mb in state_dir"
    )
    split: bool = option(True, "split requests of many texts over several replicas")
    prefer_online: bool = option(True, "serve small requests and rerankings before bulk requests")
    reserve: bool = option(
        True,
        "keep one in eight replicas (rounded up; none of one) free of bulk work while there is online work and little"
        " bulk work waits",
    )
    hedge: bool = option(True, "send the work of a silent replica to another one as well")
    sort_by_length: bool = option(False, "put texts of similar length into the same part, for replicas that pad")
    online_queue_s: float = option(30.0, "online work that may wait, in seconds of computing; more gets 503", minimum=0)
    bulk_queue_s: float = option(60.0, "bulk work that may wait, in seconds of computing; more gets 429", minimum=0)
    max_queue_bytes: int = option(256_000_000, "request bodies that may wait, in bytes", minimum=0)
    online_deadline_s: float = option(120.0, "time limit of an online request, in seconds", minimum=0.1)
    bulk_deadline_s: float = option(600.0, "time limit of a bulk request, in seconds", minimum=0.1)
    no_replica_s: float = option(30.0, "longest wait while no replica serves, in seconds", minimum=0)
    quarantine_s: float = option(
        600.0,
        "time for which a text that killed two replicas is refused, in seconds, counted from its last request",
        minimum=10,
    )
    response_timeout_s: float = option(120.0, "longest wait for a reply of a replica, in seconds", minimum=0.1)
    probe_interval_s: float = option(
        5.0, "probe a replica with an inference after this many seconds without a reply", minimum=0.1
    )
    probe_timeout_s: float = option(
        30.0, "longest wait for the reply to a probe, which may queue behind a batch, in seconds", minimum=0.1
    )
    calibrate: bool = option(True, "measure the speed of a new replica with a few batches")
    header_timeout_s: float = option(10.0, "longest wait for the head of a request, in seconds", minimum=0.1)
    body_timeout_s: float = option(60.0, "longest wait for the body of a request, in seconds", minimum=0.1)
    idle_timeout_s: float = option(120.0, "close a connection after this many seconds without a request", minimum=0.1)
    max_connections: int = option(10_000, "maximum open client connections", minimum=1)
    access_log: bool = option(False, "log a line per request")


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of a service: its address and what runs it."""

    enabled: bool = option(True, "false disables the service")
    port: int = option(0, "port to listen on", minimum=1, maximum=65_535)
    host: str = option("0.0.0.0", "address to listen on")
    payload_limit_bytes: int = option(
        2_000_000, "largest body of a request to a replica or to nginx, in bytes", minimum=1
    )
    replicas: int | Auto | tuple[str, ...] = option(
        "auto",
        "number of model servers; auto is one per GPU in `devices` for containers on GPUs, else 2; or the URLs of TEI"
        " servers that run elsewhere",
        minimum=1,
        maximum=64,
    )
    worker_threads: int | Auto = option(
        "auto",
        "cores per replica; auto divides the machine's cores, or its CPU quota, among the replicas of the service",
        minimum=1,
        maximum=1024,
    )
    driver: Literal["auto", "process", "docker"] = option(
        "auto", "how replicas run; auto is docker on a machine with a GPU, else process"
    )
    balancer: Literal["gateway", "nginx"] = option("gateway", "load balancer that clients call")
    balancer_in: Literal["auto", "process", "container"] = option(
        "auto",
        "how the balancer runs; auto is container if the replicas are containers (for a gateway, only if own_image is"
        " in the daemon or in a tar), else process",
    )
    upstream: str = option("", "name of the replicas' containers and of nginx's upstream; empty for SERVICE-tei")
    devices: Auto | tuple[str, ...] = option("auto", "GPUs of the replicas, by index or UUID; auto is every GPU")
    image: str = option("", "image of the replicas' containers; empty is TEI's image for the GPU type")
    dtype: Literal["auto", "float16", "float32"] = option(
        "auto", "number format of a TEI container's weights; auto leaves it to TEI"
    )


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Options of the fleet, which all services share."""

    gpu: str = option("auto", "GPU type, such as T4, L4, A100 or H100; auto detects it, CPU uses none")
    tei_version: str = option("1.9.3", "release of Text Embeddings Inference (TEI) to run")
    tei_image: str = option("ghcr.io/huggingface/text-embeddings-inference", "name of TEI's images, without the tag")
    nginx_image: str = option("nginx:latest", "image of nginx")
    own_image: str = option("embedfleet:latest", "image made from this project's Dockerfile")
    images_dir: str = option("tei-images", "folder of image tars, from which images that the daemon lacks are loaded")
    data_dir: str = option("data", "folder that is mounted as /data into every replica's container")
    network: str = option("tei-net", "Docker network of the containers")
    docker_host: str = option(
        "", "socket of Docker or Podman, such as unix:///run/podman/podman.sock; empty for Docker's default"
    )
    device_request: Literal["auto", "gpu", "cdi"] = option(
        "auto", "how a container requests its GPU: by Docker's GPU option or by a CDI device"
    )
    pull: bool = option(
        False, "allow downloads of images that are neither in the daemon nor in a tar; without it nothing is downloaded"
    )
    state_dir: str = option(
        ".embedfleet", "folder of the fleet's logs and state, by which `status`, `down` and other verbs find the fleet"
    )
    compile: Literal["auto", "off"] = option(
        "auto",
        "auto lets gateways that are processes run compiled: where run.sh found a C compiler, `up` compiles them in the"
        " background and then replaces them; off runs them interpreted",
    )
    log_level: Literal["debug", "info", "warning", "error"] = option("info", "lowest severity to log")
    log_format: Literal["text", "json"] = option("text", "format of log lines")
    ready_timeout_s: float = option(300.0, "longest wait of `up` until every replica serves, in seconds", minimum=1)
    drain_s: float = option(0.0, "time for which a stopping gateway still accepts requests, in seconds", minimum=0)
    stop_grace_s: float = option(
        30.0, "time for requests in progress to end when something stops, in seconds", minimum=0
    )
    restart_backoff_s: float = option(
        0.5,
        "wait before a process or container that ended is restarted, in seconds; doubles after each failure",
        minimum=0,
    )
    restart_backoff_max_s: float = option(30.0, "longest wait before a restart, in seconds", minimum=0)
    hung_after_s: float = option(
        20.0,
        "replace a replica that has neither answered nor worked for this many seconds; 0 is never",
        minimum=0,
    )
    balancer_hung_after_s: float = option(
        8.0, "replace a balancer that has neither answered nor worked for this many seconds; 0 is never", minimum=0
    )


@dataclass(frozen=True, slots=True)
class Service:
    """Settings of one service."""

    name: str
    options: ServiceOptions
    engine: EngineOptions
    gateway: GatewayOptions

    @property
    def upstream(self) -> str:
        """Name of the replicas' containers and of nginx's upstream."""
        return self.options.upstream or f"{self.name}-tei"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings in force.

    Attributes:
        root: Base folder of relative paths: the folder of fleet.toml, or the working directory.
        origins: Source of each option's value, by dotted key.
        notes: Remarks for the user about the environment, one line each.
    """

    root: Path
    fleet: FleetOptions
    services: tuple[Service, ...]
    origins: dict[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def state_dir(self) -> Path:
        """Absolute path of the state folder."""
        return self.root / self.fleet.state_dir


# Services without a fleet.toml, with the options in which they differ from the defaults.
DEFAULT_SERVICES: dict[str, dict[str, str | int]] = {
    "embedder": {"port": 8001, "upstream": "bge-embedder-tei"},
    "reranker": {"port": 8002, "upstream": "bge-reranker-tei", "task": "rerank"},
}
SERVICE_RECORDS = (ServiceOptions, EngineOptions, GatewayOptions)
