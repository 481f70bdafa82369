"""Command-line flags of the processes in a plan, made from the settings."""

from dataclasses import fields
from typing import Any

from embedfleet.config.option import options_of
from embedfleet.config.settings import Service, Settings


def common_flags(settings: Settings, service: Service) -> tuple[str, ...]:
    """Return the flags that an engine and a gateway have in common."""
    fleet = settings.fleet
    return (
        f"--log-level={fleet.log_level}",
        f"--log-format={fleet.log_format}",
        f"--stop-grace-s={fleet.stop_grace_s}",
        f"--payload-limit-bytes={service.options.payload_limit_bytes}",
    )


def changed_flags(record: type, values: Any) -> tuple[str, ...]:  # noqa: ANN401 - an instance of `record`
    """Return a flag for each option that differs from its default, as one word: a value may begin with a dash."""
    known = options_of(record)
    flags: list[str] = []
    for item in fields(record):
        value = getattr(values, item.name)
        if value != item.default:
            flags.append(f"{known[item.name].flag}={str(value).lower() if isinstance(value, bool) else value}")
    return tuple(flags)
