"""A vector depends on the other texts of its batch no more than docs/engine.md states."""

import random
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.batching.worker import join
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.pooling import normalize
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.engine.text.truncation import TextLimits
from tests.services.family_models import FAMILIES, Made, save
from tests.services.jina import make_jina
from tests.services.m3 import make_m3
from tests.services.nomic import make_nomic
from tests.unit.engine.test_reference import PARAGRAPHS

BOUND = 1e-6


def make_deberta(folder: Path) -> Path:
    folder.mkdir()
    shape = FAMILIES["deberta-v2"]
    return save(folder, Made(shape.name, shape.config | {"max_position_embeddings": 1024}), "Model", {})


MODELS = {
    "minilm": lambda folder: builtin_model(),
    "long": make_m3,
    "with a bias": lambda folder: make_jina(folder, heads=2, longest=1024),
    "disentangled": make_deberta,
    "experts": lambda folder: make_nomic(folder, longest=1024),
}


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("name", MODELS)
def test_a_vector_hardly_moves_with_its_batch(tmp_path, name, backend):
    spec = read_model(MODELS[name](tmp_path / "m"), pooling=Pooling.MEAN)
    runner, vectors = make_backend(spec, EngineSettings(backend=backend)), EmbeddingPooler(spec)
    limits = TextLimits(spec.max_input_length, truncate=True, direction="right")
    inputs = Tokenization(spec.tokenizer_file).encode(PARAGRAPHS[:60], limits, None)

    def compute(some):
        (states,) = runner.forward(*join(some), (Output.STATES,))
        ends = np.cumsum([len(item.ids) for item in some])
        return [normalize(vectors(part)) for part in np.split(states, ends[:-1])]

    alone = [compute([item])[0] for item in inputs]
    for size in (2, 7, 30):
        order = random.Random(size).sample(range(len(inputs)), size)
        for index, vector in zip(order, compute([inputs[index] for index in order]), strict=True):
            np.testing.assert_allclose(vector, alone[index], atol=BOUND, rtol=0)
