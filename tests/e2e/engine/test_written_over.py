"""An engine notices writes to its model files or to the packed weights that it maps."""

import asyncio
import os

import orjson
import pytest

from embedfleet.http.client import fetch
from embedfleet.http.message import JSON
from tests.services.gateway import run
from tests.services.models import make_bert
from tests.services.verb import LIMIT_S, Pipe, verb

ANSWER_S = 30


@pytest.fixture
def folders(tmp_path):
    """Two models of the same shape."""
    return [make_bert(tmp_path / f"{seed}", labels=1, seed=seed) for seed in (1, 2)]


async def scores(engine):
    body = orjson.dumps({"query": "a river", "texts": ["water", "a bank"], "raw_scores": True})
    url = f"http://127.0.0.1:{engine.port}/rerank"
    reply = await fetch(url, method="POST", body=body, headers=[JSON], timeout_s=ANSWER_S)
    assert reply.status == 200, reply.body
    return sorted((rank["index"], rank["score"]) for rank in orjson.loads(reply.body))


def test_a_model_that_is_copied_over_its_own_weights_changes_nothing(folders):
    folder, other = folders

    async def test():
        with verb("engine", "--model", str(folder)) as engine, verb("engine", "--model", str(other)) as second:
            loaded = await scores(engine)
            assert loaded != await scores(second)
            (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
            assert await scores(engine) == loaded
            os.truncate(folder / "model.safetensors", 0)
            assert await scores(engine) == loaded
            assert await engine.end() == 0

    run(test)


def write_over(file):
    with file.open("rb+") as stream:
        stream.seek(file.stat().st_size // 4)
        stream.write(bytes(file.stat().st_size // 2))


@pytest.mark.parametrize("harm", [write_over, lambda file: os.truncate(file, 4096)], ids=["written over", "shortened"])
def test_an_engine_ends_when_its_packed_weights_are_written_to_and_the_next_makes_them_anew(folders, tmp_path, harm):
    pipe = Pipe()
    flags = ("--model", str(folders[0]), "--packed-dir", str(tmp_path / "packed"))

    async def test():
        with verb("engine", *flags, output=pipe.theirs) as engine:
            loaded = await scores(engine)
            (file,) = (tmp_path / "packed").glob("*/model.onnx.weights")
            file.chmod(0o600)
            harm(file)
            assert await asyncio.to_thread(engine.process.wait, LIMIT_S) == 1
        with verb("engine", *flags, output=pipe.theirs) as engine:
            assert await scores(engine) == loaded

    run(test)
    os.close(pipe.theirs)
    said = pipe.read(b"never said").decode()
    assert "model.onnx.weights was written to while it was mapped" in said
    assert "thrown away and made anew" in said
    pipe.close()
