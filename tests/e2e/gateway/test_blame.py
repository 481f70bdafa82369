"""A text that no live replica can answer fails only its own request."""

import pytest

from tests.services.gateway import gateway, run


@pytest.mark.parametrize("how", ["nulls", "cut", "garbage", "reset"])
@pytest.mark.parametrize("many", [1, 2])
def test_a_text_that_no_replica_can_answer_is_sent_three_times_however_often_it_is_requested(many, how):
    async def go():
        async with gateway(many) as g:
            for replica in g.replicas:
                replica.poison, replica.poisoned = "poison", how
            for _ in range(10):
                refused = await g.embed(["poison"])
                assert (refused.status, (await g.embed(["sound"])).status) == (502, 200)
                assert "ejected" not in g.states.values()
            assert b"gave this one no usable answer" in refused.body
            assert sum(replica.count_of("poison") for replica in g.replicas) == 3

    run(go)


def test_a_replica_that_cannot_answer_what_others_can_is_ejected():
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = "nulls"
            assert {(await g.embed([f"text {number}"])).status for number in range(6)} == {200}
            assert g.states["r0"] != "active"
            assert len(g.replicas[0].seen) < 4

    run(go)


def test_a_replica_that_refuses_every_request_is_ejected():
    async def go():
        async with gateway(2) as g:
            g.replicas[0].mode = g.replicas[0].probe_mode = 404
            g.app.proxy.drain("r1")  # so that the other gets all requests, however fast either seems
            assert {(await g.embed([f"text {number}"])).status for number in range(20)} == {404}
            await g.until(lambda: g.states["r0"] == "ejected")
            g.app.proxy.undrain("r1")
            await g.until(lambda: g.states["r1"] == "active")
            assert {(await g.embed([f"text {number}"])).status for number in range(10)} == {200}

    run(go)
