"""Ports are asked for before anything is started; all that are taken are named with their settings."""

import socket

import pytest

from embedfleet.config.load import load
from embedfleet.control.ports import check_ports
from embedfleet.errors import UsageError


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


def test_an_address_that_is_not_this_machines_is_named():
    with pytest.raises(UsageError, match=r"port 8001 \(services.embedder.port\) cannot be bound \("):
        check_ports(services(embedder__host="192.0.2.1")[:1])
