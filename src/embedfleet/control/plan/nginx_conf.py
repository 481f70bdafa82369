"""The text of nginx's configuration; pure.

It holds the directives of the shell script that this project replaces, and additions with their reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FILES = 8192
"""Number of files that an nginx worker may have open, unless the machine allows fewer."""


@dataclass(frozen=True, slots=True)
class Site:
    """The values in the configuration of one service's nginx.

    Attributes:
        service: Name of the service.
        upstream: Name of the upstream.
        listen: Port, or address and port, to listen on.
        servers: Addresses (``host:port``) of the replicas that may get requests.
        resting: Addresses of the replicas that get none, each with the reason. If no others exist, these are listed as
            down: nginx then answers 502, whereas it refuses an upstream without servers.
        payload_limit_bytes: Largest request body, which is TEI's own limit.
        response_timeout_s: Longest wait for a replica's reply, in seconds.
        access_log: Path of the access log, which gets one JSON object per request.
        generation: Answer of /livez, which shows that a reload has taken effect.
        is_maintained: Whether embedfleet writes the file again whenever a replica comes, goes or fails.
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
    is_maintained: bool = True


def file_name(service: str) -> str:
    """Return the name of a service's file, such as ``nginx-embedder.conf``."""
    return f"nginx-{service}.conf"


def render_site(site: Site) -> str:
    """Return the upstream and the server of one service, for nginx's http context (nginx 1.13 or newer)."""
    log = f"embedfleet_{site.service.replace('-', '_')}"
    return f"{_log_format(site, log)}\n{_upstream(site)}\n{_server(site, log)}"


def _log_format(site: Site, log: str) -> str:
    made = (
        "Made by embedfleet, and made again whenever a replica comes or goes: changes made here are lost."
        if site.is_maintained
        else "Made by `embedfleet render nginx`; run that again when the replicas change."
    )
    return f"""\
# {made}

# One JSON object per request: its cost, the replica that answered, and those that were tried before.
log_format {log} escape=json '{{'
    '"time":"$time_iso8601","service":"{site.service}","client":"$remote_addr","method":"$request_method",'
    '"path":"$uri","status":$status,"bytes_in":$request_length,"bytes_out":$body_bytes_sent,'
    '"seconds":$request_time,"upstream":"$upstream_addr","upstream_status":"$upstream_status",'
    '"upstream_seconds":"$upstream_response_time","request_id":"$request_id"}}';
"""


def _upstream(site: Site) -> str:
    servers = "\n".join(f"    server {address} max_fails=0;" for address in site.servers)
    if not site.servers:
        servers = "\n".join(f"    server {address} down;" for address, _ in site.resting)
    resting = "".join(f"\n    # {address} gets nothing: {_one_line(reason)}" for address, reason in site.resting)
    probed = (
        """Replicas are
    # probed every few seconds, and those that cannot infer are removed from this list."""
        if site.is_maintained
        else """A replica that
    # fails stays on this list until you take it off; nginx tries the next one meanwhile."""
    )
    return f"""\
upstream {site.upstream} {{
    # The replica with the fewest requests under way, not the next in turn: requests differ much in cost.
    least_conn;
    # max_fails=0: one slow moment must not take a replica out for ten seconds, or all of them at once. {probed}
{servers}{resting}
    # Connections to replicas are kept open: a new one per request costs more than the proxying itself.
    keepalive 64;
}}
"""


def _server(site: Site, log: str) -> str:
    timeout = f"{max(1, round(site.response_timeout_s))}s"
    return f"""\
server {{
    listen {site.listen};
    # A line per request, as described above.
    access_log {site.access_log} {log};
    # TEI's own limit. With its default of 1 MB nginx would refuse a body first, in HTML.
    client_max_body_size {site.payload_limit_bytes};
    # A body stays in memory, since it is sent again if another replica gets the request.
    client_body_buffer_size {min(site.payload_limit_bytes, 4_000_000)};
    # Between batches, clients keep connections open for longer than the default of 75 s.
    keepalive_timeout 120s;
    keepalive_requests 100000;

    # Whether nginx runs, and with which version of this file. GET /health asks a replica.
    location = /livez {{
        access_log off;
        default_type text/plain;
        return 200 {site.generation};
    }}

    location / {{
        proxy_pass http://{site.upstream};
        # Upstream connections are kept open only with HTTP/1.1 and without a Connection header.
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        # The client, and the id of the request in every log.
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-Id $request_id;
        add_header X-Request-Id $request_id always;
        # Every TEI request may be sent again, POSTs too: the same text gives the same vector. But only once: the
        # request may have killed the replica, and nginx cannot try it alone.
        proxy_next_upstream error timeout non_idempotent http_429 http_502 http_503;
        proxy_next_upstream_tries 2;
        # A running replica accepts at once; its reply may take as long as its batch.
        proxy_connect_timeout 2s;
        proxy_send_timeout 60s;
        proxy_read_timeout {timeout};
        # The vectors of a batch fit into memory: 32 of 1,024 numbers are 0.4 MB.
        proxy_buffer_size 16k;
        proxy_buffers 64 16k;
    }}
}}
"""


def render_main(folder: str, site_file: str, *, files: int = FILES, test: bool = False) -> str:
    """Return a whole nginx.conf around one site.

    Args:
        folder: Folder for the files that nginx writes.
        site_file: Absolute path of the site's file.
        files: Number of files that a worker may have open.
        test: Whether only ``nginx -t`` reads it, while another nginx runs in the folder.
    """
    pid = "candidate.pid" if test else "nginx.pid"
    return f"""\
# Made by embedfleet.
daemon off;
worker_processes auto;
pid {folder}/{pid};
error_log stderr warn;
# A connection leads to a client or to a replica, and each may have a file for its body as well.
worker_rlimit_nofile {files};
events {{
    worker_connections {files // 2};
}}
http {{
    # Everything that nginx writes goes into a folder of its own, so that it needs no root.
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
    """Make a text fit into a comment: without line breaks, and short."""
    return " ".join(text.split())[:200]
