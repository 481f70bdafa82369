"""``python -m bench.gateway [--quick] [--compiled FOLDER]``: CPU time per request of our gateway, nginx and HAProxy.

The backend, the same for all, is nginx answering each text of a ``POST /embed`` with one 4 KB JSON vector, on two
ports. The rival is nginx as a reverse proxy with one worker, least_conn and kept upstream connections. Ours is
``embedfleet gateway`` with all it does: classes, queues, checks, retries, health by inference, limits, metrics, request
ids; once as it is, and once with ``--coalesce false``: each text alone. With ``--compiled``, both also as
``scripts/compile`` made them. HAProxy, where it is installed, has one thread, leastconn and kept connections; else its
figures are null. ``relay`` moves bytes in Python's event loop and does nothing else (`bench.relay`). wrk sends 100-byte
bodies on 64 connections.

A client that is alone and waits for each answer measures what a proxy adds when nothing else is to be done, and what
a request costs a proxy that has to be woken for it.

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
_RATIOS = {
    "gateway": "cpu",
    "apart": "cpu_apart",
    "compiled": "cpu_compiled",
    "compiled_apart": "cpu_compiled_apart",
    "relay": "cpu_relay",
}  # contestant → its ratios' name
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
def running(core: str, command: list[str], path: Path | None = None) -> Iterator[int]:
    """A process pinned to a core, by its pid; with a path that its Python looks in first."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path is not None else {})
    command = ["taskset", "-c", core, *command]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, env=env)
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


def load(port: int, connections: int, seconds: int, lua: Path) -> tuple[int, float]:
    """Requests that wrk had answered 200 in that time, and the median wait in microseconds."""
    wait, unit, requests = wrk(port, connections, seconds, lua, r"50%\s+([\d.]+)(us|ms|s)[\s\S]*?(\d+) requests in")
    return int(requests), float(wait) * {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]


def cost(proxy: "Proxy", connections: int, seconds: int, lua: Path) -> tuple[float, float, int]:
    """CPU time per request and the median wait, both in microseconds, and how many requests there were."""
    before = cpu_s(proxy.pid)
    requests, wait_us = load(proxy.port, connections, seconds, lua)
    return (cpu_s(proxy.pid) - before) / requests * 1e6, wait_us, requests


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


def start_ours(stack: ExitStack, ports: list[int], name: str, compiled: Path | None, *flags: str) -> Proxy:
    """Our gateway, interpreted or compiled."""
    port = free_port()
    replicas = [part for at in ports for part in ("--replica", f"http://127.0.0.1:{at}")]
    command = [sys.executable, "-m", "embedfleet", "gateway", *replicas, "--log-level", "warning"]
    command += ["--host", "127.0.0.1", "--port", str(port), *flags]
    return Proxy(name, stack.enter_context(running(PROXY_CORE, command, compiled)), port)


def start_proxies(stack: ExitStack, folder: Path, ports: list[int], compiled: Path | None) -> list[Proxy]:
    """All that are installed."""
    apart = ("--coalesce", "false")
    found = [start_ours(stack, ports, "gateway", None), start_ours(stack, ports, "apart", None, *apart)]
    if compiled is not None:
        found.append(start_ours(stack, ports, "compiled", compiled))
        found.append(start_ours(stack, ports, "compiled_apart", compiled, *apart))
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


def measure(rounds: int, seconds: int, compiled: Path | None) -> tuple[dict[str, list[float]], dict[str, int]]:
    """A figure per round, and name → KB when idle.

    ``NAME_us`` is CPU per request, ``NAME_rps`` requests a second; ``NAME_alone_us`` and ``NAME_alone_p50_us`` CPU per
    request and the median wait of one client.
    """
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
        proxies = start_proxies(stack, folder, ports, compiled)
        request = wire("/embed", {"inputs": _TEXT})
        for proxy in proxies:
            wait_for(proxy, request)
        idle = {proxy.name: idle_kb(proxy.pid, proxy.port, request) for proxy in proxies}
        for name, memory in idle.items():
            say(f"{name:8} {memory} KB for 1,000 idle connections")
        for number in range(rounds):
            for proxy in proxies:
                load(proxy.port, CONNECTIONS, 1, lua)
                many, _, requests = cost(proxy, CONNECTIONS, seconds, lua)
                one, wait_us, _ = cost(proxy, 1, max(1, seconds // 2), lua)
                figures[f"{proxy.name}_us"].append(many)
                figures[f"{proxy.name}_rps"].append(requests / seconds)
                figures[f"{proxy.name}_alone_us"].append(one)
                figures[f"{proxy.name}_alone_p50_us"].append(wait_us)
                say(
                    f"round {number + 1}: {proxy.name:14} {many:6.1f} µs, {requests / seconds:7.0f} requests/s; "
                    f"one client costs {one:.0f} and waits {wait_us:.0f} µs"
                )
    return figures, idle


def ratios_of(medians: dict[str, float]) -> dict[str, float]:
    """CPU per request over nginx's, of all of ours that were measured, with many clients and with one."""
    ratios: dict[str, float] = {}
    for name, told in _RATIOS.items():
        for one, of in (("", "us"), ("one_client_", "alone_us")):
            if f"{name}_{of}" in medians:
                ratios[f"{told}_{one}over_nginx"] = round(medians[f"{name}_{of}"] / medians[f"nginx_{of}"], 3)
    return ratios


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--compiled", type=Path, help="what scripts/compile made, measured as well")
    given = parser.parse_args()
    quick: bool = given.quick
    compiled: Path | None = given.compiled and given.compiled.absolute()
    for tool, package in (("nginx", "nginx-light"), ("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed", f"on Debian or Ubuntu: apt-get install {package}")
    if (os.cpu_count() or 1) < 2:
        missing("two cores are needed, one for the proxy and one for the load", "run it on a larger machine")
    allow_connections()
    figures, idle = measure(*((4, 2) if quick else (9, 5)), compiled)
    medians = {name: round(statistics.median(values), 1) for name, values in figures.items()}
    ours = medians["gateway_us"]
    ratios = ratios_of(medians)
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
