"""The plan has a balancer and replicas for each service; settings that contradict the machine are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from embedfleet.config.load import load
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.plan.specs import ProcessSpec
from embedfleet.errors import SettingsError, UsageError
from tests.services.plans import AS_IT_IS, T4S, docker_plan, plan


def test_the_default_fleet_is_two_services_of_a_gateway_and_two_replicas():
    assert list(plan()) == [
        *("embedder-gateway", "embedder-0", "embedder-1"),
        *("reranker-gateway", "reranker-0", "reranker-1"),
    ]


def test_without_our_image_the_gateway_is_a_process_and_the_replicas_are_on_the_loopback():
    specs = docker_plan(own_image=False)
    assert isinstance(specs["embedder-gateway"], ProcessSpec)
    assert specs["bge-embedder-tei-0"].publish == ("127.0.0.1", 0)


def test_remote_replicas_are_named_and_not_started():
    specs = docker_plan((), embedder__replicas="http://a:8080, http://b:8080/")
    assert [specs[f"bge-embedder-tei-{n}"].url for n in range(2)] == ["http://a:8080", "http://b:8080"]
    assert isinstance(specs["embedder-gateway"], ProcessSpec)


def test_a_balancer_in_a_container_cannot_reach_processes():
    with pytest.raises(UsageError, match="balancer_in is container, but its replicas are processes"):
        docker_plan((), embedder__balancer_in="container")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"embedder__model": "BAAI/bge-m3"}, "is a hub id: containers get folders"),
        ({"embedder__model": "builtin"}, "is builtin, which TEI's containers do not have"),
        ({"fleet__tei_version": "new"}, "is not a release of TEI"),
        ({"embedder__devices": "9"}, "there is no GPU 9"),
    ],
)
def test_settings_that_a_container_cannot_serve_are_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        docker_plan(**flags)


def test_no_two_children_of_any_machine_have_one_name():
    """The check of the settings finds this first; the plan refuses what that check misses."""
    flags = {"embedder__upstream": "x", "reranker__upstream": "x"}
    sound = load(None, {}, {"embedder.upstream": "x"})
    one, two = sound.services
    alike = replace(sound, services=(one, replace(two, options=replace(two.options, upstream="x"))))
    machine = Machine(16, T4S, "550.1", tei_models={"embedder": AS_IT_IS, "reranker": AS_IT_IS})
    with pytest.raises(UsageError, match=r"services\.embedder and services\.reranker both make x-0"):
        make_plan(alike, machine, sockets=Path("/s"))
    with pytest.raises(SettingsError, match="x-0 would name a replica"):
        docker_plan(**flags)
