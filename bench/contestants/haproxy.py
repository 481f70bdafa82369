"""HAProxy with least connections, with and without its queue and priority classes."""

from collections.abc import Sequence

from bench.contestants.base import Contestant, Site, path_of

_BULK_BYTES = 16_384  # A request with a larger body is bulk.
_MAXCONN = 4  # Maximum number of requests at one replica; the others wait in HAProxy, sorted by class.

_CONFIG = """\
global
    nbthread 1
    maxconn 8192

defaults
    mode http
    retries 2
    option redispatch
    option http-keep-alive
    http-reuse always
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    timeout queue 120s
    timeout http-keep-alive 120s

frontend front
    bind 127.0.0.1:{port} backlog 2048
{priority}    default_backend replicas

backend replicas
    balance leastconn
{servers}"""
_PRIORITY = """\
    http-request set-priority-class int(10) if {{ req.hdr(content-length) -m int gt {bytes} }}
    http-request set-priority-class int(1) if {{ req.hdr(content-length) -m int le {bytes} }}
"""


def _render(site: Site, priority: bool) -> str:
    limit = f" maxconn {_MAXCONN}" if priority else ""
    servers = "".join(f"    server r{port} 127.0.0.1:{port}{limit}\n" for port in site.replicas)
    classes = _PRIORITY.format(bytes=_BULK_BYTES) if priority else ""
    return _CONFIG.format(port=site.port, priority=classes, servers=servers)


def _command(site: Site) -> Sequence[str]:
    return [path_of("haproxy"), "-db", "-q", "-f", str(site.config)]


def _check(site: Site) -> Sequence[str]:
    return [path_of("haproxy"), "-c", "-f", str(site.config)]


def _contestant(name: str, *, priority: bool) -> Contestant:
    return Contestant(
        name=name,
        program="haproxy",
        package="apt-get install haproxy",
        config=lambda site: _render(site, priority),
        command=_command,
        check=_check,
    )


HAPROXIES = (_contestant("haproxy-lc", priority=False), _contestant("haproxy-prio", priority=True))
