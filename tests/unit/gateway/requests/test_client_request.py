"""A client's request: its bytes for a replica, and the framing of the client's answer."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedfleet.dialects.request_texts import read_texts
from embedfleet.errors import Unhealthy
from embedfleet.gateway.requests.client_request import ClientRequest
from embedfleet.gateway.upstream.connection_pools import ConnectionPools
from embedfleet.types import Endpoint
from tests.services.gateway import run
from tests.unit.gateway.requests.clients import NOW, context, exchange, parse, replied, request_of, with_outcomes


def made(texts, **given):
    """Make a client's request for these texts, the dispatcher's request, the client's connection, and the metrics."""
    shared, registry = context()
    asked, wire = exchange(orjson.dumps({"inputs": texts}), **given)
    read = read_texts("/embed", b"application/json", asked.body)
    client = ClientRequest(shared, asked, asked.head.note, read, [10] * len(texts))
    return client, request_of(client, len(texts)), wire, registry


def test_a_reply_is_framed_anew_with_the_replicas_fields_and_a_request_id():
    def check(outcomes):
        client, request, wire, registry = made(["a"])
        call = replied(outcomes, client, request, b"[[0.5]]", headers=[(b"x-compute-tokens", b"3")])
        client.relay(request, call, NOW + 1)
        status, fields, body = parse(wire.data)
        assert (status, body, wire.answers) == (200, b"[[0.5]]", 1)
        assert dict(fields) == {
            b"date": b"then",
            b"x-compute-tokens": b"3",
            b"content-length": b"7",
            b"x-request-id": client.request_id,
        }
        assert len(fields) == 4, "no field comes twice"
        assert registry["embedfleet_requests_total"].value("online", "200").value == 1

    with_outcomes(check)


@pytest.mark.parametrize("name", [b"mine", b""])
def test_a_request_id_of_the_client_or_the_replica_is_kept(name):
    def check(outcomes):
        client, request, wire, _ = made(["a"], headers=[(b"x-request-id", name)] if name else [])
        given = [] if name else [(b"x-request-id", b"the replica's")]
        client.relay(request, replied(outcomes, client, request, b"[[1]]", headers=given), NOW)
        _, fields, _ = parse(wire.data)
        assert [value for key, value in fields if key == b"x-request-id"] == [name or b"the replica's"]

    with_outcomes(check)


def test_the_answer_to_an_exchange_that_is_not_plain_has_a_connection_field():
    def check(outcomes):
        client, request, wire, _ = made(["a"], is_plain=False)
        client.exchange.keep_alive = False
        client.relay(request, replied(outcomes, client, request, b"[[1]]"), NOW)
        status, fields, body = parse(wire.data)
        assert (status, body, dict(fields)[b"connection"]) == (200, b"[[1]]", b"close")

    with_outcomes(check)


def test_a_429_without_retry_after_gets_one():
    def check(outcomes):
        client, request, wire, _ = made(["a"])
        client.relay(request, replied(outcomes, client, request, b"{}", status=429), NOW)
        status, fields, _ = parse(wire.data)
        assert (status, dict(fields)[b"retry-after"]) == (429, b"1")

    with_outcomes(check)


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=12),
    st.randoms(use_true_random=False),
)
def test_parts_answered_in_any_order_are_joined_in_the_clients_order(texts, chance):
    def check(outcomes):
        client, request, wire, _ = made(texts)
        state = client.split(by_length=False)
        order = list(range(len(texts)))
        chance.shuffle(order)
        size = chance.randint(1, len(texts))
        parts = [request.add_part(state, order[at : at + size], 10) for at in range(0, len(order), size)]
        chance.shuffle(parts)
        for part in parts:
            body = orjson.dumps([[item + 0.5] for item in part.items])
            client.check(part, body)
            client.keep(part, replied(outcomes, client, part, body))
        client.join(request, NOW)
        status, fields, body = parse(wire.data)
        assert (status, dict(fields)[b"x-chunks"]) == (200, b"%d" % len(parts))
        assert orjson.loads(body) == [[item + 0.5] for item in range(len(texts))]

    with_outcomes(check)


def test_a_part_has_only_its_own_texts_and_the_clients_request_id():
    """A replica's URL may have a path, which precedes the client's."""

    async def go():
        client, request, _, _ = made(["a", "b", "c"], headers=[(b"x-request-id", b"mine"), (b"x-own", b"1")])
        state = client.split(by_length=False)
        part = request.add_part(state, [2, 0], 20)
        pools = ConnectionPools(1000, 60)
        pools.provide(Endpoint("r", "http://127.0.0.1:9/base"), lambda: None)
        head, _, body = client.wire(part, pools.by_name["r"]).partition(b"\r\n\r\n")
        pools.close()
        assert orjson.loads(body)["inputs"] == ["c", "a"]
        first, *lines = head.split(b"\r\n")
        assert first == b"POST /base/embed HTTP/1.1"
        assert {b"x-request-id: mine", b"x-own: 1", b"x-forwarded-for: 192.0.2.1"} <= set(lines)
        assert b"content-length: %d" % len(body) in lines

    run(go)


def test_a_refusal_says_why_and_is_counted_once():
    client, request, wire, registry = made(["a"])
    client.refuse(request, Unhealthy("no replica is ready"), "no-replica", NOW)
    client.refuse(request, Unhealthy("no replica is ready"), "", NOW)
    status, fields, _ = parse(wire.data)
    assert (status, dict(fields)[b"x-shed-reason"], wire.answers) == (503, b"no-replica", 1)
    assert registry["embedfleet_shed_total"].value("no-replica").value == 1


def test_nothing_is_written_to_a_client_that_left():
    client, request, wire, _ = made(["a"])
    client.exchange.leave()
    client.fault(request, NOW)
    client.refuse(request, Unhealthy("no replica is ready"), "", NOW)
    assert wire.data == b""
