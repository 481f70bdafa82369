"""``python -m bench.cache [--quick]``: what the gateway's cache saves, and how much faster it makes the replicas.

``hit`` is the processor time of ``embedfleet gateway`` with ``--gateway-cache-mb`` for a text that it has.
``forwarded`` is that of a gateway without a cache, whose replicas are nginx with one JSON vector of 4 KB as in
`bench.gateway`; ``forwarded_apart`` has ``--coalesce false``. ``miss`` is that of a gateway with a cache for texts that
are all new. wrk sends on 64 connections; the proxy has core 0 alone, backend and wrk share core 1. Rounds interleave
them.

Then the replicas have a device each: two modelled TEIs (`bench.fake_tei`) that take 12 ms a batch and 26.7 µs a token.
Four of every five texts were asked before. ``alone`` is nginx least_conn in front of the replicas, ``cached`` the
gateway with its cache. The figure is the requests per second that wrk gets on 64 connections.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from bench.fake_tei.processes import FakesPlan
from bench.gateway import CONNECTIONS, NGINX, PROXY_CORE, Proxy, backend, cost, nginx, running, start_ours, wait_for
from bench.measuring.process import free_port
from bench.measuring.report import report, say
from bench.measuring.wrk import LOAD_CORE, load
from embedfleet.load.plan import request_bytes
from embedfleet.simulation.batch_cost import BatchCost

_CACHE = ("--gateway-cache-mb", "64")
_TEXT = "x" * 87
_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local number = 0
request = function()
    number = number + 1
    %s
end
"""
_NEW = _LUA % """return wrk.format(nil, nil, nil, string.format('{"inputs":"%087d"}', number))"""
_MIXED = (
    _LUA
    % """if number % 5 == 0 then
        return wrk.format(nil, nil, nil, string.format('{"inputs":"once %d %d WORDS"}', os.time(), number))
    end
    return wrk.format(nil, nil, nil, string.format('{"inputs":"often %d WORDS"}', number % 1000))
""".replace("WORDS", "word " * 80)
)
_WARM = (
    _LUA
    % """return wrk.format(nil, nil, nil, string.format('{"inputs":"often %d WORDS"}', number % 1000))
""".replace("WORDS", "word " * 80)
)
_COST = BatchCost(a_s=0.012, b_s=26.7e-6, batch_tokens=16_384)
_REPLICAS = 2


def costs(rounds: int, seconds: int) -> dict[str, float]:
    """Processor time per request in microseconds of each way, the median over the rounds."""
    figures: dict[str, list[float]] = defaultdict(list)
    with backend() as (folder, ports, lua), ExitStack() as stack:
        new = folder / "new.lua"
        new.write_text(_NEW)
        plain = start_ours(stack, ports, "forwarded", None)
        apart = start_ours(stack, ports, "forwarded_apart", None, "--coalesce", "false")
        cached = start_ours(stack, ports, "hit", None, *_CACHE)
        ways = ((plain, lua, "forwarded"), (apart, lua, "forwarded_apart"), (cached, lua, "hit"), (cached, new, "miss"))
        for proxy, _, _ in ways:
            wait_for(proxy, request_bytes("/embed", {"inputs": _TEXT}))
        for number in range(rounds):
            for proxy, script, name in ways:
                load(proxy.port, CONNECTIONS, 1, script)
                figure, _, requests = cost(proxy, CONNECTIONS, seconds, script)
                figures[name].append(figure)
                say(f"round {number + 1}: {name:15} {figure:6.1f} µs, {requests / seconds:7.0f} requests/s")
    return {name: round(statistics.median(values), 1) for name, values in figures.items()}


def rates(rounds: int, seconds: int) -> dict[str, float]:
    """Requests per second of each way, the median over the rounds; four of five texts were asked before."""
    figures: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mixed, warm = folder / "mixed.lua", folder / "warm.lua"
        mixed.write_text(_MIXED)
        warm.write_text(_WARM)
        ports = [free_port() for _ in range(_REPLICAS)]
        plan = FakesPlan(_COST, count=_REPLICAS)
        stack.enter_context(running(LOAD_CORE, plan.command(ports, free_port())))
        port = free_port()
        config = NGINX.format(folder=folder, ports=ports, port=port)
        nginx_pid = stack.enter_context(nginx(PROXY_CORE, "proxy", config, folder))
        ways = (Proxy("alone", nginx_pid, port), start_ours(stack, ports, "cached", None, *_CACHE))
        for proxy in ways:
            wait_for(proxy, request_bytes("/embed", {"inputs": _TEXT}))
        load(ways[1].port, CONNECTIONS, 3 * seconds, warm)
        for number in range(rounds):
            for proxy in ways:
                requests, _ = load(proxy.port, CONNECTIONS, seconds, mixed)
                figures[proxy.name].append(requests / seconds)
                say(f"round {number + 1}: {proxy.name:15} {requests / seconds:7.0f} requests/s, 80 % asked before")
    return {name: round(statistics.median(values), 1) for name, values in figures.items()}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    quick = parser.parse_args().quick
    rounds, seconds = (1, 1) if quick else (5, 3)
    found, rate = costs(rounds, seconds), rates(rounds, seconds)
    ratios = {
        "hit_over_forwarded": found["hit"] / found["forwarded"],
        "hit_over_forwarded_apart": found["hit"] / found["forwarded_apart"],
        "miss_over_forwarded": found["miss"] / found["forwarded"],
        "cached_rate_over_alone": rate["cached"] / rate["alone"],
    }
    told = {name: round(ratio, 3) for name, ratio in ratios.items()}
    report(ratios=told, cpu_us=found, requests_per_s=rate, quick=quick)


if __name__ == "__main__":
    main()
