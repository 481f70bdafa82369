"""Every option reaches the settings of the part that uses it."""

from dataclasses import fields, replace

import pytest

from embedfleet.cli.option_conversion import engine_settings, gateway_settings
from embedfleet.config.settings import EngineOptions, GatewayOptions
from embedfleet.errors import UsageError

ENGINE = EngineOptions(
    model="m",
    task="rerank",
    served_model_name="n",
    pooling="cls",
    backend="torch",
    device="cuda:1",
    precision="bfloat16",
    packed_dir="packed",
    tokenization_workers=2,
    batch_tokens=3,
    max_batch_tokens=4,
    cache_mb=7,
    max_concurrent_requests=5,
    max_client_batch_size=6,
    auto_truncate=False,
    default_prompt_name="p",
    default_prompt="q",
)
GATEWAY = GatewayOptions(
    max_request_texts=1,
    max_request_bytes=2,
    max_queue_bytes=3,
    no_replica_s=4,
    quarantine_s=16,
    split=False,
    coalesce=False,
    gateway_cache_mb=17,
    gateway_cache_keep=True,
    prefer_online=False,
    reserve=False,
    hedge=False,
    sort_by_length=True,
    online_queue_s=12,
    bulk_queue_s=13,
    online_deadline_s=14,
    bulk_deadline_s=15,
    response_timeout_s=5,
    probe_interval_s=6,
    probe_timeout_s=7,
    calibrate=False,
    header_timeout_s=8,
    body_timeout_s=9,
    idle_timeout_s=10,
    max_connections=11,
    access_log=True,
)


@pytest.mark.parametrize("options", [ENGINE, GATEWAY])
def test_these_options_differ_from_every_default(options):
    assert [item.name for item in fields(options) if getattr(options, item.name) == item.default] == []


@pytest.mark.parametrize("prompt", ["default_prompt", "default_prompt_name"])
def test_an_engine_gets_every_option_of_its_own(prompt):
    options = replace(ENGINE, **{prompt: ""})
    settings = engine_settings(options, port=8, preferred_port=9, worker_threads=10, payload_limit_bytes=11)
    for item in fields(options):
        assert getattr(settings, item.name) == getattr(options, item.name)
    assert (settings.port, settings.preferred_port, settings.worker_threads) == (8, 9, 10)
    assert settings.limits.body_bytes == 11


def test_auto_becomes_the_value_of_an_engine_without_a_fleet():
    settings = engine_settings(EngineOptions())
    assert (settings.model, settings.packed_dir, settings.tokenization_workers) == ("builtin", "", 1)


def test_an_engine_is_not_started_with_two_default_prompts():
    with pytest.raises(UsageError, match="default_prompt is set, and default_prompt_name too"):
        engine_settings(ENGINE)


def test_a_gateway_gets_every_option_of_its_own():
    settings = gateway_settings(
        GATEWAY, admin="/a", cache_file="/c", payload_limit_bytes=12, drain_s=13, stop_grace_s=14
    )
    dispatch, limits = settings.dispatch, settings.limits
    for item in fields(dispatch):
        if item.name in {given.name for given in fields(GATEWAY)}:
            assert getattr(dispatch, item.name) == getattr(GATEWAY, item.name)
    assert (settings.request_texts, settings.replica_body_bytes, dispatch.queue_bytes) == (1, 12, 3)
    assert settings.response_timeout_s == 5
    assert (dispatch.probe_interval_s, settings.probe_timeout_s) == (6, 7)
    assert (limits.header_timeout_s, limits.body_timeout_s, limits.idle_timeout_s) == (8, 9, 10)
    assert (limits.connections, settings.access_log, limits.body_bytes, settings.calibrate) == (11, True, 12, False)
    assert settings.coalesce is False
    assert (settings.cache_bytes, settings.cache_path) == (17_000_000, "/c")
    assert not gateway_settings(replace(GATEWAY, gateway_cache_keep=False), cache_file="/c").cache_path
    assert (settings.admin_path, settings.drain_s, settings.stop_grace_s) == ("/a", 13, 14)


def test_a_gateway_takes_larger_bodies_than_its_replicas():
    options = GatewayOptions(max_request_bytes=100)
    assert gateway_settings(options, payload_limit_bytes=10).limits.body_bytes == 100
    assert gateway_settings(options, payload_limit_bytes=1000).limits.body_bytes == 1000


def test_replicas_of_a_gateway_alone_are_numbered():
    settings = gateway_settings(GATEWAY, replicas=("http://a:1/", "http://b:2"))
    assert [(r.id, r.url) for r in settings.replicas] == [("replica-0", "http://a:1"), ("replica-1", "http://b:2")]


def test_two_replicas_of_one_name_are_refused():
    with pytest.raises(UsageError, match="the same name"):
        gateway_settings(GATEWAY, replicas=("a=http://a:1", "a=http://b:2"))


@pytest.mark.parametrize("url", ["a:1", "https://a", "http://", "", "http://a:99999", "http://[::1", "http://a b"])
def test_what_is_not_the_url_of_a_replica_is_named(url):
    with pytest.raises(UsageError, match="is not the URL of a replica"):
        gateway_settings(GATEWAY, replicas=(url,))
