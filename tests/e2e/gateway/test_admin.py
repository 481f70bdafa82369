"""The admin socket refuses a whole list of replicas if any row is invalid, and gives a hint."""

from contextlib import asynccontextmanager

import orjson
import pytest

from embedfleet.gateway.admin import Admin, restore_replicas
from embedfleet.http.client import fetch
from tests.services.gateway import LIMIT_S, gateway, run

URLS = {
    "http://h:99999": "Port out of range",
    "http://h:0": "no port between",
    "http://[::1": "Invalid IPv6",
    "http://h:x": "Port could not",
    "nonsense": "does not begin with http://",
    "https://127.0.0.1:1": "does not begin with http://",
    "http://": "has no host",
    "": "is empty",
    "http://h\0:80": "control characters",
    "http://h:80/a b\r\nX: y": "control characters",
    "http://exämple:80": "not ASCII",
    "http://user@h:80": "has a user",
    "http://h:80/?a=b": "a query",
    "http://h:80#a": "a fragment",
}
WRONG = [(orjson.dumps({"id": "x", "url": url}), what) for url, what in URLS.items()]
WRONG += [
    (b"1", "is not an object"),
    (b"[" * 500 + b"]" * 500, "nested too deep"),
    (b'{"id":"x"}', "url null is not a string"),
    (b'{"url":"http://h:1"}', "id null is not a name"),
    (b'{"id":"","url":"http://h:1"}', 'id "" is not a name'),
    (b'{"id":5,"url":"http://h:1"}', "id 5 is not a name"),
    (b'{"id":"a\\nb","url":"http://h:1"}', r'id "a\nb" is not a name'),
    (b'{"id":"x","url":"http://h:1"},{"id":"x","url":"http://h:2"}', 'id "x" occurs twice'),
    (b'{"id":"x","url":"http://h:1","drained":"no"}', 'drained "no" is neither'),
]


@asynccontextmanager
async def admin(g, folder):
    socket = Admin(g.app.proxy, g.app.status, {"/new-model": g.app.allow_new_model}).server
    await socket.start(path=str(folder / "admin.sock"))

    async def put(body: bytes):
        return await fetch(f"http+unix://{folder}/admin.sock:/replicas", method="PUT", body=body, timeout_s=LIMIT_S)

    try:
        yield put
    finally:
        await socket.stop(0)


def test_a_list_with_an_invalid_row_changes_nothing(tmp_path):
    async def go():
        async with gateway(2) as g, admin(g, tmp_path) as put:
            first = orjson.dumps(g.replicas[0].endpoint("r0").to_json())
            for row, what in WRONG:
                reply = await put(b"[%b,%b]" % (first, row))
                assert (reply.status, what in reply.body.decode()) == (422, True), (row, reply)
                assert g.states == {"r0": "active", "r1": "active"}

    run(go)


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 2000, b"{}", b"null", b'[{"id":"\\ud800","url":"http://h"}]'])
def test_a_body_that_is_not_a_list_is_refused(tmp_path, body):
    async def go():
        async with gateway(1) as g, admin(g, tmp_path) as put:
            assert (await put(body)).status == 422
            assert g.states == {"r0": "active"}

    run(go)


def test_a_valid_list_sets_the_replicas(tmp_path):
    async def go():
        async with gateway(2) as g, admin(g, tmp_path) as put:
            rows = [g.replicas[0].endpoint("r0").to_json() | {"drained": True}, {"id": "v6", "url": "http://[::1]:9/a"}]
            reply = await put(orjson.dumps(rows))
            assert reply.status == 200
            assert {row["id"]: row["state"] for row in orjson.loads(reply.body)} == {"r0": "drained", "v6": "joining"}

    run(go)


@pytest.mark.parametrize(("row", "what"), WRONG)
def test_a_file_with_an_invalid_row_changes_nothing_and_is_logged(tmp_path, caplog, row, what):
    async def go():
        async with gateway(1) as g:
            file = tmp_path / "members.json"
            file.write_bytes(b"[%b]" % row)
            restore_replicas(g.app.proxy, file)
            assert g.states == {"r0": "active"}

    run(go)
    assert f"{tmp_path}/members.json cannot be used: " in caplog.text
    assert what in caplog.text
