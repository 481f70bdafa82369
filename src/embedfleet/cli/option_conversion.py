"""Conversion of the options that users set into the settings of an engine or a gateway."""

from dataclasses import fields
from typing import Any

from embedfleet.config.cross_checks import prompts_fault
from embedfleet.config.model_name import AUTO, BUILTIN
from embedfleet.config.settings import EngineOptions, GatewayOptions
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import UsageError
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.message import Limits
from embedfleet.types import URL_HINT, Endpoint, url_fault


def engine_settings(options: EngineOptions, **process: Any) -> EngineSettings:  # noqa: ANN401 - fields of EngineSettings
    """Make the settings of one engine; ``auto`` becomes the default of an engine that runs without a fleet.

    Args:
        options: Options of the model server.
        process: Fields that `EngineSettings` adds to the options, such as ``port``.

    Raises:
        UsageError: Two default prompts are set.
    """
    if problem := prompts_fault(options):
        raise UsageError(f"default_prompt {problem}", "set one of them")
    given = {item.name: getattr(options, item.name) for item in fields(options)}
    for name, value in (("model", BUILTIN), ("packed_dir", ""), ("tokenization_workers", 1)):
        if given[name] == AUTO:
            given[name] = value
    return EngineSettings(**given, **process)


def gateway_settings(
    options: GatewayOptions,
    *,
    replicas: tuple[str, ...] = (),
    host: str = "0.0.0.0",
    port: int = 0,
    listen_fd: int = 0,
    listen_later: bool = False,
    admin: str = "",
    admin_mode: str = "600",
    members: str = "",
    model_file: str = "",
    cache_file: str = "",
    payload_limit_bytes: int = 2_000_000,
    drain_s: float = 0.0,
    stop_grace_s: float = 30.0,
    interpreted_because: str = "",
) -> GatewaySettings:
    """Make the settings of one gateway.

    Raises:
        UsageError: A replica's URL or the socket's mode is invalid, or two replicas have one name.
    """
    return GatewaySettings(
        host=host,
        port=port,
        listen_fd=listen_fd,
        listens_later=listen_later,
        replicas=_endpoints(replicas),
        admin_path=admin,
        admin_mode=_mode(admin_mode),
        members_path=members,
        model_path=model_file,
        response_timeout_s=options.response_timeout_s,
        probe_timeout_s=options.probe_timeout_s,
        calibrate=options.calibrate,
        coalesce=options.coalesce,
        cache_bytes=options.gateway_cache_mb * 1_000_000,
        cache_path=cache_file if options.gateway_cache_keep else "",
        request_texts=options.max_request_texts,
        replica_body_bytes=payload_limit_bytes,
        access_log=options.access_log,
        drain_s=drain_s,
        stop_grace_s=stop_grace_s,
        interpreted_because=interpreted_because,
        limits=_http_limits(options, payload_limit_bytes),
        dispatch=_dispatch_limits(options),
    )


def _http_limits(options: GatewayOptions, payload_limit_bytes: int) -> Limits:
    return Limits(
        body_bytes=max(payload_limit_bytes, options.max_request_bytes),
        header_timeout_s=options.header_timeout_s,
        body_timeout_s=options.body_timeout_s,
        idle_timeout_s=options.idle_timeout_s,
        connections=options.max_connections,
    )


def _dispatch_limits(options: GatewayOptions) -> DispatchLimits:
    return DispatchLimits(
        online_queue_s=options.online_queue_s,
        bulk_queue_s=options.bulk_queue_s,
        queue_bytes=options.max_queue_bytes,
        online_deadline_s=options.online_deadline_s,
        bulk_deadline_s=options.bulk_deadline_s,
        no_replica_s=options.no_replica_s,
        quarantine_s=options.quarantine_s,
        split=options.split,
        prefer_online=options.prefer_online,
        reserve=options.reserve,
        hedge=options.hedge,
        sort_by_length=options.sort_by_length,
        probe_interval_s=options.probe_interval_s,
    )


def _mode(text: str) -> int:
    """Parse file permissions from octal digits."""
    try:
        return int(text, 8)
    except ValueError:
        raise UsageError(
            f"--admin-mode {text} is not an octal number", "write it as for chmod: 600, 660 or 666"
        ) from None


def _endpoints(replicas: tuple[str, ...]) -> tuple[Endpoint, ...]:
    endpoints = {endpoint.id: endpoint for endpoint in map(_endpoint, range(len(replicas)), replicas)}
    if len(endpoints) < len(replicas):
        raise UsageError(
            "two replicas have the same name",
            "give each a name of its own, as in NAME=http://host:port, or give no names",
        )
    return tuple(endpoints.values())


def _endpoint(number: int, text: str) -> Endpoint:
    """Make the endpoint that ``URL`` or ``NAME=URL`` describes."""
    name, equals, url = text.partition("=") if "=" in text.partition("://")[0] else ("", "", text)
    return Endpoint(name if equals else f"replica-{number}", _checked(url))


def _checked(url: str) -> str:
    fault = url_fault(url)
    if fault:
        raise UsageError(f"{url} is not the URL of a replica: it {fault}", URL_HINT)
    return url.rstrip("/")
