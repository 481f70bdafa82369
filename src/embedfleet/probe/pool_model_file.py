"""The file that stores a pool's model, so that a restarted gateway does not accept another one."""

import logging
from pathlib import Path

import orjson

from embedfleet.probe.pool_model import ModelIdentity

log = logging.getLogger(__name__)


def read_model(file: Path) -> ModelIdentity | None:
    """Read the pool's model; None if the file is missing or invalid."""
    try:
        return ModelIdentity.from_json(orjson.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("%s is not valid and is ignored: %s", file, error)  # noqa: TRY400 - the message is enough
        return None


def write_model(file: Path, model: ModelIdentity) -> None:
    """Write the pool's model atomically; a failure is only logged."""
    temporary = file.with_suffix(".new")
    try:
        temporary.write_bytes(orjson.dumps(model.to_json()))
        temporary.replace(file)
    except OSError as error:
        log.error("the pool's model cannot be written: %s", error)  # noqa: TRY400 - the message is enough
