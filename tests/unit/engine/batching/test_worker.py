"""An input that cannot be computed fails alone, whatever it does to its pass."""

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pytest

from bench.engine.folders import write_model
from bench.engine.work import Shape
from embedfleet.engine.compute.output import Output
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.errors import Backend, ModelError, OutOfMemory
from embedfleet.metrics import TEI, Registry
from tests.services.echo import (
    NOT_A_NUMBER,
    PANIC,
    POISON,
    SPEC,
    SPREADING,
    EchoBackend,
    engine_of,
    run,
    sequence,
)


async def answers_of(engine, *firsts):
    """Run a request of one input for each first token; returns the echoed token of each answer, or its error."""
    asked = [engine.infer([sequence(first, 9)]) for first in firsts]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return [answer if isinstance(answer, Exception) else int(answer.outputs[0][0][0, 0]) for answer in answers]


@pytest.mark.parametrize(
    ("guilty", "words"),
    [(POISON, "a poisoned pass"), (PANIC, "Panic"), (NOT_A_NUMBER, "not finite"), (SPREADING, "not finite")],
)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_only_the_input_that_cannot_be_computed_fails_and_the_engine_lives(guilty, words, place):
    firsts = [101, 102, 103, 104, 105, 106]
    firsts.insert(place, guilty)
    with engine_of(EchoBackend(), tokens=32) as engine:
        answers = run(answers_of(engine, *firsts))
        failure = answers.pop(place)
        assert isinstance(failure, Backend)
        assert str(failure).startswith("Backend error")
        assert words in str(failure)
        assert answers == [101, 102, 103, 104, 105, 106]
        assert run(answers_of(engine, 107)) == [107]


def test_of_a_batch_only_the_two_faulty_inputs_fail():
    with engine_of(EchoBackend(), tokens=32) as engine:
        answers = run(answers_of(engine, 101, POISON, 102, NOT_A_NUMBER, 103))
    assert [isinstance(answer, Backend) for answer in answers] == [False, True, False, True, False]


def test_a_request_with_one_failed_input_fails_and_its_other_inputs_are_dropped():
    async def story(engine):
        with pytest.raises(Backend):
            await engine.infer([sequence(POISON), sequence(*range(100, 140)), sequence(*range(100, 160))])
        await engine.infer([sequence(100)])
        assert engine.queued == 0

    with engine_of(EchoBackend()) as engine:
        run(story(engine))


def test_a_batch_that_does_not_fit_into_memory_is_halved_until_it_does():
    backend, registry = EchoBackend(), Registry(TEI)
    backend.room = 5
    with engine_of(backend, tokens=32, registry=registry) as engine:
        assert run(answers_of(engine, *range(101, 109))) == list(range(101, 109))
    assert sorted(row[0] for batch in backend.batches if len(batch) <= 2 for row in batch) == list(range(101, 109))
    assert registry["te_batch_splits"].value().value >= 1


def test_an_input_that_does_not_fit_alone_fails_alone():
    backend = EchoBackend()
    backend.room = 4

    async def story(engine):
        long = asyncio.ensure_future(engine.infer([sequence(1, 2, 3, 4, 5)]))
        short = asyncio.ensure_future(engine.infer([sequence(1, 2, 3, 4)]))
        with pytest.raises(OutOfMemory, match="Backend error: out of memory for 5 tokens") as failure:
            await long
        assert failure.value.status == 424
        assert len((await short).outputs) == 1

    with engine_of(backend) as engine:
        run(story(engine))


class Stumbling:
    """A real model whose passes fail if they contain a certain token."""

    precision = "float32"
    is_padding_free = False
    passes_at_once = 1
    pools = False

    def __init__(self, token: int) -> None:
        self._model = OnnxBackend.load(SPEC)
        self._token = token
        self.gate = threading.Event()

    def forward(self, ids, types, lengths, outputs):
        if self._token in ids:
            raise MemoryError
        return self._model.forward(ids, types, lengths, outputs)


def test_with_a_real_model_the_other_inputs_get_their_usual_vectors():
    texts = ["a red fox", "poison here", "two green apples", "a blue whale", "an old oak"]
    limits = {"truncate": True, "direction": "right", "prompt": None}
    with engine_of(Stumbling(0)) as engine:
        encoded = run(engine.encode(texts, **limits))
        sound = run(engine.infer(encoded, (Output.VECTOR,))).outputs
    poison = int(encoded[1].ids[1])

    async def ask(engine):
        asked = [engine.infer([item], (Output.VECTOR,)) for item in encoded]
        return await asyncio.gather(*asked, return_exceptions=True)

    with engine_of(Stumbling(poison)) as engine:
        answers = run(ask(engine))
    assert isinstance(answers.pop(1), Backend)
    for answer, vector in zip(answers, np.delete(np.array([rows for (rows,) in sound]), 1, axis=0), strict=True):
        np.testing.assert_allclose(answer.outputs[0][0], vector, atol=1e-6)


STARVED = """
import asyncio, resource, sys
import numpy as np
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.encoded import Encoded
from embedfleet.errors import Backend
from embedfleet.metrics import TEI, Registry

def held():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def sequence(count):
    return Encoded(np.full(count, 2000), np.zeros(count, np.int64), np.zeros(count, np.bool_), count)

registry = Registry(TEI)
engine = load(EngineSettings(batch_tokens=60_000), registry)
resource.setrlimit(resource.RLIMIT_AS, (held() + 12_000_000,) * 2)
inputs = [sequence(count) for count in range(100, 160)]
inference = asyncio.run(engine.infer(inputs))
print(len(inference.outputs), int(registry["te_batch_splits"].value().value > 0))
engine.close()
"""


def test_a_real_model_in_too_little_memory_answers_in_smaller_batches():
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.split() == ["60", "1"], done.stderr


CRAMPED = """
import resource, sys
import embedfleet.engine.api.app, embedfleet.engine.onnx.model_graph, onnxruntime, uvloop
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 250_000_000,) * 2)
from embedfleet.cli.main import main
sys.argv = ["embedfleet", "engine", "--model", sys.argv[1]]
main()
"""


def test_a_model_too_large_for_the_memory_is_refused_with_its_size(tmp_path):
    size = write_model(tmp_path / "model", Shape(layers=3, hidden=1024, intermediate=4096), vocabulary=30522)
    command = [sys.executable, "-c", CRAMPED, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == ModelError.exit_code
    assert f"error: {tmp_path / 'model'}: not enough memory to load a model of {size / 1e6:.0f} MB" in done.stderr
    assert "hint: free memory" in done.stderr
    assert "Traceback" not in done.stderr
