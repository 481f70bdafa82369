"""The plan: a gateway and its replicas per service, each a verb of the command line with only what differs."""

from pathlib import Path

from embedfleet.cli.engine import command as engine
from embedfleet.cli.gateway import command as gateway
from embedfleet.config.load import load
from embedfleet.control.plan import make_plan


def plan(cores: int = 2, **flags: str):
    settings = load(None, {}, {key.replace("__", "."): value for key, value in flags.items()})
    return {spec.name: spec for spec in make_plan(settings, cores=cores, sockets=Path("/s"))}


def flag(spec, name: str) -> str:
    return spec.arguments[spec.arguments.index(name) + 1]


def test_the_default_fleet_is_two_services_of_a_gateway_and_two_replicas():
    assert list(plan()) == [
        *("embedder-gateway", "embedder-0", "embedder-1"),
        *("reranker-gateway", "reranker-0", "reranker-1"),
    ]


def test_a_gateway_gets_its_port_and_its_admin_socket():
    spec = plan()["reranker-gateway"]
    assert (spec.kind, spec.service, spec.admin) == ("gateway", "reranker", "/s/reranker.sock")
    assert (flag(spec, "--port"), flag(spec, "--host"), flag(spec, "--admin")) == ("8002", "0.0.0.0", spec.admin)


def test_replicas_share_the_cores_and_take_any_port():
    specs = plan(cores=7, embedder__replicas="3")
    assert [flag(specs[f"embedder-{n}"], "--worker-threads") for n in range(3)] == ["2", "2", "2"]
    assert flag(specs["reranker-0"], "--worker-threads") == "3"
    assert "--port" not in specs["embedder-0"].arguments


def test_an_option_that_was_set_reaches_the_process_that_it_is_for():
    specs = plan(
        reranker__auto_truncate="false",
        reranker__max_queue_requests="5",
        reranker__payload_limit_bytes="77",
        fleet__stop_grace_s="3",
        fleet__drain_s="2",
    )
    replica, balancer = specs["reranker-1"], specs["reranker-gateway"]
    assert flag(replica, "--task") == "rerank"
    assert flag(replica, "--auto-truncate") == "false"
    assert flag(balancer, "--max-queue-requests") == "5"
    assert flag(balancer, "--drain-s") == "2.0"
    for spec in (replica, balancer):
        assert flag(spec, "--payload-limit-bytes") == "77"
        assert flag(spec, "--stop-grace-s") == "3.0"
    assert "--max-queue-requests" not in specs["embedder-gateway"].arguments


def test_the_verbs_take_every_flag_of_the_plan():
    """A text may begin with a dash, or be anything else."""
    specs = plan(embedder__default_prompt="-x --host ", embedder__access_log="true", embedder__queue_timeout_s="0.5")
    verbs = {"engine": engine, "gateway": gateway}
    for spec in specs.values():
        verb, *arguments = spec.arguments
        values = verbs[verb].make_context(verb, arguments).params
        if spec.name == "embedder-0":
            assert (values["default_prompt"], values["host"]) == ("-x --host ", "127.0.0.1")
        if spec.name == "embedder-gateway":
            assert (values["access_log"], values["queue_timeout_s"]) == (True, 0.5)
