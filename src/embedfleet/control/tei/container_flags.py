"""The start of a TEI container: flags, environment and entrypoint, by release."""

import re
from collections.abc import Mapping, Sequence

from embedfleet.config.settings import EngineOptions, Service
from embedfleet.control.host.gpu import GpuFamily
from embedfleet.control.tei.verdict import Target
from embedfleet.errors import UsageError

PORT = 80
"""Port on which TEI listens in its images."""

_TAKES_A_WORD = (1, 9, 2)  # first release whose --auto-truncate takes a value (TEI pull request 836)
_TRUNCATES_UNASKED = (1, 9, 0)  # first release that truncates by default (pull request 829)
_SERVED_NAME = (1, 9, 0)  # first release with --served-model-name
_BREAKS_ON_NEW_DRIVERS = (1, 9, 3)  # last release whose entrypoint misreads nvidia-smi of drivers 6xx (issue 870)
_NEW_DRIVER = 600
_NEWEST = 999
_FLASH = 80  # ten times the lowest compute capability with flash attention 2


def parse_version(text: str) -> tuple[int, int, int]:
    """Parse a release such as ``1.9.3``; ``latest`` and a missing last number mean the newest.

    Raises:
        UsageError: The text is not a release.
    """
    if text == "latest":
        return _NEWEST, 0, 0
    found = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        raise UsageError(f"tei_version {text!r} is not a release of TEI", "write a release such as 1.9.3, or latest")
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
    """Make the flags of ``text-embeddings-router``, each as one word because a value may begin with a dash.

    Args:
        options: Engine options of the service.
        model: Path of the model in the container.
        version: Release of TEI.
        payload_limit_bytes: Largest request body, in bytes.
        workers: Number of tokenizer workers; TEI's default, one per core in every replica, is too many.
        max_input_length: Longest input of the model, in tokens. With a smaller ``max_batch_tokens``, TEI fails at its
            start or blocks forever.
        dtype: Number format of the weights; ``auto`` leaves it to TEI.
        more: Further flags that the model's folder needs.

    Raises:
        UsageError: The release has no flag for one of the options.
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
    """Describe the TEI that reads the model folder of a service.

    Args:
        service: Service whose replicas are TEI containers.
        version: Release of TEI.
        families: Image families of its GPUs; that of the CPU if it has none.
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
    """Make the environment variables of a TEI container."""
    return {} if family.flash_attention else {"USE_FLASH_ATTENTION": "False"}


def entrypoint(version: str, driver: str) -> tuple[str, ...]:
    """Return the entrypoint that replaces the image's own; empty to keep the image's own.

    Args:
        version: Release of TEI.
        driver: Version of the NVIDIA driver; empty if there is none.
    """
    major = driver.partition(".")[0]
    is_new = major.isdigit() and int(major) >= _NEW_DRIVER
    return ("text-embeddings-router",) if is_new and parse_version(version) <= _BREAKS_ON_NEW_DRIVERS else ()


def _truncation(wanted: bool, version: str) -> tuple[str, ...]:
    """Make the flag for truncation, which is always given because the default changed between releases."""
    release = parse_version(version)
    if release >= _TAKES_A_WORD:
        return (f"--auto-truncate={str(wanted).lower()}",)
    if wanted:
        return ("--auto-truncate",)
    if release >= _TRUNCATES_UNASKED:
        raise UsageError(f"TEI {version} has no flag to switch off truncation", "use tei_version 1.9.2 or newer")
    return ()
