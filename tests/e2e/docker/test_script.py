"""The system of the replaced script comes up from tars and folders, without a network."""

import json

import pytest

from tests.services.docker.images import NGINX, OWN, TEI
from tests.services.docker.site import H100, QUESTION, RANKING, T4, Site, gpus

REPLICAS = [f"bge-{service}-tei-{number}" for service in ("embedder", "reranker") for number in range(2)]


@pytest.mark.parametrize(("gpu", "kind", "family"), [("T4", T4, "turing"), ("H100", H100, "hopper")])
def test_the_scripts_system_comes_up_from_tars_behind_either_balancer(site: Site, tars, gpu, kind, family):
    site.env["FAKE_GPUS"] = gpus(kind, kind)
    (site.folder / "tei-images").symlink_to(tars)
    for image in (TEI[family], NGINX, OWN):
        site.client.images.remove(image, force=True)
    for balancer in ("gateway", "nginx"):
        site.up("--gpu", gpu, "--set", f"embedder.balancer={balancer}", "--set", f"reranker.balancer={balancer}")
        _check_topology(site, balancer, family)
        answer = site.embedder.post("/embed", QUESTION)
        assert answer.status == 200, answer.text + site.logs(f"{balancer}-embedder-lb")
        assert len(answer.json[0]) == 32
        ranks = site.reranker.post("/rerank", RANKING).json
        assert sorted(rank["index"] for rank in ranks) == [0, 1]
        assert ranks[0]["score"] >= ranks[1]["score"]
        site.down()
        assert site.containers == {}
        assert [n.name for n in site.client.networks.list() if n.name == "tei-net"] == []


def _check_topology(site: Site, balancer: str, family: str) -> None:
    lbs = [f"{balancer}-{service}-lb" for service in ("embedder", "reranker")]
    assert sorted(site.containers) == sorted([*REPLICAS, *lbs])
    site.client.networks.get("tei-net").reload()
    members = site.client.networks.get("tei-net").attrs["Containers"].values()
    assert sorted(member["Name"] for member in members) == sorted([*REPLICAS, *lbs])
    for name, port in zip(lbs, site.ports, strict=True):
        published = site.client.containers.get(name).attrs["NetworkSettings"]["Ports"]
        assert [row[0]["HostPort"] for row in published.values()] == [str(port)]
    for name in REPLICAS:
        number = int(name[-1])
        assert site.inside(name, "NVIDIA_VISIBLE_DEVICES") == f"GPU-{number:04}", "its own GPU and no other"
        assert site.inside(name, "USE_FLASH_ATTENTION") == ("False" if family == "turing" else "")
        attributes = site.client.containers.get(name).attrs
        model = str(site.folder / "models" / ("bge-m3" if "embedder" in name else "bge-reranker-v2-m3"))
        mounts = {mount["Destination"]: mount["RW"] for mount in attributes["Mounts"]}
        assert mounts == {model: False, "/data": True}
        command = attributes["Config"]["Cmd"]
        assert f"--model-id={model}" in command
        assert attributes["Config"]["Image"] == TEI[family]
        assert attributes["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert attributes["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


def test_containers_cannot_connect_to_the_outside(site: Site):
    site.up()
    code = "import socket; socket.create_connection(('192.0.2.1', 443), 2)"
    result = site.client.containers.get("bge-embedder-tei-0").exec_run(["python3", "-c", code])
    assert result.exit_code != 0
    assert b"Error" in result.output


def test_a_gpu_type_that_differs_from_the_machines_is_refused_with_both_types(site: Site):
    result = site.run("up", "--gpu", "H100", code=2)
    assert "H100 has compute capability 9.0, but GPU 0 of this machine is a Tesla T4 with 7.5" in result.stderr
    assert site.containers == {}


def test_mixed_gpus_get_an_image_each(site: Site):
    site.env["FAKE_GPUS"] = gpus(T4, H100)
    site.up()
    images = [site.client.containers.get(f"bge-embedder-tei-{n}").attrs["Config"]["Image"] for n in range(2)]
    assert images == [TEI["turing"], TEI["hopper"]]


def test_the_gateway_may_be_a_process_of_the_host(site: Site, tmp_path_factory):
    """The model is as sentence-transformers 6 saves it, with weights on another disk; TEI gets it rewritten."""
    model = site.folder / "models/bge-m3"
    (model / "1_Pooling/config.json").write_text('{"embedding_dimension": 32, "pooling_mode": "cls"}')
    weights = tmp_path_factory.mktemp("disk") / "weights"
    (model / "model.safetensors").rename(weights)
    (model / "model.safetensors").symlink_to(weights)
    said = site.up("--set", "embedder.balancer_in=process", "--set", "reranker.enabled=false").stderr
    said += (site.folder / ".embedfleet/logs/up.log").read_text()
    assert "embedder: TEI 1.9.3 serves it with 1 correction: `up` gives TEI a corrected copy" in said
    assert "\n  - 1_Pooling/config.json: pooling_mode is cls" in said
    code = "import sys; print(open(sys.argv[1]).read())"
    inside = site.execute(REPLICAS[0], "python3", "-c", code, str(model / "1_Pooling/config.json"))
    assert json.loads(inside)["pooling_mode_cls_token"] is True
    assert sorted(site.containers) == REPLICAS[:2]
    assert site.embedder.post("/embed", QUESTION).status == 200
    for name in REPLICAS[:2]:
        (row,) = site.client.containers.get(name).attrs["NetworkSettings"]["Ports"]["80/tcp"]
        assert row["HostIp"] == "127.0.0.1"
    site.down()
    assert site.containers == {}
    assert not (site.folder / ".embedfleet/tei").exists()


def test_our_own_image_serves_without_a_gpu(site: Site):
    del site.env["FAKE_GPUS"]
    own = [f"embedder.{pair}" for pair in ("driver=docker", "image=embedfleet:latest", "model=builtin", "replicas=1")]
    site.up(*(word for pair in own for word in ("--set", pair)), "--set", "reranker.enabled=false")
    assert len(site.embedder.post("/embed", QUESTION).json[0]) == 384
    assert site.execute("gateway-embedder-lb", "python3", "-c", "import os; print(os.getuid())") == "65532"
    assert json.loads(site.run("status", "--json").stdout)["services"][0]["replicas"][0]["state"] == "active"
