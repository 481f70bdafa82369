"""How a container of Text Embeddings Inference is started: flags and environment by release, with its known traps."""

import re
from collections.abc import Mapping, Sequence

from embedfleet.config.settings import EngineOptions, Service
from embedfleet.control.host.gpu import GpuFamily
from embedfleet.control.tei.verdict import Target
from embedfleet.errors import UsageError

PORT = 80
"""Where TEI listens in its images."""

_TAKES_A_WORD = (1, 9, 2)  # --auto-truncate false; before, only the bare flag (TEI pull request 836)
_TRUNCATES_UNASKED = (1, 9, 0)  # auto-truncate is the default from here on (829)
_SERVED_NAME = (1, 9, 0)
_BREAKS_ON_NEW_DRIVERS = (1, 9, 3)  # its entrypoint misreads what nvidia-smi of drivers 6xx prints (issue 870)
_NEW_DRIVER = 600
_NEWEST = 999
_FLASH = 80  # compute capability, tenfold, from which on there is flash attention of version 2


def parse_version(text: str) -> tuple[int, int, int]:
    """``1.9.3`` as numbers; ``latest``, and a missing last one, stand for the newest.

    Raises:
        UsageError: it is no release.
    """
    if text == "latest":
        return _NEWEST, 0, 0
    found = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        raise UsageError(f"tei_version {text!r} is no release of TEI", "write it as 1.9.3, or latest")
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or _NEWEST)


def arguments(
    options: EngineOptions,
    *,
    model: str,
    version: str,
    payload_limit_bytes: int,
    workers: int,
    max_input_length: int,
    dtype: str,
    more: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The flags of ``text-embeddings-router``, each in one word: a value may begin with a dash.

    Args:
        options: of the service.
        model: its path inside the container.
        version: of TEI.
        payload_limit_bytes: the largest body.
        workers: tokenizer workers; TEI's own choice, every core for every replica, is too many.
        max_input_length: of the model; an input longer than ``max_batch_tokens`` is a start error, or blocks for ever.
        dtype: of the weights; ``auto`` leaves it to TEI.
        more: flags that the model's folder needs.

    Raises:
        UsageError: the release cannot be told what the options ask for.
    """
    flags = {
        "--model-id": model,
        "--port": str(PORT),
        "--max-concurrent-requests": str(options.max_concurrent_requests),
        "--max-client-batch-size": str(options.max_client_batch_size),
        "--max-batch-tokens": str(max(options.max_batch_tokens, max_input_length)),
        "--payload-limit": str(payload_limit_bytes),
        "--tokenization-workers": str(workers),
    }
    chosen = {
        "--dtype": "" if dtype == "auto" else dtype,
        "--pooling": "" if options.pooling == "auto" else options.pooling,
        "--default-prompt-name": options.default_prompt_name,
        "--default-prompt": options.default_prompt,
        "--served-model-name": options.served_model_name if parse_version(version) >= _SERVED_NAME else "",
    }
    flags |= {name: value for name, value in chosen.items() if value} | dict(more or {})
    return (*(f"{name}={value}" for name, value in flags.items()), *_truncation(options.auto_truncate, version))


def target_of(service: Service, version: str, families: Sequence[GpuFamily]) -> Target:
    """What reads the model's folder of a service.

    Args:
        service: whose replicas are containers of TEI.
        version: of TEI.
        families: of the GPUs that it is placed on; that of the CPU for none.
    """
    engine = service.engine
    return Target(
        version=parse_version(version),
        on_gpu=all(family.capability for family in families),
        flash=all(family.flash_attention and family.capability >= _FLASH for family in families),
        dtype=service.options.dtype,
        pooling=engine.pooling,
        task=engine.task,
        has_prompt=bool(engine.default_prompt or engine.default_prompt_name),
        prompt_name=engine.default_prompt_name,
    )


def environment(family: GpuFamily) -> dict[str, str]:
    """What TEI is told by variables."""
    return {} if family.flash_attention else {"USE_FLASH_ATTENTION": "False"}


def entrypoint(version: str, driver: str) -> tuple[str, ...]:
    """The program to start in place of the image's own; empty for the image's own.

    Args:
        version: of TEI.
        driver: version of the NVIDIA driver; empty if there is none.
    """
    major = driver.partition(".")[0]
    is_new = major.isdigit() and int(major) >= _NEW_DRIVER
    return ("text-embeddings-router",) if is_new and parse_version(version) <= _BREAKS_ON_NEW_DRIVERS else ()


def _truncation(wanted: bool, version: str) -> tuple[str, ...]:
    """Said in every case: the default changed between releases."""
    release = parse_version(version)
    if release >= _TAKES_A_WORD:
        return (f"--auto-truncate={str(wanted).lower()}",)
    if wanted:
        return ("--auto-truncate",)
    if release >= _TRUNCATES_UNASKED:
        raise UsageError(f"TEI {version} cannot be told not to truncate", "take tei_version 1.9.2 or newer")
    return ()
