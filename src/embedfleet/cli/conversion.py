"""From options as people set them to the settings that an engine and a gateway take."""

from dataclasses import fields

from embedfleet.config.agreement import prompts_fault
from embedfleet.config.model_name import AUTO, BUILTIN
from embedfleet.config.settings import EngineOptions, GatewayOptions
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import UsageError
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.settings import GatewaySettings
from embedfleet.http.message import Limits
from embedfleet.types import URL_HINT, Endpoint, url_fault


def engine_settings(
    options: EngineOptions,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    preferred_port: int = 0,
    worker_threads: int = 1,
    payload_limit_bytes: int = 2_000_000,
    stop_grace_s: float = 30.0,
    api_key: str = "",
) -> EngineSettings:
    """Settings of one engine.

    Raises:
        UsageError: options that do not go together.
    """
    if problem := prompts_fault(options):
        raise UsageError(f"default_prompt {problem}", "set one of them")
    given = {item.name: getattr(options, item.name) for item in fields(options)}
    given["model"] = BUILTIN if options.model == AUTO else options.model
    given["packed_dir"] = "" if options.packed_dir == AUTO else options.packed_dir
    given["tokenization_workers"] = 1 if options.tokenization_workers == "auto" else options.tokenization_workers
    return EngineSettings(
        **given,
        host=host,
        port=port,
        preferred_port=preferred_port,
        workers=worker_threads,
        stop_grace_s=stop_grace_s,
        api_key=api_key,
        limits=Limits(body_bytes=payload_limit_bytes),
    )


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
    payload_limit_bytes: int = 2_000_000,
    drain_s: float = 0.0,
    stop_grace_s: float = 30.0,
) -> GatewaySettings:
    """Settings of one gateway.

    Raises:
        UsageError: a replica's URL is none, or the mode is none.
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
        request_texts=options.max_request_texts,
        replica_body_bytes=payload_limit_bytes,
        access_log=options.access_log,
        drain_s=drain_s,
        stop_grace_s=stop_grace_s,
        limits=Limits(
            body_bytes=max(payload_limit_bytes, options.max_request_bytes),
            header_timeout_s=options.header_timeout_s,
            body_timeout_s=options.body_timeout_s,
            idle_timeout_s=options.idle_timeout_s,
            connections=options.max_connections,
        ),
        dispatch=DispatchLimits(
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
        ),
    )


def _mode(text: str) -> int:
    """A file's permissions from their octal digits."""
    try:
        return int(text, 8)
    except ValueError:
        raise UsageError(f"--admin-mode {text} is no number in octal", "as in chmod: 600, 660, 666") from None


def _endpoints(replicas: tuple[str, ...]) -> tuple[Endpoint, ...]:
    endpoints = {endpoint.id: endpoint for endpoint in map(_endpoint, range(len(replicas)), replicas)}
    if len(endpoints) < len(replicas):
        raise UsageError("two replicas have the same name", "give each its own, NAME=http://host:port, or none")
    return tuple(endpoints.values())


def _endpoint(number: int, text: str) -> Endpoint:
    """``URL`` or ``NAME=URL``."""
    name, equals, url = text.partition("=") if "=" in text.partition("://")[0] else ("", "", text)
    return Endpoint(name if equals else f"replica-{number}", _checked(url))


def _checked(url: str) -> str:
    fault = url_fault(url)
    if fault:
        raise UsageError(f"{url} is not the URL of a replica: it {fault}", URL_HINT)
    return url.rstrip("/")
