"""``python -m bench.gateway [--quick]``: CPU time per request of our gateway and of nginx, on the same backend.

The backend is nginx answering every ``POST /embed`` with one 4 KB JSON vector, on two ports. The rival is nginx as a
reverse proxy with one worker, least_conn and kept upstream connections; ours is ``embedfleet gateway`` with all it
does: queue, retry, health by inference, limits, metrics, request ids. wrk sends 100-byte bodies on 64 connections.

The proxy has core 0 to itself, backend and wrk share core 1. CPU time is user + system time of the proxy's processes
(/proc/PID/stat) over wrk's count of requests. Rounds interleave the two; the ratio is that of the medians.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.engine import free_port
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
    server {{
        listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]};
        location = /info {{ return 200 '{info}'; }}
        location / {{ return 200 '{vector}'; }}
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
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(lua)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}/embed"], capture_output=True, text=True, check=True)
    match = re.search(r"(\d+) requests in", done.stdout)
    if match is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"the load did not go well:\n{done.stdout}")
    return int(match.group(1))


def wait_for(port: int, lua: Path) -> None:
    """Until a proxy answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            load(port, 1, lua)
        except (RuntimeError, subprocess.CalledProcessError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")


def measure(rounds: int, seconds: int) -> dict[str, list[float]]:
    """Contestant → µs of CPU per request, per round; and requests per second."""
    figures: dict[str, list[float]] = {"gateway_us": [], "nginx_us": [], "gateway_rps": [], "nginx_rps": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lua = folder / "post.lua"
        lua.write_text(_LUA % ("x" * 87))
        ports = [free_port(), free_port()]
        numbers = random.Random(1)
        vector = "[[" + ",".join(f"{numbers.uniform(-0.1, 0.1):.8f}" for _ in range(330)) + "]]"
        backend = _BACKEND.format(folder=folder, ports=ports, info=_INFO, vector=vector)
        stack.enter_context(nginx(LOAD_CORE, "backend", backend, folder))
        contestants = {"gateway": free_port(), "nginx": free_port()}
        replicas = [part for port in ports for part in ("--replica", f"http://127.0.0.1:{port}")]
        command = [sys.executable, "-m", "embedfleet", "gateway", *replicas, "--log-level", "warning"]
        command += ["--host", "127.0.0.1", "--port", str(contestants["gateway"])]
        pids = {"gateway": stack.enter_context(running(PROXY_CORE, command))}
        config = _PROXY.format(folder=folder, ports=ports, port=contestants["nginx"])
        pids["nginx"] = stack.enter_context(nginx(PROXY_CORE, "proxy", config, folder))
        for port in contestants.values():
            wait_for(port, lua)
        for number in range(rounds):
            for name, port in contestants.items():
                load(port, 1, lua)
                before = cpu_s(pids[name])
                requests = load(port, seconds, lua)
                cost = (cpu_s(pids[name]) - before) / requests * 1e6
                figures[f"{name}_us"].append(cost)
                figures[f"{name}_rps"].append(requests / seconds)
                say(f"round {number + 1}: {name:8} {cost:6.1f} µs, {requests / seconds:7.0f} requests/s")
    return figures


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
    figures = measure(*((5, 2) if quick else (9, 5)))
    medians = {name: round(statistics.median(values), 1) for name, values in figures.items()}
    report(ratios={"cpu_over_nginx": round(medians["gateway_us"] / medians["nginx_us"], 3)}, **medians, quick=quick)


if __name__ == "__main__":
    main()
