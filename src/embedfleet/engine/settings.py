"""The settings of one engine process."""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.config.model_name import BUILTIN
from embedfleet.config.settings import EngineOptions
from embedfleet.http.message import Limits


@dataclass(frozen=True, slots=True)
class EngineSettings(EngineOptions):
    """Options of an engine, and settings of its process.

    The options are inherited: a new one takes a line in `EngineOptions` and the code that reads it. ``model``,
    ``packed_dir`` and ``tokenization_workers`` are declared again without ``auto``. What ``auto`` means depends on the
    fleet, which passes its engines the actual values.

    Attributes:
        model: Folder of the model, hub id, or ``builtin``.
        packed_dir: Folder of packed weights that the replicas on this machine share; empty for none.
        tokenization_workers: Number of tokenizer threads.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        preferred_port: Port that is tried first when ``port`` is 0, so that a restarted replica keeps its address.
        worker_threads: Number of threads that run the model, one core each.
        payload_limit_bytes: Largest request body, in bytes.
        stop_grace_s: Longest wait for requests under way at a stop, in seconds.
        api_key: Key that requests must carry, except for health, metrics and docs; empty for none.
    """

    model: str = BUILTIN
    packed_dir: str = ""
    tokenization_workers: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    preferred_port: int = 0
    worker_threads: int = 1
    payload_limit_bytes: int = 2_000_000
    stop_grace_s: float = 30.0
    api_key: str = ""

    @property
    def limits(self) -> Limits:
        """Limits of the HTTP server."""
        return Limits(body_bytes=self.payload_limit_bytes)

    @property
    def packed_folder(self) -> Path | None:
        """Folder of packed weights; None if the process packs weights into its own memory."""
        return Path(self.packed_dir) if self.packed_dir else None
