"""The text of nginx's configuration, pure: the script's shape, with what it lacked and why."""

from collections.abc import Sequence
from dataclasses import dataclass

FILES = 8192
"""That a worker of nginx may have open, unless the machine grants fewer."""


@dataclass(frozen=True, slots=True)
class Site:
    """What one service's nginx does.

    Attributes:
        service: its name.
        upstream: name of the upstream.
        listen: port, or address and port.
        servers: ``host:port`` of each replica that may get requests.
        resting: (``host:port``, reason) of the others. With nobody else they are listed as down: nginx then answers
            502, where it would not take an upstream without servers.
        payload_limit_bytes: TEI's own limit.
        response_timeout_s: longest wait for a replica's reply.
        access_log: a file for one JSON object per request.
        generation: what /livez answers, so that whoever reloads sees when it has taken effect.
    """

    service: str
    upstream: str
    listen: str
    servers: Sequence[str]
    resting: Sequence[tuple[str, str]] = ()
    payload_limit_bytes: int = 2_000_000
    response_timeout_s: float = 120.0
    access_log: str = "/var/log/nginx/access.log"
    generation: str = "1"


def file_name(service: str) -> str:
    """``nginx-embedder.conf``."""
    return f"nginx-{service}.conf"


def render_site(site: Site) -> str:
    """One service's upstream and server, for nginx's http context (nginx 1.13 or newer)."""
    servers = "\n".join(f"    server {address} max_fails=0;" for address in site.servers)
    if not site.servers:
        servers = "\n".join(f"    server {address} down;" for address, _ in site.resting)
    resting = "".join(f"\n    # {address} gets nothing: {_one_line(reason)}" for address, reason in site.resting)
    log = f"embedfleet_{site.service.replace('-', '_')}"
    timeout = f"{max(1, round(site.response_timeout_s))}s"
    return f"""\
# Made by embedfleet, and made anew whenever a replica comes or goes: what is edited here is lost.

# One JSON object per request: what it cost, which replica answered, and which were tried before.
log_format {log} escape=json '{{'
    '"time":"$time_iso8601","service":"{site.service}","client":"$remote_addr","method":"$request_method",'
    '"path":"$uri","status":$status,"bytes_in":$request_length,"bytes_out":$body_bytes_sent,'
    '"seconds":$request_time,"upstream":"$upstream_addr","upstream_status":"$upstream_status",'
    '"upstream_seconds":"$upstream_response_time","request_id":"$request_id"}}';

upstream {site.upstream} {{
    # To the replica with the fewest requests under way, not to the next in turn: requests differ much in weight.
    least_conn;
    # max_fails=0: one slow moment must not take a replica out for ten seconds, or all of them at once. Replicas are
    # asked to infer every few seconds, and those that cannot are taken off this list.
{servers}{resting}
    # Connections to replicas are kept: a new one per request costs more than the proxying itself.
    keepalive 64;
}}

server {{
    listen {site.listen};
    # A line per request, as described above.
    access_log {site.access_log} {log};
    # TEI's own limit. nginx's default of 1 MB would refuse first, in HTML.
    client_max_body_size {site.payload_limit_bytes};
    # A body stays in memory: it is needed again if the request is sent to another replica.
    client_body_buffer_size {min(site.payload_limit_bytes, 4_000_000)};
    # Clients keep their connections for longer than the 75 s of the default between batches.
    keepalive_timeout 120s;
    keepalive_requests 100000;

    # Is nginx there at all, and by which version of this file? Whether a replica is: GET /health.
    location = /livez {{
        access_log off;
        default_type text/plain;
        return 200 {site.generation};
    }}

    location / {{
        proxy_pass http://{site.upstream};
        # HTTP/1.1 and no Connection header are what lets upstream connections be kept.
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        # Who asked, and by which name one finds the request in every log.
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-Id $request_id;
        add_header X-Request-Id $request_id always;
        # Every call of TEI's may be sent again, POSTs too: the same text gives the same vector. But only once: a
        # replica may have died of the request, and nginx cannot try it apart from the others.
        proxy_next_upstream error timeout non_idempotent http_429 http_502 http_503;
        proxy_next_upstream_tries 2;
        # A replica that is there accepts at once; one that works may take as long as its batch.
        proxy_connect_timeout 2s;
        proxy_send_timeout 60s;
        proxy_read_timeout {timeout};
        # A batch's vectors fit into memory: 32 of 1,024 numbers are 0.4 MB.
        proxy_buffer_size 16k;
        proxy_buffers 64 16k;
    }}
}}
"""


def render_main(folder: str, site_file: str, *, files: int = FILES, test: bool = False) -> str:
    """A whole nginx.conf around one site.

    Args:
        folder: for what nginx writes.
        site_file: absolute path of the site's file.
        files: that a worker may have open.
        test: only to be looked at by ``nginx -t`` beside one that runs.
    """
    pid = "candidate.pid" if test else "nginx.pid"
    return f"""\
# Made by embedfleet.
daemon off;
worker_processes auto;
pid {folder}/{pid};
error_log stderr warn;
# A connection is to a client or to a replica, and each may have a file for its body as well.
worker_rlimit_nofile {files};
events {{
    worker_connections {files // 2};
}}
http {{
    # Everything that nginx writes, in a folder of its own: no root is needed.
    client_body_temp_path {folder}/body-files;
    proxy_temp_path {folder}/proxy-files;
    fastcgi_temp_path {folder}/fastcgi-files;
    uwsgi_temp_path {folder}/uwsgi-files;
    scgi_temp_path {folder}/scgi-files;
    default_type application/json;
    include {site_file};
}}
"""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
