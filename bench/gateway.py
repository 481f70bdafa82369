"""``python -m bench.gateway [--quick] [--compiled FOLDER] [--before CHECKOUT]``: CPU time per request of a gateway.

All proxies have the same backend: nginx on two ports, which answers each text of a ``POST /embed`` with one JSON vector
of 4 KB. ``gateway`` is ``embedfleet gateway`` with its defaults; ``apart`` has ``--coalesce false``, so that each text
is sent alone. ``--compiled`` adds both, compiled by ``scripts/compile``. ``nginx`` has one worker, least_conn and kept
upstream connections. ``haproxy`` has one thread, leastconn and kept connections; its figures are null if it is not
installed. ``relay`` only forwards bytes (`bench.relay`). wrk sends bodies of 100 bytes on 64 connections. Then a single
client, which waits for each answer, shows the latency of an idle proxy. The proxy has core 0 alone; backend and wrk
share core 1. CPU time is user and system time of the proxy's processes (/proc/PID/stat), divided by wrk's count of
requests. Rounds interleave the proxies; ratios are of medians. Memory is the growth of a proxy's proportional set size
by 1,000 idle kept connections.

With ``--before`` only our gateway is measured, in this version and in another checkout's. Each round starts both anew
and loads them in turns: now, before, before, now; the next round: before, now, now, before (`bench.measuring.paired`).
"""

import argparse
import os
import random
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
from bench.measuring.memory import allow_connections, answers, idle_kb
from bench.measuring.names import names_of
from bench.measuring.paired import ROUNDS, table, told, turns
from bench.measuring.process import free_port
from bench.measuring.report import missing, report, say
from bench.measuring.versions import environment, versions
from bench.measuring.wrk import LOAD_CORE, load
from embedfleet.load.plan import request_bytes
from embedfleet.system.cgroup import cores

PROXY_CORE = "0"
CONNECTIONS = 64
_OURS = ("gateway", "apart", "compiled", "compiled_apart")
_RATIOS = {
    "gateway": "cpu",
    "apart": "cpu_apart",
    "compiled": "cpu_compiled",
    "compiled_apart": "cpu_compiled_apart",
    "relay": "cpu_relay",
}  # contestant → name of its ratios
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
NGINX = """
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
_MOST_TEXTS = 32  # in one call
_INFO = '{"model_id":"m","model_sha":null,"model_dtype":"float32","model_type":{"embedding":{"pooling":"cls"}}}'


@contextmanager
def running(core: str, command: list[str], path: Path | None = None) -> Iterator[int]:
    """Run a process pinned to a core, and yield its pid.

    Args:
        core: Number of the core.
        command: Command and arguments.
        path: Folder that its Python searches first.
    """
    command = ["taskset", "-c", core, *command]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, env=environment(path))
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def nginx(core: str, name: str, config: str, folder: Path) -> Iterator[int]:
    """Run an nginx with this configuration, and yield its pid."""
    file = folder / f"{name}.conf"
    file.write_text(config)
    with running(core, ["nginx", "-c", str(file), "-p", str(folder)]) as pid:
        yield pid


def cpu_s(pid: int) -> float:
    """User and system time of a process and its running children so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICK + sum(cpu_s(int(child)) for child in children)


def cost(proxy: "Proxy", connections: int, seconds: int, lua: Path) -> tuple[float, float, int]:
    """CPU time per request and median latency, both in microseconds, and the number of requests."""
    before = cpu_s(proxy.pid)
    requests, wait_us = load(proxy.port, connections, seconds, lua)
    return (cpu_s(proxy.pid) - before) / requests * 1e6, wait_us, requests


@contextmanager
def haproxy(core: str, port: int, ports: list[int], folder: Path) -> Iterator[int]:
    """Run HAProxy as `bench.mixed` does, and yield its pid."""
    contestant, site = CONTESTANTS["haproxy-lc"], Site(port, tuple(ports), folder)
    site.config.write_text(contestant.config(site))
    with running(core, list(contestant.command(site))) as pid:
        yield pid


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy."""

    name: str
    pid: int
    port: int


def wait_for(proxy: Proxy, request: bytes) -> None:
    """Wait until a proxy answers, without loading it.

    Raises:
        RuntimeError: The proxy does not answer.
    """
    deadline = time.monotonic() + 30
    while not answers(proxy.port, request):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{proxy.name} does not answer on port {proxy.port}")
        time.sleep(0.05)


def _answers() -> str:
    """Entries of nginx's map from a body's length to as many vectors as it has texts."""
    texts = {len(orjson.dumps({"inputs": [_TEXT] * count})): count for count in range(1, _MOST_TEXTS + 1)}
    return " ".join(f"{length} '[[{'],['.join(['$v'] * count)}]]';" for length, count in texts.items())


def start_ours(stack: ExitStack, ports: list[int], name: str, compiled: Path | None, *flags: str) -> Proxy:
    """Start our gateway, interpreted or compiled, with a replica for each port; ports may be repeated."""
    port = free_port()
    named = [f"m{number}=http://127.0.0.1:{at}" for number, at in enumerate(ports)]
    replicas = [part for replica in named for part in ("--replica", replica)]
    command = [sys.executable, "-m", "embedfleet", "gateway", *replicas, "--log-level", "warning"]
    command += ["--host", "127.0.0.1", "--port", str(port), *flags]
    return Proxy(name, stack.enter_context(running(PROXY_CORE, command, compiled)), port)


def start_proxies(stack: ExitStack, folder: Path, ports: list[int], compiled: Path | None) -> list[Proxy]:
    """Start all installed proxies."""
    apart = ("--coalesce", "false")
    found = [start_ours(stack, ports, "gateway", None), start_ours(stack, ports, "apart", None, *apart)]
    if compiled is not None:
        found.append(start_ours(stack, ports, "compiled", compiled))
        found.append(start_ours(stack, ports, "compiled_apart", compiled, *apart))
    port = free_port()
    relay = [sys.executable, "-m", "bench.relay", str(port), str(ports[0])]
    found.append(Proxy("relay", stack.enter_context(running(PROXY_CORE, relay)), port))
    port = free_port()
    config = NGINX.format(folder=folder, ports=ports, port=port)
    found.append(Proxy("nginx", stack.enter_context(nginx(PROXY_CORE, "proxy", config, folder)), port))
    if CONTESTANTS["haproxy-lc"].installed:
        port = free_port()
        found.append(Proxy("haproxy", stack.enter_context(haproxy(PROXY_CORE, port, ports, folder)), port))
    else:
        say("haproxy is not installed, its figures are null: apt-get install haproxy")
    return found


@contextmanager
def backend() -> Iterator[tuple[Path, list[int], Path]]:
    """Run the backend, and yield a folder for files, its two ports and wrk's script."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lua = folder / "post.lua"
        lua.write_text(_LUA % _TEXT)
        ports = [free_port(), free_port()]
        numbers = random.Random(1)
        vector = ",".join(f"{numbers.uniform(-0.1, 0.1):.8f}" for _ in range(330))
        config = _BACKEND.format(folder=folder, ports=ports, info=_INFO, vector=vector, answers=_answers())
        stack.enter_context(nginx(LOAD_CORE, "backend", config, folder))
        yield folder, ports, lua


def measure(rounds: int, seconds: int, compiled: Path | None) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Measure all proxies.

    Returns:
        Figures of each round: ``NAME_us`` is CPU time per request, ``NAME_rps`` requests per second,
        ``NAME_alone_us`` and ``NAME_alone_p50_us`` CPU time per request and median latency of a single client. And
        the memory of 1,000 idle connections by name, in KB.
    """
    figures: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        folder, ports, lua = stack.enter_context(backend())
        proxies = start_proxies(stack, folder, ports, compiled)
        request = request_bytes("/embed", {"inputs": _TEXT})
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


@dataclass(frozen=True, slots=True)
class Row:
    """A way to run our gateway, and its source folders now and before."""

    name: str
    paths: tuple[Path, Path]
    flags: tuple[str, ...] = ()


def rows(sources: tuple[Path, Path], compiled: tuple[Path, Path] | None) -> list[Row]:
    """The ways to run our gateway that are compared."""
    apart = ("--coalesce", "false")
    found = [Row("gateway", sources), Row("apart", sources, apart)]
    return found + ([] if compiled is None else [Row("compiled", compiled), Row("compiled_apart", compiled, apart)])


def compare(wanted: list[Row], rounds: int, seconds: int) -> dict[str, list[tuple[float, float]]]:
    """Measure two versions side by side; figures are named as in `measure`.

    Args:
        wanted: Ways to run our gateway.
        rounds: Number of rounds.
        seconds: Number of turns of one second per version and round, with many clients and with a single one each.
    """
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with backend() as (_, ports, lua):
        for number in range(rounds):
            for row in wanted:
                for name, pair in _round(row, number, ports, seconds, lua):
                    pairs[name].append(pair)
                    say(f"round {number + 1}: {name:24} {pair[0]:7.2f} µs, before {pair[1]:7.2f} µs")
    return pairs


def _round(
    row: Row, number: int, ports: list[int], seconds: int, lua: Path
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Measure one round with new processes, so that effects of a process's addresses and hashes stay in its round."""
    with ExitStack() as stack:
        both = [start_ours(stack, ports, row.name, path, *row.flags) for path in row.paths]
        for proxy in both:
            wait_for(proxy, request_bytes("/embed", {"inputs": _TEXT}))
            load(proxy.port, CONNECTIONS, 1, lua)
        for connections, name in ((CONNECTIONS, ""), (1, "_alone")):
            costs: tuple[list[tuple[float, float, int]], ...] = ([], [])
            for turn in turns(number) * seconds:  # A core's speed changes from second to second.
                costs[turn].append(cost(both[turn], connections, 1, lua))
            now, before = (_together(some) for some in costs)
            yield f"{row.name}{name}_us", (now[0], before[0])
            if connections == 1:
                yield f"{row.name}{name}_p50_us", (now[1], before[1])


def _together(costs: list[tuple[float, float, int]]) -> tuple[float, float]:
    """CPU time per request and latency over several turns."""
    requests = sum(count for _, _, count in costs)
    return sum(cpu * count for cpu, _, count in costs) / requests, statistics.mean(wait for _, wait, _ in costs)


def ratios_of(medians: dict[str, float]) -> dict[str, float]:
    """CPU time per request over nginx's, of each way to run our gateway, with many clients and with a single one."""
    ratios: dict[str, float] = {}
    for name, title in _RATIOS.items():
        for one, of in (("", "us"), ("one_client_", "alone_us")):
            if f"{name}_{of}" in medians:
                ratios[f"{title}_{one}over_nginx"] = round(medians[f"{name}_{of}"] / medians[f"nginx_{of}"], 3)
    return ratios


def main() -> None:
    """Run the command."""
    given = arguments()
    for tool, package in (("nginx", "nginx-light"), ("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            missing(f"{tool} is not installed", f"on Debian or Ubuntu: apt-get install {package}")
    if cores() < 2:
        missing("two cores are needed, one for the proxy and one for the load", "run it on a larger machine")
    allow_connections()
    if given.before is not None:
        tell_both(given)
    else:
        tell_all(given)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="take two minutes; with --before, one round")
    parser.add_argument("--compiled", type=Path, help="folder made by scripts/compile, measured as well")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="compare only our gateway with that of this checkout"
    )
    parser.add_argument(
        "--before-compiled", type=Path, metavar="FOLDER", help="folder made by scripts/compile from that checkout"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"number of rounds; with --before {ROUNDS} of forty seconds, twice that if compiled",
    )
    parser.add_argument(
        "--only", metavar="A,B", type=names_of(_OURS), help=f"with --before: some of {', '.join(_OURS)}"
    )
    given = parser.parse_args()
    if given.before and (given.compiled is None) != (given.before_compiled is None):
        parser.error("with --before, --compiled and --before-compiled go together")
    return given


def tell_both(given: argparse.Namespace) -> None:
    """Compare our gateway with another version and report."""
    compiled = given.compiled and (given.compiled.absolute(), given.before_compiled.absolute())
    wanted = rows(versions(given.before), compiled)
    if given.only:
        wanted = [row for row in wanted if row.name in given.only]
    rounds, seconds = (1, 1) if given.quick else (ROUNDS, 2)
    pairs = compare(wanted, given.rounds or rounds, seconds)
    say("\nnow over before\n" + table(pairs))
    report(**told(pairs), quick=given.quick)


def tell_all(given: argparse.Namespace) -> None:
    """Measure ours and the rivals and report."""
    quick: bool = given.quick
    compiled: Path | None = given.compiled and given.compiled.absolute()
    rounds, seconds = (4, 2) if quick else (9, 5)
    figures, idle = measure(given.rounds or rounds, seconds, compiled)
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
