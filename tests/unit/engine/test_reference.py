"""Numbers equal those of transformers on the same weights, whatever other inputs are in the batch."""

import asyncio
from pydoc_data.topics import topics

import numpy as np
import pytest

from embedfleet.engine.compute.pooling import pool
from embedfleet.engine.engine import load
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry
from tests.services.models import Reference, make_bert, make_xlm

TOLERANCE = 1e-5
PARAGRAPHS = [paragraph for topic in topics.values() for paragraph in topic.split("\n\n") if len(paragraph) > 3]
TEXTS = [*PARAGRAPHS[:40], "a", "two words", "deep learning " * 300, "日本語の文章と emoji 🙂 mixed", "x" * 500]
PAIRS = [("what is a class?", text) for text in TEXTS[:12]] + [("long query " * 80, "long text " * 90), ("", "b")]


def compute(folder, inputs):
    """The output of each input, computed in one request, so that inputs share batches."""
    engine = load(EngineSettings(model=str(folder), worker_threads=2, tokenization_workers=2), Registry(TEI))

    async def run():
        encoded = await engine.encode(inputs, truncate=True, direction="right", prompt=None)
        return await engine.infer(encoded)

    try:
        return [output for (output,) in asyncio.run(run()).outputs], engine.spec
    finally:
        engine.close()


def test_minilm_equals_transformers_at_every_length_and_beside_any_stranger():
    outputs, spec = compute(builtin_model(), TEXTS)
    reference = Reference(builtin_model())
    assert spec.pooling is Pooling.MEAN
    for text, states in zip(TEXTS, outputs, strict=True):
        expected = reference.states(text, spec.max_input_length)
        np.testing.assert_allclose(states, expected, atol=TOLERANCE)
        np.testing.assert_allclose(pool(states, Pooling.MEAN), expected.mean(axis=0), atol=TOLERANCE)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
def test_an_xlm_roberta_embedder_equals_transformers(tmp_path, pooling):
    folder = make_xlm(tmp_path / "m", pooling=pooling)
    outputs, spec = compute(folder, TEXTS)
    reference = Reference(folder)
    assert (spec.pooling, spec.max_input_length) == (Pooling(pooling), 128)
    pick = {"cls": lambda s: s[0], "mean": lambda s: s.mean(axis=0), "last_token": lambda s: s[-1]}[pooling]
    for text, states in zip(TEXTS, outputs, strict=True):
        expected = reference.states(text, 128)
        np.testing.assert_allclose(states, expected, atol=TOLERANCE)
        np.testing.assert_allclose(pool(states, spec.pooling), pick(expected), atol=TOLERANCE)


@pytest.mark.parametrize("labels", [1, 3])
def test_an_xlm_roberta_cross_encoder_equals_transformers(tmp_path, labels):
    folder = make_xlm(tmp_path / "m", labels=labels)
    outputs, spec = compute(folder, PAIRS)
    reference = Reference(folder, classifier=True)
    assert spec.kind == ("reranker" if labels == 1 else "classifier")
    for pair, logits in zip(PAIRS, outputs, strict=True):
        np.testing.assert_allclose(logits, reference.logits(pair, 128), atol=TOLERANCE)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_bert_cross_encoder_equals_transformers_token_types_and_all(tmp_path, labels):
    folder = make_bert(tmp_path / "m", labels=labels)
    outputs, _ = compute(folder, PAIRS)
    reference = Reference(folder, classifier=True)
    expected = np.array([reference.logits(pair, 128) for pair in PAIRS])
    assert np.ptp(expected, axis=0).min() > 0.01, "the reference itself must tell the pairs apart"
    np.testing.assert_allclose(
        np.array(outputs), expected, atol=5e-5, rtol=1e-5
    )  # the head's weights are 50 times larger


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_are_read_exactly(tmp_path, dtype):
    folder = make_xlm(tmp_path / "m", dtype=dtype)
    outputs, _ = compute(folder, TEXTS[:8])
    reference = Reference(folder)
    for text, states in zip(TEXTS[:8], outputs, strict=True):
        np.testing.assert_allclose(states, reference.states(text, 128), atol=TOLERANCE)


def test_a_long_context_model_equals_transformers(tmp_path):
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    from tests.services.models import SPREAD, VOCABULARY, save, xlm_tokenizer

    torch.manual_seed(1)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=1026,
        initializer_range=SPREAD,
        type_vocab_size=1,
        pad_token_id=1,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    folder = save(model, tmp_path / "m", xlm_tokenizer(), pooling="cls", dtype="float32")
    texts = ["word " * 900, "word " * 900, "short", "of another length"]
    outputs, spec = compute(folder, texts)
    reference = Reference(folder)
    assert spec.max_input_length == 1024
    for text, states in zip(texts, outputs, strict=True):
        np.testing.assert_allclose(states, reference.states(text, 1024), atol=TOLERANCE)
