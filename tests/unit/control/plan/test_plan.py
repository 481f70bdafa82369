"""The plan: a gateway and its replicas per service, each a verb of the command line with only what differs."""

from dataclasses import replace
from pathlib import Path

import pytest

from embedfleet.cli.verbs.engine import command as engine
from embedfleet.cli.verbs.gateway import command as gateway
from embedfleet.config.load import load
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.plan.specs import Mount, ProcessSpec, peer_url
from embedfleet.control.tei.assembly import Assembly
from embedfleet.control.tei.model import TeiModel
from embedfleet.control.tei.verdict import Verdict
from embedfleet.errors import SettingsError, UsageError


def plan(cores: int = 2, **flags: str):
    settings = load(None, {}, {key.replace("__", "."): value for key, value in flags.items()})
    return {spec.name: spec for spec in make_plan(settings, Machine(cores), sockets=Path("/s"))}


def flag(spec, name: str) -> str:
    (found,) = (word.removeprefix(f"{name}=") for word in spec.arguments if word.startswith(f"{name}="))
    return found


def test_the_default_fleet_is_two_services_of_a_gateway_and_two_replicas():
    assert list(plan()) == [
        *("embedder-gateway", "embedder-0", "embedder-1"),
        *("reranker-gateway", "reranker-0", "reranker-1"),
    ]


def test_a_gateway_gets_its_port_and_its_admin_socket():
    spec = plan()["reranker-gateway"]
    assert (spec.kind, spec.service, spec.admin) == ("balancer", "reranker", "/s/reranker.sock")
    assert (flag(spec, "--port"), flag(spec, "--host"), spec.listens) == ("8002", "0.0.0.0", ("0.0.0.0", 8002))


def test_replicas_share_the_cores_and_take_any_port():
    specs = plan(cores=7, embedder__replicas="3")
    assert [flag(specs[f"embedder-{n}"], "--worker-threads") for n in range(3)] == ["2", "2", "2"]
    assert flag(specs["reranker-0"], "--worker-threads") == "3"
    assert not any(word.startswith("--port") for word in specs["embedder-0"].arguments)


def test_an_option_that_was_set_reaches_the_process_that_it_is_for():
    specs = plan(
        reranker__auto_truncate="false",
        reranker__max_request_texts="5",
        reranker__payload_limit_bytes="77",
        fleet__stop_grace_s="3",
        fleet__drain_s="2",
    )
    replica, balancer = specs["reranker-1"], specs["reranker-gateway"]
    assert flag(replica, "--task") == "rerank"
    assert flag(replica, "--auto-truncate") == "false"
    assert flag(balancer, "--max-request-texts") == "5"
    assert flag(balancer, "--drain-s") == "2.0"
    for spec in (replica, balancer):
        assert flag(spec, "--payload-limit-bytes") == "77"
        assert flag(spec, "--stop-grace-s") == "3.0"
    assert not any(word.startswith("--max-request-texts") for word in specs["embedder-gateway"].arguments)


def test_replicas_share_their_packed_weights_where_there_are_several():
    assert flag(plan()["embedder-1"], "--packed-dir").endswith(".embedfleet/packed")
    assert flag(plan(embedder__packed_dir="/elsewhere")["embedder-1"], "--packed-dir") == "/elsewhere"
    for settings in ({"embedder__replicas": "1"}, {"embedder__packed_dir": ""}):
        assert flag(plan(**settings)["embedder-0"], "--packed-dir") == ""


def test_the_verbs_take_every_flag_of_the_plan():
    """A text may begin with a dash, or be anything else."""
    specs = plan(embedder__default_prompt="-x --host ", embedder__access_log="true", embedder__no_replica_s="0.5")
    specs["contained"] = docker_plan()["gateway-embedder-lb"]
    verbs = {"engine": engine, "gateway": gateway}
    for spec in specs.values():
        verb, *arguments = spec.arguments
        values = verbs[verb].make_context(verb, arguments).params
        if spec.name == "embedder-0":
            assert (values["default_prompt"], values["host"]) == ("-x --host ", "127.0.0.1")
        if spec.name == "embedder-gateway":
            assert (values["access_log"], values["no_replica_s"]) == (True, 0.5)


T4S = tuple(Gpu(number, f"GPU-{number}", "Tesla T4", 75, 16 << 30, 15 << 30) for number in range(2))
AS_IT_IS = TeiModel(Verdict(max_input_length=8192))


def docker_plan(gpus=T4S, *, own_image: bool = True, reaches: bool = True, embedder: TeiModel = AS_IT_IS, **flags: str):
    settings = load(None, {}, {key.replace("__", "."): value for key, value in flags.items()})
    machine = Machine(
        16,
        gpus,
        "550.1",
        has_own_image=own_image,
        can_reach_containers=reaches,
        tei_models={"embedder": embedder, "reranker": AS_IT_IS},
    )
    return {spec.name: spec for spec in make_plan(settings, machine, sockets=Path("/s"))}


def test_on_gpus_the_fleet_is_the_scripts():
    specs = docker_plan()
    assert list(specs) == [
        *("bge-embedder-tei-0", "bge-embedder-tei-1", "gateway-embedder-lb"),
        *("bge-reranker-tei-0", "bge-reranker-tei-1", "gateway-reranker-lb"),
    ]
    for service, model in (("embedder", "bge-m3"), ("reranker", "bge-reranker-v2-m3")):
        for number in range(2):
            spec = specs[f"bge-{service}-tei-{number}"]
            folder = str(Path.cwd() / "models" / model)
            assert (spec.gpu, spec.network, spec.publish) == (f"GPU-{number}", "tei-net", None)
            assert spec.image == "ghcr.io/huggingface/text-embeddings-inference:turing-1.9.3"
            assert flag(spec, "--model-id") == folder
            assert flag(spec, "--tokenization-workers") == "4", "16 cores over 4 replicas"
            assert Mount(folder, folder) in spec.mounts
            assert Mount(str(Path.cwd() / "data"), "/data", read_only=False) in spec.mounts
            assert spec.environment == {"USE_FLASH_ATTENTION": "False"}


def test_what_tei_cannot_read_is_mounted_over_as_a_folder_of_our_own():
    verdict = Verdict(
        files={"1_Pooling/config.json": b"{}"}, flags={"--default-prompt-name": "query"}, max_input_length=64
    )
    links = {"config.json": "/run/embedfleet/model/config.json", "model.safetensors": "/run/embedfleet/linked/0"}
    assembly = Assembly(verdict.files, links, {"/hub/blobs/1": "/run/embedfleet/linked/0"})
    before, after = docker_plan(), docker_plan(embedder=TeiModel(verdict, assembly))
    spec, folder = after["bge-embedder-tei-0"], str(Path.cwd() / "models" / "bge-m3")
    assert spec.mounts[:3] == (
        Mount(str(Path.cwd() / ".embedfleet/tei" / assembly.key), folder),
        Mount(folder, "/run/embedfleet/model"),
        Mount("/hub/blobs/1", "/run/embedfleet/linked/0"),
    )
    assert flag(spec, "--model-id") == folder
    assert flag(spec, "--default-prompt-name") == "query"
    assert not spec.sees_folder_as_it_is
    former = before["bge-embedder-tei-0"]
    assert former.sees_folder_as_it_is
    assert former.fingerprint != spec.fingerprint, "it is another container"
    assert former.computes != spec.computes, "and another model"
    others = {**verdict.files, "1_Pooling/config.json": b"{ }"}
    other = TeiModel(replace(verdict, files=others), replace(assembly, files=others))
    changed = docker_plan(embedder=other)["bge-embedder-tei-0"]
    assert changed.fingerprint != spec.fingerprint
    assert changed.computes != spec.computes
    assert before["bge-reranker-tei-0"].fingerprint == after["bge-reranker-tei-0"].fingerprint


def test_nginx_has_the_scripts_name_and_publishes_the_port():
    spec = docker_plan(embedder__balancer="nginx")["nginx-embedder-lb"]
    assert (spec.image, spec.port, spec.publish) == ("nginx:latest", 80, ("0.0.0.0", 8001))
    assert spec.mounts == (Mount(str(Path.cwd() / ".embedfleet/nginx/embedder"), "/etc/nginx/conf.d"),)


def test_a_gateways_container_is_told_of_its_replicas_in_a_folder():
    spec = docker_plan()["gateway-reranker-lb"]
    assert spec.mounts == (Mount(str(Path.cwd() / ".embedfleet/gateway/reranker"), "/run/embedfleet", read_only=False),)
    assert flag(spec, "--admin") == "/run/embedfleet/admin.sock"
    assert flag(spec, "--members") == "/run/embedfleet/members.json"
    assert spec.publish == ("0.0.0.0", 8002)


def test_it_stays_the_same_whoever_its_replicas_are():
    before, after = docker_plan(), docker_plan(embedder__replicas="5")
    assert before["gateway-embedder-lb"].fingerprint == after["gateway-embedder-lb"].fingerprint
    assert peer_url(after["bge-embedder-tei-4"]) == "http://bge-embedder-tei-4:80"


def test_without_our_image_the_gateway_is_a_process_and_the_replicas_are_on_the_loopback():
    specs = docker_plan(own_image=False)
    assert isinstance(specs["embedder-gateway"], ProcessSpec)
    assert specs["bge-embedder-tei-0"].publish == ("127.0.0.1", 0)


def test_where_containers_are_out_of_reach_they_are_published():
    assert docker_plan(reaches=False)["bge-embedder-tei-0"].publish == ("127.0.0.1", 0)


def test_every_gpu_gets_the_image_for_its_kind():
    mixed = (T4S[0], Gpu(1, "GPU-h", "NVIDIA H100", 90, 80 << 30, 79 << 30))
    specs = docker_plan(mixed)
    assert specs["bge-embedder-tei-0"].image.endswith(":turing-1.9.3")
    assert specs["bge-embedder-tei-1"].image.endswith(":hopper-1.9.3")
    assert specs["bge-embedder-tei-1"].environment == {}


def test_devices_and_replicas_are_as_wanted():
    specs = docker_plan(embedder__devices="GPU-1", embedder__replicas="3")
    assert [specs[f"bge-embedder-tei-{n}"].gpu for n in range(3)] == ["GPU-1"] * 3
    assert [specs[f"bge-reranker-tei-{n}"].gpu for n in range(2)] == ["GPU-0", "GPU-1"]


def test_a_changed_setting_changes_only_the_containers_that_it_touches():
    before, after = docker_plan(), docker_plan(embedder__max_client_batch_size="64")
    changed = {name for name in before if before[name].fingerprint != after[name].fingerprint}
    assert changed == {"bge-embedder-tei-0", "bge-embedder-tei-1"}


def test_where_an_images_tar_lies_is_no_change():
    before, after = docker_plan(), docker_plan(fleet__images_dir="elsewhere")
    assert {name: spec.fingerprint for name, spec in before.items()} == {
        name: spec.fingerprint for name, spec in after.items()
    }


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
        ({"fleet__tei_version": "new"}, "is no release of TEI"),
        ({"embedder__devices": "9"}, "there is no GPU 9"),
    ],
)
def test_what_a_container_cannot_be_given_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        docker_plan(**flags)


def test_our_own_image_serves_the_builtin_model_by_teis_flags():
    spec = docker_plan((), embedder__driver="docker", embedder__image="embedfleet:latest")["bge-embedder-tei-1"]
    assert spec.arguments[:2] == ("tei", "--model-id=builtin")
    assert (spec.gpu, spec.image) == ("", "embedfleet:latest")


def test_no_two_children_of_any_machine_have_one_name():
    """The settings are checked for it; whatever they let through is refused here."""
    flags = {"embedder__upstream": "x", "reranker__upstream": "x"}
    sound = load(None, {}, {"embedder.upstream": "x"})
    one, two = sound.services
    alike = replace(sound, services=(one, replace(two, options=replace(two.options, upstream="x"))))
    machine = Machine(16, T4S, "550.1", tei_models={"embedder": AS_IT_IS, "reranker": AS_IT_IS})
    with pytest.raises(UsageError, match=r"x-0 is of services\.embedder and of services\.reranker"):
        make_plan(alike, machine, sockets=Path("/s"))
    with pytest.raises(SettingsError, match="x-0 would be a replica"):
        docker_plan(**flags)


def test_what_changes_the_vectors_of_a_model_is_part_of_what_a_replica_computes():
    """And nothing else is: replicas that compute the same are replaced in turn."""
    computes = [
        docker_plan(**flags)["bge-embedder-tei-0"].computes
        for flags in (
            {},
            {"embedder__max_concurrent_requests": "7", "fleet__tei_version": "1.9.2"},
            {"embedder__pooling": "mean"},
            {"embedder__default_prompt": "query: "},
            {"embedder__default_prompt": "passage: "},
            {"embedder__default_prompt_name": "query"},
        )
    ]
    assert computes[0] == computes[1]
    assert len(set(computes[1:])) == 5
    assert "passage: " not in "".join(computes), "a label tells nobody a prompt"
