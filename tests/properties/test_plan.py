"""The plan of a fleet is consistent for any settings and any machine."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.config.load import load
from embedfleet.config.settings import Settings
from embedfleet.control.host.gpu import FAMILIES, Gpu
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, ProcessSpec, RemoteSpec
from embedfleet.errors import UsageError

CAPABILITIES = [family.capability for family in FAMILIES if family.capability]

gpus = st.lists(st.sampled_from(CAPABILITIES), max_size=5).map(
    lambda found: tuple(Gpu(n, f"GPU-{n}", "a GPU", capability, 0, 0) for n, capability in enumerate(found))
)
machines = st.builds(
    Machine, cores=st.integers(1, 64), gpus=gpus, has_own_image=st.booleans(), can_reach_containers=st.booleans()
)
replicas = st.sampled_from(["auto", "1", "2", "3", "7", "http://a:1", "http://a:1/,http://b:2"])
choices = {
    "replicas": replicas,
    "driver": st.sampled_from(["auto", "process", "docker"]),
    "balancer": st.sampled_from(["gateway", "nginx"]),
    "balancer_in": st.sampled_from(["auto", "process", "container"]),
    "devices": st.sampled_from(["auto", "0", "1,0", "GPU-1"]),
    "worker_threads": st.sampled_from(["auto", "3"]),
    "tokenization_workers": st.sampled_from(["auto", "2"]),
}
keys = {f"{service}.{option}": values for service in ("embedder", "reranker") for option, values in choices.items()}
settings = st.fixed_dictionaries({}, optional=keys).map(lambda flags: load(None, {}, flags))


def plan_of(found: Settings, machine: Machine) -> list[ChildSpec]:
    """The plan; empty for settings that contradict the machine."""
    try:
        return make_plan(found, machine, sockets=Path("/s"))
    except UsageError as error:
        message = error.message
    assert "there is no GPU" in message or "balancer_in is container" in message
    return []


def replicas_of(plan: list[ChildSpec], service: str) -> list[ChildSpec]:
    return [spec for spec in plan if spec.service == service and spec.kind == "replica"]


@given(settings, machines)
def test_names_and_addresses_are_unique_and_a_plan_is_made_the_same_again(found, machine):
    plan = plan_of(found, machine)
    assert len({spec.name for spec in plan}) == len(plan)
    published = [spec.publish for spec in plan if isinstance(spec, ContainerSpec) and spec.publish]
    listened = [spec.listens for spec in plan if isinstance(spec, ProcessSpec) and spec.listens]
    ports = [port for _, port in (*published, *listened) if port]
    assert len(set(ports)) == len(ports)
    assert plan_of(found, machine) == plan


@given(settings, machines)
def test_every_service_has_one_balancer_which_starts_when_it_can_find_its_replicas(found, machine):
    plan = plan_of(found, machine)
    for service in found.services if plan else ():
        own = [spec for spec in plan if spec.service == service.name]
        (balancer,) = [spec for spec in own if spec.kind == "balancer"]
        assert len(own) > 1
        assert own.index(balancer) == (len(own) - 1 if isinstance(balancer, ContainerSpec) else 0)
        if isinstance(balancer, ContainerSpec):
            assert not any(isinstance(spec, ProcessSpec) for spec in own)
            assert balancer.publish == (service.options.host, service.options.port)


@given(settings, machines)
def test_gpus_are_used_evenly_and_once_each_if_the_number_is_left_to_us(found, machine):
    plan = plan_of(found, machine)
    for service in found.services if plan else ():
        used = Counter(spec.gpu for spec in replicas_of(plan, service.name) if isinstance(spec, ContainerSpec))
        if not machine.gpus:
            assert set(used) <= {""}
            continue
        assert set(used) <= {gpu.uuid for gpu in machine.gpus}
        assert max(used.values(), default=0) - min(used.values(), default=0) <= 1
        if service.options.replicas == "auto":
            assert set(used.values()) <= {1}
            if used and service.options.devices == "auto":
                assert set(used) == {gpu.uuid for gpu in machine.gpus}


@given(settings, machines)
def test_cores_are_shared_by_processes_and_a_replica_is_published_if_it_is_out_of_reach(found, machine):
    plan = plan_of(found, machine)
    for service in found.services if plan else ():
        own = replicas_of(plan, service.name)
        threads = [
            int(word.partition("=")[2])
            for spec in own
            if isinstance(spec, ProcessSpec)
            for word in spec.arguments
            if word.startswith("--worker-threads=")
        ]
        if service.options.worker_threads == "auto":
            assert sum(threads) <= max(machine.cores, len(threads))
        (balancer,) = [spec for spec in plan if spec.service == service.name and spec.kind == "balancer"]
        is_near = isinstance(balancer, ContainerSpec) and machine.can_reach_containers
        for spec in own:
            if isinstance(spec, ContainerSpec):
                assert spec.publish == (None if is_near else ("127.0.0.1", 0))
            else:
                assert isinstance(spec, ProcessSpec | RemoteSpec)
