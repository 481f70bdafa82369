"""Engines and gateways as processes get a flag for each option that differs from its default."""

from pathlib import Path

from embedfleet.cli.verbs.engine import command as engine
from embedfleet.cli.verbs.gateway import command as gateway
from tests.services.plans import docker_plan, flag, plan


def test_a_gateway_gets_its_port_and_its_admin_socket():
    spec = plan()["reranker-gateway"]
    assert (spec.kind, spec.service, spec.admin) == ("balancer", "reranker", "/s/reranker.sock")
    assert (flag(spec, "--port"), flag(spec, "--host"), spec.listens) == ("8002", "0.0.0.0", ("0.0.0.0", 8002))


def test_a_gateway_keeps_its_cache_in_the_state_folder_if_that_is_set():
    kept = plan(reranker__gateway_cache_mb="64", reranker__gateway_cache_keep="true")["reranker-gateway"]
    assert flag(kept, "--cache-file") == str(Path.cwd() / ".embedfleet/answers/reranker/answers")
    assert not any(word.startswith("--cache-file") for word in plan()["reranker-gateway"].arguments)


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
    """Texts that begin with a dash are accepted too."""
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
