"""``python -m bench.gateway [--quick]``: CPU time per request of our gateway, nginx and HAProxy, on the same backend.

The backend is nginx answering each text of a ``POST /embed`` with one 4 KB JSON vector, on two ports. The rival is
nginx as a reverse proxy with one worker, least_conn and kept upstream connections. Ours is ``embedfleet gateway`` with
all it does: classes, queues, checks, retries, health by inference, limits, metrics, request ids; once as it is, and
once with ``--coalesce false``: each text alone. HAProxy, where it is installed, has one thread, leastconn and kept
connections; else its figures are null. ``relay`` moves bytes in Python's event loop and does nothing else
(`bench.relay`). wrk sends 100-byte bodies on 64 connections.

A client that is alone and waits for each answer measures what a proxy adds when nothing else is to be done.

The proxy has core 0 to itself, backend and wrk share core 1. CPU time is user + system time of the proxy's processes
(/proc/PID/stat) over wrk's count of requests. Rounds interleave them; the ratio is that of the medians. Memory is
by how much a proxy's proportional set size grows with 1,000 kept connections that rest.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.contestants import CONTESTANTS, Site
from bench.idle import allow_connections, answers, idle_kb
from bench.load.plan import wire
from bench.process import free_port
from bench.report import missing, report, say

PROXY_CORE, LOAD_CORE = "0", "1"
CONNECTIONS = 64
_TICK = os.sysconf("SC_CLK_TCK")

_BACKEND = """
daemon off; worker_processes 1; pid {folder}/backend.pid; error_log {folder}/backend.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/b1; proxy_temp_path {folder}/b2;
    fastcgi_temp_path {folder}/b3; uwsgi_temp_path {folder}/b4; scgi_temp_path {folder}/b5;
    default_type application/json;
    map $host $v {{ default '{vector}'; }}
    map $content_length $vectors {{ default '[[$v]]'; {answers} }}
    server {{
        listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]};
        location = /info {{ return 200 '{info}'; }}
        location / {{ return 200 $vectors; }}
    }}
}}
"""
_PROXY = """
daemon off; worker_processes 1; pid {folder}/proxy.pid; error_log {folder}/proxy.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/p1; proxy_temp_path {folder}/p2;
    fastcgi_temp_path {folder}/p3; uwsgi_temp_path {folder}/p4; scgi_temp_path {folder}/p5;
    upstream replicas {{
        least_conn; server 127.0.0.1:{ports[0]}; server 127.0.0.1:{ports[1]};
        keepalive 128; keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"inputs":"%s"}'
"""
_TEXT = "x" * 87
_MOST_TEXTS = 32  # of one call
_INFO = '{"model_id":"m","model_sha":null,"model_dtype":"float32","model_type":{"embedding":{"pooling":"cls"}}}'


@contextmanager
def running(core: str, command: list[str]) -> Iterator[int]:
    """A process pinned to a core, by its pid."""
    process = subprocess.Popen(["taskset", "-c", core, *command], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def nginx(core: str, name: str, config: str, folder: Path) -> Iterator[int]:
    """An nginx with a configuration of its own."""
    file = folder / f"{name}.conf"
    file.write_text(config)
    with running(core, ["nginx", "-c", str(file), "-p", str(folder)]) as pid:
        yield pid


def cpu_s(pid: int) -> float:
    """User and system time so far of a process and its children that still run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICK + sum(cpu_s(int(child)) for child in children)


def load(port: int, seconds: int, lua: Path) -> int:
    """Requests that wrk had answered 200 in that time."""
    return int(wrk(port, CONNECTIONS, seconds, lua, r"(\d+) requests in")[0])


def alone_p50_us(port: int, seconds: int, lua: Path) -> float:
    """The median time of a request of one client that waits for each answer, in microseconds."""
    value, unit = wrk(port, 1, seconds, lua, r"50%\s+([\d.]+)(us|ms|s)")
    return float(value) * {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]


def wrk(port: int, connections: int, seconds: int, lua: Path, told: str) -> tuple[str, ...]:
    """What wrk tells, by a pattern, after requests that were all answered 200.

    Raises:
        RuntimeError: they were not.
    """
    command = [
        "taskset",
        "-c",
        LOAD_CORE,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(lua),
        "--latency",
    ]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}/embed"], capture_output=True, text=True, check=True)
    match = re.search(told, done.stdout)
    if match is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"the load did not go well:\n{done.stdout}")
    return match.groups()


@contextmanager
def haproxy(core: str, port: int, ports: list[int], folder: Path) -> Iterator[int]:
    """HAProxy as `bench.mixed` has it."""
    contestant, site = CONTESTANTS["haproxy-lc"], Site(port, tuple(ports), folder)
    site.config.write_text(contestant.config(site))
    with running(core, list(contestant.command(site))) as pid:
        yield pid


@dataclass(frozen=True, slots=True)
class Proxy:
    """A contestant that runs."""

    name: str
    pid: int
    port: int


def wait_for(proxy: Proxy, request: bytes) -> None:
    """Until a proxy answers, without loading it.

    Raises:
        RuntimeError: it does not.
    """
    deadline = time.monotonic() + 30
    while not answers(proxy.port, request):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{proxy.name} does not answer on port {proxy.port}")
        time.sleep(0.05)


def _answers() -> str:
    """As many vectors as texts: the length of a body says how many it has."""
    texts = {len(orjson.dumps({"inputs": [_TEXT] * count})): count for count in range(1, _MOST_TEXTS + 1)}
    return " ".join(f"{length} '[[{'],['.join(['$v'] * count)}]]';" for length, count in texts.items())


def start_proxies(stack: ExitStack, folder: Path, ports: list[int]) -> list[Proxy]:
    """All that are installed."""
    replicas = [part for port in ports for part in ("--replica", f"http://127.0.0.1:{port}")]
    port = free_port()
    command = [sys.executable, "-m", "embedfleet", "gateway", *replicas, "--log-level", "warning"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    found = [Proxy("gateway", stack.enter_context(running(PROXY_CORE, command)), port)]
    port = free_port()
    apart = [*command[:-1], str(port), "--coalesce", "false"]
    found.append(Proxy("apart", stack.enter_context(running(PROXY_CORE, apart)), port))
    port = free_port()
    relay = [sys.executable, "-m", "bench.relay", str(port), str(ports[0])]
    found.append(Proxy("relay", stack.enter_context(running(PROXY_CORE, relay)), port))
    port = free_port()
    config = _PROXY.format(folder=folder, ports=ports, port=port)
    found.append(Proxy("nginx", stack.enter_context(nginx(PROXY_CORE, "proxy", config, folder)), port))
    if CONTESTANTS["haproxy-lc"].installed:
        port = free_port()
        found.append(Proxy("haproxy", stack.enter_context(haproxy(PROXY_CORE, port, ports, folder)), port))
    else:
        say("haproxy is not installed, its figures are null: apt-get install haproxy")
    return found


def measure(rounds: int, seconds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """``NAME_us`` (CPU per request), ``NAME_rps``, ``NAME_alone_p50_us`` → a figure per round; name → KB when idle."""
    figures: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lua = folder / "post.lua"
        lua.write_text(_LUA % _TEXT)
        ports = [free_port(), free_port()]
        numbers = random.Random(1)
        vector = ",".join(f"{numbers.uniform(-0.1, 0.1):.8f}" for _ in range(330))
        backend = _BACKEND.format(folder=folder, ports=ports, info=_INFO, vector=vector, answers=_answers())
        stack.enter_context(nginx(LOAD_CORE, "backend", backend, folder))
        proxies = start_proxies(stack, folder, ports)
        request = wire("/embed", {"inputs": _TEXT})
        for proxy in proxies:
            wait_for(proxy, request)
        idle = {proxy.name: idle_kb(proxy.pid, proxy.port, request) for proxy in proxies}
        for name, memory in idle.items():
            say(f"{name:8} {memory} KB for 1,000 idle connections")
        for number in range(rounds):
            for proxy in proxies:
                load(proxy.port, 1, lua)
                before = cpu_s(proxy.pid)
                requests = load(proxy.port, seconds, lua)
                cost = (cpu_s(proxy.pid) - before) / requests * 1e6
                figures[f"{proxy.name}_us"].append(cost)
                figures[f"{proxy.name}_rps"].append(requests / seconds)
                alone = alone_p50_us(proxy.port, 1, lua)
                figures[f"{proxy.name}_alone_p50_us"].append(alone)
                say(
                    f"round {number + 1}: {proxy.name:8} {cost:6.1f} µs, {requests / seconds:7.0f} requests/s, "
                    f"one client waits {alone:.0f} µs"
                )
    return figures, idle


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    quick = parser.parse_args().quick
    for tool, package in (("nginx", "nginx-light"), ("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed", f"on Debian or Ubuntu: apt-get install {package}")
    if (os.cpu_count() or 1) < 2:
        missing("two cores are needed, one for the proxy and one for the load", "run it on a larger machine")
    allow_connections()
    figures, idle = measure(*((4, 2) if quick else (9, 5)))
    medians = {name: round(statistics.median(values), 1) for name, values in figures.items()}
    ours = medians["gateway_us"]
    ratios = {
        "cpu_over_nginx": round(ours / medians["nginx_us"], 3),
        "cpu_apart_over_nginx": round(medians["apart_us"] / medians["nginx_us"], 3),
        "cpu_relay_over_nginx": round(medians["relay_us"] / medians["nginx_us"], 3),
    }
    over_haproxy = round(ours / medians["haproxy_us"], 3) if "haproxy_us" in medians else None
    added_ms = round((medians["gateway_alone_p50_us"] - medians["nginx_alone_p50_us"]) / 1000, 3)
    report(
        ratios=ratios,
        **medians,
        alone_p50_added_ms=added_ms,
        cpu_over_haproxy=over_haproxy,
        idle_1000_kb=idle,
        quick=quick,
    )


if __name__ == "__main__":
    main()
