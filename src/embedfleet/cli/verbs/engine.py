"""``embedfleet engine``: runs one model server in the foreground."""

from typing import Any

import click

from embedfleet.cli.child import end_with, port_reporter
from embedfleet.cli.flags import BYTES, PORT, SECONDS, record_flags, take_record
from embedfleet.config.settings import EngineOptions
from embedfleet.errors import UsageError


@click.command("engine")
@record_flags(EngineOptions)
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option("--port", type=PORT, default=0, show_default=True, help="port to listen on; 0 for any free one")
@click.option("--worker-threads", default=1, show_default=True, help="threads that run the model, one core each")
@click.option(
    "--payload-limit-bytes", default=2_000_000, show_default=True, type=BYTES, help="largest request body, in bytes"
)
@click.option(
    "--stop-grace-s",
    default=30.0,
    show_default=True,
    type=SECONDS,
    help="time for requests in progress to end at a stop, in seconds",
)
@click.option(
    "--api-key",
    default="",
    envvar="EMBEDFLEET_ENGINE_API_KEY",
    help="key that requests send as `Authorization: Bearer KEY`; health, metrics and docs need none"
    " [EMBEDFLEET_ENGINE_API_KEY]",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    help="lowest severity to log: debug, info, warning or error",
)
@click.option("--log-format", default="text", show_default=True, help="format of log lines: text or json")
@click.option("--preferred-port", default=0, hidden=True)
@click.option("--ready-fd", default=0, hidden=True)
@click.option("--parent-pid", default=0, hidden=True)
def command(parent_pid: int, ready_fd: int, log_level: str, log_format: str, **flags: Any) -> None:  # noqa: ANN401
    """Serve one model with TEI's HTTP API until SIGTERM or Ctrl-C."""
    end_with(parent_pid)
    if parent_pid:
        flags["api_key"] = ""  # a fleet's gateway sends no key; the variable is for an engine without a fleet
    # These imports are heavy, and other verbs do not need them.
    import uvloop  # noqa: PLC0415

    from embedfleet.cli.option_conversion import engine_settings  # noqa: PLC0415
    from embedfleet.engine.api.app import serve  # noqa: PLC0415
    from embedfleet.log import set_up  # noqa: PLC0415

    set_up(log_level, log_format)
    settings = engine_settings(take_record(EngineOptions, flags), **flags)
    try:
        uvloop.run(serve(settings, ready=port_reporter(ready_fd)))
    except OSError as error:
        raise UsageError(f"cannot listen: {error.strerror or error}", "choose another --port") from error
