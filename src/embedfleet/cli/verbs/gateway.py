"""``embedfleet gateway``: runs one gateway in the foreground."""

import asyncio
import logging
import sys
from typing import Any, NoReturn

import click

from embedfleet.cli.child import end_with, port_reporter
from embedfleet.cli.flags import BYTES, PORT, SECONDS, record_flags, take_record
from embedfleet.config.settings import GatewayOptions
from embedfleet.errors import UsageError


@click.command("gateway")
@click.option(
    "--replica", "replicas", multiple=True, metavar="[NAME=]URL", help="server with TEI's API; may be repeated"
)
@click.option("--host", default="0.0.0.0", show_default=True, help="address to listen on")
@click.option("--port", type=PORT, default=0, show_default=True, help="port to listen on; 0 for any free one")
@click.option(
    "--admin",
    default="",
    metavar="PATH",
    help="Unix socket for GET and PUT /replicas, and for POST /replicas/ID/drain, /replicas/ID/undrain, /new-model,"
    " /listen and /retire",
)
@click.option(
    "--admin-mode", default="600", show_default=True, help="permissions of the admin socket, in octal as for chmod"
)
@click.option(
    "--members",
    default="",
    metavar="FILE",
    help="file with the first replicas, in the format of PUT /replicas; need not exist",
)
@click.option(
    "--model-file",
    default="",
    metavar="FILE",
    help="file that keeps the replicas' model across restarts of the gateway",
)
@click.option(
    "--cache-file",
    default="",
    metavar="FILE",
    help="file that keeps the cache across restarts of the gateway, with --gateway-cache-keep",
)
@click.option(
    "--payload-limit-bytes",
    default=2_000_000,
    show_default=True,
    type=BYTES,
    help="largest body of a request to a replica, in bytes",
)
@click.option(
    "--drain-s",
    default=0.0,
    show_default=True,
    type=SECONDS,
    help="time for which a stopping gateway still accepts requests, in seconds",
)
@click.option(
    "--stop-grace-s",
    default=30.0,
    show_default=True,
    type=SECONDS,
    help="time for requests in progress to end at a stop, in seconds",
)
@record_flags(GatewayOptions)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    help="lowest severity to log: debug, info, warning or error",
)
@click.option("--log-format", default="text", show_default=True, help="format of log lines: text or json")
@click.option(
    "--respawn/--no-respawn",
    default=False,
    show_default=True,
    help="run the gateway as a child process, restart it if it dies, and keep the port open meanwhile",
)
@click.option("--listen-fd", default=0, hidden=True)
@click.option("--listen-later", is_flag=True, hidden=True)
@click.option("--interpreted-because", default="", hidden=True)
@click.option("--ready-fd", default=0, hidden=True)
@click.option("--parent-pid", default=0, hidden=True)
def command(
    parent_pid: int,
    ready_fd: int,
    log_level: str,
    log_format: str,
    respawn: bool,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Balance the requests of one service over its replicas until SIGTERM or Ctrl-C."""
    end_with(parent_pid)
    if respawn:
        _respawn(flags["host"], flags["port"], log_level, log_format)
    import uvloop  # noqa: PLC0415 - other verbs do not need it

    from embedfleet.cli.option_conversion import gateway_settings  # noqa: PLC0415
    from embedfleet.gateway.app import serve  # noqa: PLC0415
    from embedfleet.log import set_up  # noqa: PLC0415

    set_up(log_level, log_format)
    options = take_record(GatewayOptions, flags)
    settings = gateway_settings(options, **flags)
    if options.gateway_cache_keep and not (settings.cache_path and settings.cache_bytes):
        raise UsageError("--gateway-cache-keep needs a cache and a file", "set --gateway-cache-mb and --cache-file")
    if not settings.replicas and not settings.admin_path:
        logging.getLogger(__name__).warning(
            "no --replica was given, and without --admin none can be added: every request will get 503"
        )
    try:
        uvloop.run(serve(settings, ready=port_reporter(ready_fd)))
    except OSError as error:
        raise _cannot_listen(error) from error


def _respawn(host: str, port: int, log_level: str, log_format: str) -> NoReturn:
    """Keep a child gateway with the same flags running until this process is stopped; exit with its exit code."""
    from embedfleet.cli.gateway_respawner import Respawner  # noqa: PLC0415 - other verbs do not need it
    from embedfleet.log import set_up  # noqa: PLC0415

    set_up(log_level, log_format)
    try:
        respawner = Respawner(host, port, (*sys.argv[2:], "--no-respawn"))
    except OSError as error:
        raise _cannot_listen(error) from error
    sys.exit(asyncio.run(respawner.run()))


def _cannot_listen(error: OSError) -> UsageError:
    return UsageError(f"cannot listen: {error.strerror or error}", "choose another --port")
