"""Every command of the dispatcher has an effect."""

import asyncio
from typing import get_args

import orjson
import pytest

from embedfleet.errors import Unhealthy
from embedfleet.gateway.dispatch.commands import Cancel, Command, Forget, Join, Probe, Refuse, Relay, Send, Separate
from embedfleet.gateway.requests.delivery import delivery_of
from tests.e2e.gateway.test_coalescing import spread_out
from tests.services.gateway import gateway, run
from tests.unit.gateway.requests.clients import replied


class Held:
    """A gateway whose one replica holds a client's request.

    Attributes:
        request: The request.
        answer: Future of the client's answer.
    """

    def __init__(self, g, request, answer):
        self.g = g
        self.request = request
        self.answer = answer
        self.replica = g.app.proxy.dispatcher.replicas["r0"]

    @property
    def seen(self):
        return len(self.g.replicas[0].seen)

    def execute(self, command):
        self.g.app.proxy._executor.execute([command])

    async def until(self, reached):
        await self.g.until(reached)


async def send(held):
    before = held.seen
    held.execute(Send(held.request, held.replica))
    await held.until(lambda: held.seen == before + 1)


async def cancel(held):
    pool = held.g.app.proxy.connections("r0")
    assert pool.is_busy
    held.execute(Cancel(held.request, held.replica))
    assert not pool.is_busy


async def relay(held):
    outcomes, delivery = held.g.app.proxy._outcomes, delivery_of(held.request)
    held.request.sending.reply = replied(outcomes, delivery, held.request, b"[[7.5]]")
    held.execute(Relay(held.request))
    assert (await held.answer).body == b"[[7.5]]"


async def join(held):
    outcomes, delivery = held.g.app.proxy._outcomes, delivery_of(held.request)
    state = delivery.split(by_length=False)
    for item in (1, 0):
        part = held.request.add_part(state, [item], 10)
        delivery.keep(part, replied(outcomes, delivery, part, b"[[%d.5]]" % item))
    held.execute(Join(held.request))
    assert (await held.answer).body == b"[[0.5],[1.5]]"


async def refuse(held):
    held.execute(Refuse(held.request, Unhealthy("none is ready"), "no-replica"))
    reply = await held.answer
    assert (reply.status, reply.headers["x-shed-reason"]) == (503, "no-replica")


async def probe(held):
    metric = held.g.app._registry["embedfleet_probes_total"].value("r0", "good")
    before = metric.value
    held.execute(Probe(held.replica))
    await held.until(lambda: metric.value == before + 1)


async def forget(held):
    held.execute(Forget(held.replica))
    assert held.g.app.proxy.connections("r0") is None
    assert "r0" not in held.g.app.proxy.endpoints
    held.g.app.proxy.dispatcher.replicas.clear()


EFFECTS = {Send: send, Cancel: cancel, Relay: relay, Join: join, Refuse: refuse, Probe: probe, Forget: forget}


def test_every_command_is_tried_here():
    assert set(get_args(Command)) == {*EFFECTS, Separate}


@pytest.mark.parametrize("command", EFFECTS, ids=lambda command: command.__name__)
def test_a_command_has_an_effect(command):
    async def go():
        async with gateway(1) as g:
            g.replicas[0].mode = "hold"
            answer = asyncio.ensure_future(g.embed(["a", "b"]))
            await g.until(lambda: g.replicas[0].held)
            (request,) = g.app.proxy.dispatcher._requests.open
            await EFFECTS[command](Held(g, request, answer))
            answer.cancel()

    run(go)


def test_a_shared_request_is_separated():
    async def go():
        async with gateway(1) as g:
            spread_out(g)
            g.replicas[0].mode = "hold"
            answers = [asyncio.ensure_future(g.embed(text)) for text in ("a", "b", "c", "d")]
            await g.until(lambda: any(one.is_shared for one in g.app.proxy.dispatcher._requests.open))
            shared = next(one for one in g.app.proxy.dispatcher._requests.open if one.is_shared)
            before = len(g.replicas[0].seen)
            g.app.proxy._executor.execute([Separate(shared)])
            await g.until(lambda: len(g.replicas[0].seen) >= before + shared.texts)
            alone = [orjson.loads(one.body)["inputs"] for one in g.replicas[0].seen[-shared.texts :]]
            assert all(isinstance(text, str) for text in alone)
            for answer in answers:
                answer.cancel()

    run(go)
