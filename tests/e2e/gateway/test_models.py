"""Two models never answer for one service, and a change of model needs an operator's consent."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from embedfleet.gateway.admin import Admin
from embedfleet.http.client import fetch
from embedfleet.http.message import Limits
from embedfleet.http.server import Server
from tests.services.gateway import DISPATCH, LIMIT_S, gateway, run
from tests.services.replica import INFO, FakeReplica

OTHERS = {
    "width": [3.0, 4.0, 0.0],
    "weights": [4.0, 3.0],
    "normalisation": [0.6, 0.8],
    "norm": [3.1, 4.13],
    "cosine": [3.2, 3.85],
}


def reasons(g) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in g.app.status()}


async def come_back(replica: FakeReplica, **changes) -> None:
    """End a replica's process and start another on its port."""
    port = replica.server.port
    await replica.kill()
    for name, value in changes.items():
        setattr(replica, name, value)
    await replica.start(port)


@asynccontextmanager
async def asking(g, answers: list[bytes], statuses: set[int]):
    """Run clients that send one text and several texts at a time."""

    over = False

    async def ask(number: int) -> None:
        while not over:
            reply = await g.embed(f"text {number}" if number % 2 else [f"a {number}", f"b {number}"])
            statuses.add(reply.status)
            answers.append(reply.body)

    clients = [asyncio.create_task(ask(number)) for number in range(8)]
    try:
        yield
    finally:
        over = True
        await asyncio.gather(*clients)


@pytest.mark.parametrize("other", OTHERS)
def test_a_replica_that_comes_back_with_another_model_answers_no_client(other, caplog):
    async def go():
        async with gateway(2) as g:
            answers: list[bytes] = []
            statuses: set[int] = set()
            g.replicas[1].number = g.replicas[0].number  # replicas of one model give equal answers
            async with asking(g, answers, statuses):
                await g.until(lambda: len(g.replicas[1].seen) > 20)
                await come_back(g.replicas[1], number=9.0, vector=OTHERS[other])
                await g.until(lambda: "another model" in reasons(g)["r1"])
                seen = len(answers)
                await g.until(lambda: len(answers) > seen + 100)
            assert statuses == {200}
            assert not [body for body in answers if b"9.0" in body]
            assert g.states["r1"] != "active"
            assert "embedfleet up --new-model" in reasons(g)["r1"]
            metrics = (await g.request("GET", "/metrics")).body.decode()
            assert 'embedfleet_replica_differs{replica="r1"} 1' in metrics
            assert 'embedfleet_replica_differs{replica="r0"} 0' in metrics

    with caplog.at_level(logging.WARNING):
        run(go)
    (line,) = [record.message for record in caplog.records if "is kept out" in record.message]
    assert line.startswith("replica r1 is kept out, it runs another model: ")


def test_the_pools_model_stays_while_no_replica_serves():
    async def go():
        async with gateway(1) as g:
            await come_back(g.replicas[0], vector=[4.0, 3.0])
            await g.until(lambda: "another model" in reasons(g)["r0"])
            await come_back(g.replicas[0], vector=[3.0, 4.0])
            await g.until_active(1)

    run(go)


def test_a_request_under_way_when_its_replica_is_replaced_is_not_given_to_the_new_process():
    async def go():
        async with gateway(1) as g:
            await g.embed("on a connection that is kept")
            port = g.replicas[0].server.port
            await g.replicas[0].kill()
            other = FakeReplica(9.0)
            other.vector, other.info = [1.0, 2.0], INFO
            other.probe_mode = "hold"
            await other.start(port)
            waiting = asyncio.create_task(g.embed("text"))
            await g.until(lambda: bool(other.probes_held))
            assert not other.seen
            other.probe_mode = 200
            other.answer(other.probes_held.popleft())
            await g.until(lambda: "another model" in reasons(g)["r0"])
            assert not other.seen
            await other.kill()
            await g.replicas[0].start(port)
            assert (await waiting).body == b"[[0.0]]"

    run(go)


def test_the_same_model_in_another_process_serves_after_one_probe():
    async def go():
        async with gateway(1) as g:
            probes = g.app._registry["embedfleet_probes_total"]
            before = probes.value("r0", "good").value
            await come_back(g.replicas[0])
            await g.until(lambda: probes.value("r0", "good").value > before)
            await g.until_active(1)
            assert (await g.embed("text")).status == 200

    run(go)


class Impatient(FakeReplica):
    """A replica that closes connections after some idle time and counts them."""

    def __init__(self, number: float, idle_s: float) -> None:
        super().__init__(number)
        self.closed = 0
        self._limits = Limits(header_timeout_s=idle_s, idle_timeout_s=idle_s)

    async def start(self, port: int = 0) -> "Impatient":
        self.server = Server(self.handle, self._limits)
        await self.server.start(port=port)
        self._sweep()
        return self

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for client in list(self.server.clients):
            if 0.0 < client.deadline < loop.time():
                self.closed += 1
                client.expire()
        self._sweeping = loop.call_later(0.005, self._sweep)

    async def kill(self) -> None:
        self._sweeping.cancel()
        await super().kill()


@pytest.mark.parametrize("idle_s", [0.45, 0.1])
def test_a_server_that_closes_idle_connections_keeps_serving(idle_s):
    async def go():
        async with gateway(0) as g:
            made = [await Impatient(float(number), idle_s).start() for number in range(2)]
            g.app.proxy.set_members(tuple(replica.endpoint(f"r{n}") for n, replica in enumerate(made)))
            await g.until_active(2)
            answers: list[bytes] = []
            statuses: set[int] = set()
            await g.until(lambda: all(replica.closed >= 4 for replica in made))  # until then, all connections are idle
            async with asking(g, answers, statuses):
                await g.until(lambda: all(replica.closed >= 10 for replica in made))
            assert statuses == {200}
            assert all(replica.seen for replica in made)
            # The watch first has to learn the idle timeout, and a busy machine may be late with the next connection.
            most = 3
            for name in ("r0", "r1"):
                assert g.app.proxy.connections(name).watch.losses <= most
                assert g.app._registry["embedfleet_probes_total"].value(name, "good").value <= 1 + most
                assert g.app._registry["embedfleet_probes_total"].value(name, "bad").value == 0
            for replica in made:
                await replica.kill()

    run(go)


def test_a_server_that_cannot_be_watched_serves_all_the_same(caplog):
    async def go():
        async with gateway(0) as g:
            replica = await Impatient(5.0, 0.005).start()
            g.app.proxy.set_members((replica.endpoint("r"),))
            await g.until(lambda: any("closes idle connections at once" in r.message for r in caplog.records))
            await g.until_active(1)
            assert (await g.embed("text")).body == b"[[5.0]]"
            await replica.kill()

    with caplog.at_level(logging.WARNING):
        run(go)


@asynccontextmanager
async def administered(g, tmp_path):
    """Run the admin socket; provide a function that allows a new model."""
    admin = Admin(g.app.proxy, g.app.status, {"/new-model": g.app.allow_new_model})
    await admin.server.start(path=str(tmp_path / "admin.sock"))

    async def say() -> int:
        url = f"http+unix://{tmp_path}/admin.sock:/new-model"
        return (await fetch(url, method="POST", timeout_s=LIMIT_S)).status

    try:
        yield say
    finally:
        await admin.server.stop(0)


NEW = {"number": 9.0, "dimensions": 3, "vector": [1.0, 2.0, 3.0], "info": INFO | {"model_id": "/models/new"}}


def test_with_an_operators_permission_the_whole_pool_changes_at_once(tmp_path):
    async def go():
        async with gateway(2) as g, administered(g, tmp_path) as say:
            answers: list[bytes] = []
            statuses: set[int] = set()
            g.replicas[1].number = g.replicas[0].number
            async with asking(g, answers, statuses):
                await come_back(g.replicas[1], **NEW)
                await g.until(lambda: "another model" in reasons(g)["r1"])
                assert await say() == 200
                await g.until(lambda: any(b"9.0" in body for body in answers))
                old, seen = len(g.replicas[0].seen), len(answers)
                await g.until(lambda: len(answers) > seen + 50)
                assert len(g.replicas[0].seen) == old, "the former model answers no client any more"
                assert "another model" in reasons(g)["r0"]
                await come_back(g.replicas[0], **NEW)
                await g.until_active(2)
            assert statuses == {200}
            changed = next(place for place, body in enumerate(answers) if b"9.0" in body)
            assert all(b"9.0" not in body for body in answers[:changed])
            assert all(b"9.0" in body for body in answers[changed:])

    run(go)


def test_a_permission_is_for_one_change(tmp_path):
    async def go():
        async with gateway(2) as g, administered(g, tmp_path) as say:
            bad = g.app._registry["embedfleet_probes_total"].value("r0", "bad")
            await say()
            await come_back(g.replicas[1], **NEW)
            await g.until(lambda: "the pool's is 'new'" in reasons(g)["r0"])
            await come_back(g.replicas[0], number=7.0, vector=[7.0, 1.0])
            seen = bad.value
            await g.until(lambda: bad.value > seen + 2)
            await g.until_active(1)
            assert g.states == {"r0": "ejected", "r1": "active"}
            assert (await g.embed("text")).body == b"[[9.0,9.0,9.0]]"

    run(go)


def test_no_answer_joins_the_parts_of_two_models(tmp_path):
    """If the pool changes after the former model has computed a part, the rest is not sent to the new one."""

    async def go():
        async with gateway(2, dispatch=replace(DISPATCH, hedge=False)) as g, administered(g, tmp_path) as say:
            texts = [f"{'long ' * 2000}{number}" for number in range(8)]
            for replica in g.replicas:
                replica.mode = "hold"
            waiting = asyncio.create_task(g.embed(texts))
            whole = asyncio.create_task(g.embed("one"))
            await g.until(lambda: all(replica.held for replica in g.replicas))
            held = next(replica for replica in g.replicas if b"long" in replica.held[0].body)
            held.answer(held.held.popleft())
            other = next(replica for replica in g.replicas if replica is not held)
            await g.until(lambda: any(r.split_state for r in g.app.proxy.dispatcher._requests.open))
            await g.until(
                lambda: any(
                    r.split_state and r.split_state.unanswered < 8 for r in g.app.proxy.dispatcher._requests.open
                )
            )
            await say()
            await come_back(other, mode=200, **NEW)
            assert (await waiting).status == 503
            assert (await waiting).headers["x-shed-reason"] == "new-model"
            assert (await whole).body == b"[[9.0,9.0,9.0]]"

    run(go)


def with_parts(**parts: object) -> Callable[[bytes], bytes]:
    """Return a function that replaces parts of a model file."""
    return lambda sound: orjson.dumps(orjson.loads(sound) | parts)


BROKEN = [
    lambda _: b"{}",
    lambda _: b"null",
    lambda sound: sound[:-20],
    lambda sound: sound[:40] + b"\0" * 40 + sound[80:],
    with_parts(fingerprint=[]),
    with_parts(fingerprint={"model": "m"}),
    with_parts(sample={"kind": "vector", "values": [1.0]}),
    with_parts(sample={"kind": "vector", "values": {"0": "one"}}),
    with_parts(sample={"kind": "no kind", "values": {"0": 1.0}}),
    with_parts(fingerprint=dict.fromkeys(("model", "revision", "task", "pooling", "labels"), 7)),
]


def test_a_restarted_gateway_knows_the_pools_model(tmp_path):
    async def go():
        path = str(tmp_path / "s.model")
        async with gateway(1, model_path=path):
            pass
        async with gateway(0, model_path=path) as g:
            other = FakeReplica(9.0)
            other.vector = [4.0, 3.0]
            await other.start()
            g.app.proxy.set_members((other.endpoint("r"),))
            await g.until(lambda: "cosine" in reasons(g)["r"])
            await other.kill()

    run(go)


@pytest.mark.parametrize("broken", BROKEN)
def test_an_invalid_model_file_keeps_no_replica_out_and_is_written_again(tmp_path, broken):
    async def go():
        path = tmp_path / "s.model"
        async with gateway(1, model_path=str(path)):
            sound = path.read_bytes()
        path.write_bytes(broken(sound))
        async with gateway(1, model_path=str(path)):
            assert path.read_bytes() == sound

    run(go)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_model_file_that_is_removed_or_overwritten_is_written_again(tmp_path, broken):
    async def go():
        path = tmp_path / "s.model"
        async with gateway(1, model_path=str(path)) as g:
            sound = path.read_bytes()
            for harm in (path.unlink, lambda: path.write_bytes(broken(sound))):
                harm()
                await asyncio.to_thread(g.app.probing.restore_model_file, asyncio.get_running_loop())
                await asyncio.sleep(0)
                assert path.read_bytes() == sound

    run(go)


def test_a_sample_that_depends_on_the_batch_is_compared_only_without_other_work():
    async def go():
        async with gateway(0, dispatch=replace(DISPATCH, probe_interval_s=0.01)) as g:
            sparse = FakeReplica()
            sparse.info |= {"model_type": {"embedding": {"pooling": "splade"}}}
            sparse.weights = {7: 1.0, 9: 0.5}
            await sparse.start()
            g.app.proxy.set_members((sparse.endpoint("r"),))
            await g.until_active(1)
            sparse.mode = "hold"
            waiting = asyncio.create_task(g.embed("text"))
            await g.until(lambda: bool(sparse.held))
            good = g.app._registry["embedfleet_probes_total"].value("r", "good")
            sparse.weights, seen = {7: 1.0, 8: 0.9}, good.value
            await g.until(lambda: good.value >= seen + 5)
            assert g.states == {"r": "active"}
            sparse.answer(sparse.held.popleft())
            assert (await waiting).status == 200
            await g.until(lambda: "its weights" in reasons(g)["r"])
            assert g.states == {"r": "ejected"}
            await sparse.kill()

    run(go)
