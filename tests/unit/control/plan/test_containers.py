"""Replicas and balancers as containers have the script's names, images, mounts and networks."""

from dataclasses import replace
from pathlib import Path

from embedfleet.control.host.gpu import Gpu
from embedfleet.control.plan.specs import Mount, peer_url
from embedfleet.control.tei.assembly import Assembly
from embedfleet.control.tei.model import TeiModel
from embedfleet.control.tei.verdict import Verdict
from tests.services.plans import T4S, docker_plan, flag


def test_a_corrected_folder_is_mounted_over_files_that_tei_cannot_read():
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


def test_a_gateways_container_reads_its_replicas_from_a_folder():
    spec = docker_plan()["gateway-reranker-lb"]
    assert spec.mounts == (Mount(str(Path.cwd() / ".embedfleet/gateway/reranker"), "/run/embedfleet", read_only=False),)
    assert flag(spec, "--admin") == "/run/embedfleet/admin.sock"
    assert flag(spec, "--members") == "/run/embedfleet/members.json"
    assert spec.publish == ("0.0.0.0", 8002)


def test_a_gateways_container_keeps_its_cache_in_a_folder_that_outlives_it():
    kept = docker_plan(reranker__gateway_cache_mb="64", reranker__gateway_cache_keep="true")["gateway-reranker-lb"]
    assert kept.mounts[1] == Mount(
        str(Path.cwd() / ".embedfleet/answers/reranker"), "/var/lib/embedfleet", read_only=False
    )
    assert flag(kept, "--cache-file") == "/var/lib/embedfleet/answers"


def test_a_change_of_replicas_does_not_replace_the_gateway():
    before, after = docker_plan(), docker_plan(embedder__replicas="5")
    assert before["gateway-embedder-lb"].fingerprint == after["gateway-embedder-lb"].fingerprint
    assert peer_url(after["bge-embedder-tei-4"]) == "http://bge-embedder-tei-4:80"


def test_containers_out_of_reach_are_published_on_the_loopback():
    assert docker_plan(reaches=False)["bge-embedder-tei-0"].publish == ("127.0.0.1", 0)


def test_every_gpu_gets_the_image_for_its_kind():
    mixed = (T4S[0], Gpu(1, "GPU-h", "NVIDIA H100", 90, 80 << 30, 79 << 30))
    specs = docker_plan(mixed)
    assert specs["bge-embedder-tei-0"].image.endswith(":turing-1.9.3")
    assert specs["bge-embedder-tei-1"].image.endswith(":hopper-1.9.3")
    assert specs["bge-embedder-tei-1"].environment == {}


def test_devices_and_replicas_follow_the_settings():
    specs = docker_plan(embedder__devices="GPU-1", embedder__replicas="3")
    assert [specs[f"bge-embedder-tei-{n}"].gpu for n in range(3)] == ["GPU-1"] * 3
    assert [specs[f"bge-reranker-tei-{n}"].gpu for n in range(2)] == ["GPU-0", "GPU-1"]


def test_a_changed_setting_changes_only_the_containers_that_it_touches():
    before, after = docker_plan(), docker_plan(embedder__max_client_batch_size="64")
    changed = {name for name in before if before[name].fingerprint != after[name].fingerprint}
    assert changed == {"bge-embedder-tei-0", "bge-embedder-tei-1"}


def test_the_folder_of_image_tars_is_not_part_of_the_fingerprint():
    before, after = docker_plan(), docker_plan(fleet__images_dir="elsewhere")
    assert {name: spec.fingerprint for name, spec in before.items()} == {
        name: spec.fingerprint for name, spec in after.items()
    }


def test_our_own_image_serves_the_builtin_model_by_teis_flags():
    spec = docker_plan((), embedder__driver="docker", embedder__image="embedfleet:latest")["bge-embedder-tei-1"]
    assert spec.arguments[:2] == ("tei", "--model-id=builtin")
    assert (spec.gpu, spec.image) == ("", "embedfleet:latest")


def test_settings_that_change_vectors_are_part_of_computes():
    """Nothing else is part of it: replicas that compute the same are replaced one after the other."""
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
    assert "passage: " not in "".join(computes), "a label does not disclose a prompt"


def test_on_gpus_the_default_fleet_equals_that_of_the_script():
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
