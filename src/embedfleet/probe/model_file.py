"""The model that a pool is, in a file: a gateway that was started anew must not take another for it."""

import logging
from pathlib import Path

import orjson

from embedfleet.probe.reference import Model

log = logging.getLogger(__name__)


def read_model(file: Path) -> Model | None:
    """What is in the file; None if there is none, or it makes no sense."""
    try:
        return Model.from_json(orjson.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("%s is of no use: %s", file, error)  # noqa: TRY400 - the message says it all
        return None


def write_model(file: Path, model: Model) -> None:
    """Write it, whole or not at all; where that fails, the log says so and all goes on."""
    temporary = file.with_suffix(".new")
    try:
        temporary.write_bytes(orjson.dumps(model.to_json()))
        temporary.replace(file)
    except OSError as error:
        log.error("the pool's model cannot be written down: %s", error)  # noqa: TRY400 - the message says it all
