"""``python -m bench.gateway [--quick] [--compiled FOLDER] [--before CHECKOUT]``: a gateway's CPU time per request.

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

With ``--before`` only ours is measured, in this version and in another checkout's. Each round starts both anew and
loads them in turns: now, before, before, now; in the next round the other way round (`bench.measuring.paired`).
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
    command = ["taskset", "-c", core, *command]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, env=environment(path))
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


def cost(proxy: "Proxy", connections: int, seconds: int, lua: Path) -> tuple[float, float, int]:
    """CPU time per request and the median wait, both in microseconds, and how many requests there were."""
    before = cpu_s(proxy.pid)
    requests, wait_us = load(proxy.port, connections, seconds, lua)
    return (cpu_s(proxy.pid) - before) / requests * 1e6, wait_us, requests


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


@contextmanager
def backend() -> Iterator[tuple[Path, list[int], Path]]:
    """The replicas: a folder for files, two ports, and wrk's script for them."""
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
    """A figure per round, and name → KB when idle.

    ``NAME_us`` is CPU per request, ``NAME_rps`` requests a second; ``NAME_alone_us`` and ``NAME_alone_p50_us`` CPU per
    request and the median wait of one client.
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
    """One way to run ours, and the folders that Python finds it in: now and before."""

    name: str
    paths: tuple[Path, Path]
    flags: tuple[str, ...] = ()


def rows(sources: tuple[Path, Path], compiled: tuple[Path, Path] | None) -> list[Row]:
    """All that is compared of two versions."""
    apart = ("--coalesce", "false")
    found = [Row("gateway", sources), Row("apart", sources, apart)]
    return found + ([] if compiled is None else [Row("compiled", compiled), Row("compiled_apart", compiled, apart)])


def compare(wanted: list[Row], rounds: int, seconds: int) -> dict[str, list[tuple[float, float]]]:
    """Two versions side by side, by the names that `measure` has.

    Args:
        wanted: what is run.
        rounds: of both versions each.
        seconds: how often a round's turns are taken, each of a second, by many clients and then by one.
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
    """Processes of their own for each round: what one owes to its addresses and hashes is one round's."""
    with ExitStack() as stack:
        both = [start_ours(stack, ports, row.name, path, *row.flags) for path in row.paths]
        for proxy in both:
            wait_for(proxy, request_bytes("/embed", {"inputs": _TEXT}))
            load(proxy.port, CONNECTIONS, 1, lua)
        for connections, name in ((CONNECTIONS, ""), (1, "_alone")):
            costs: tuple[list[tuple[float, float, int]], ...] = ([], [])
            for turn in turns(number) * seconds:  # a core's speed changes from second to second
                costs[turn].append(cost(both[turn], connections, 1, lua))
            now, before = (_together(some) for some in costs)
            yield f"{row.name}{name}_us", (now[0], before[0])
            if connections == 1:
                yield f"{row.name}{name}_p50_us", (now[1], before[1])


def _together(costs: list[tuple[float, float, int]]) -> tuple[float, float]:
    """CPU per request and wait of several turns."""
    requests = sum(count for _, _, count in costs)
    return sum(cpu * count for cpu, _, count in costs) / requests, statistics.mean(wait for _, wait, _ in costs)


def ratios_of(medians: dict[str, float]) -> dict[str, float]:
    """CPU per request over nginx's, of all of ours that were measured, with many clients and with one."""
    ratios: dict[str, float] = {}
    for name, title in _RATIOS.items():
        for one, of in (("", "us"), ("one_client_", "alone_us")):
            if f"{name}_{of}" in medians:
                ratios[f"{title}_{one}over_nginx"] = round(medians[f"{name}_{of}"] / medians[f"nginx_{of}"], 3)
    return ratios


def main() -> None:
    """See the module."""
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
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two minutes; with --before one round")
    parser.add_argument("--compiled", type=Path, help="what scripts/compile made, measured as well")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="measure ours and this version of ours alone")
    parser.add_argument("--before-compiled", type=Path, metavar="FOLDER", help="what scripts/compile made of that")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="with --before; forty seconds each, compiled twice that"
    )
    parser.add_argument(
        "--only", metavar="A,B", type=names_of(_OURS), help=f"with --before: of {', '.join(_OURS)}; compiled as above"
    )
    given = parser.parse_args()
    if given.before and (given.compiled is None) != (given.before_compiled is None):
        parser.error("with --before, --compiled and --before-compiled go together")
    return given


def tell_both(given: argparse.Namespace) -> None:
    """Ours now and before."""
    compiled = given.compiled and (given.compiled.absolute(), given.before_compiled.absolute())
    wanted = rows(versions(given.before), compiled)
    if given.only:
        wanted = [row for row in wanted if row.name in given.only]
    pairs = compare(wanted, *((1, 1) if given.quick else (given.rounds, 2)))
    say("\nnow over before\n" + table(pairs))
    report(**told(pairs), quick=given.quick)


def tell_all(given: argparse.Namespace) -> None:
    """Ours and rivals."""
    quick: bool = given.quick
    compiled: Path | None = given.compiled and given.compiled.absolute()
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
