"""Ports are checked before anything is started; each port in use is reported with its setting."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from embedfleet.config.load import load
from embedfleet.control.preflight.ports import check_ports, held_ports
from embedfleet.errors import UsageError
from tests.unit.control.docker.test_container import LOADING

BALANCER = replace(LOADING, kind="balancer")


def services(**flags: str):
    return load(None, {}, {key.replace("__", "."): value for key, value in flags.items()}).services


def test_every_taken_port_is_named_with_its_setting():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
        with pytest.raises(UsageError) as caught:
            check_ports(services(embedder__port=str(ports[0]), reranker__port=str(ports[1])))
    for port, name in zip(ports, ("embedder", "reranker"), strict=True):
        assert f"port {port} (services.{name}.port) is in use" in caught.value.message


def test_free_ports_pass_and_stay_free():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
    wanted = services(
        embedder__port=str(ports[0]),
        reranker__port=str(ports[1]),
        embedder__host="127.0.0.1",
        reranker__host="127.0.0.1",
    )
    check_ports(wanted)
    check_ports(wanted)


def test_an_address_of_another_machine_is_named():
    with pytest.raises(UsageError, match=r"port 8001 \(services.embedder.port\) cannot be bound \("):
        check_ports(services(embedder__host="192.0.2.1")[:1])


def test_only_the_port_of_a_running_balancer_of_ours_may_be_in_use():
    with socket.create_server(("0.0.0.0", 0)) as ours, socket.create_server(("0.0.0.0", 0)) as other:
        held = held_ports([replace(BALANCER, published=ours.getsockname()[1])])
        check_ports(services(embedder__port=str(ours.getsockname()[1]))[:1], held=held)
        with pytest.raises(UsageError, match="is in use"):
            check_ports(services(embedder__port=str(other.getsockname()[1]))[:1], held=held)


@pytest.mark.parametrize("changes", [{"status": "exited"}, {"kind": "replica"}, {"published": 0}])
def test_containers_without_a_published_port_hold_none(changes):
    one, other = replace(BALANCER, published=8001), replace(BALANCER, **({"published": 8002} | changes))
    assert held_ports([one, other]) == {8001}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_port_that_only_the_daemon_may_bind_is_accepted_unless_it_is_in_use():
    (embedder,) = services(embedder__port="443", embedder__host="127.0.0.9")[:1]
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    if int(lowest) <= 443:
        pytest.skip("anybody may bind it here")
    os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match=r"port 443 .* cannot be bound"):
            check_ports([embedder])
        check_ports([embedder], by_daemon={"embedder"})
        os.seteuid(0)
        with socket.create_server(("127.0.0.9", 443)):
            os.seteuid(65534)
            with pytest.raises(UsageError, match=r"port 443 .* is in use"):
                check_ports([embedder], by_daemon={"embedder"})
    finally:
        os.seteuid(0)
