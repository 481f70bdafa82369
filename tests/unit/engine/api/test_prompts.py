"""Prompts that are put before a text and left out of the pooling."""

import asyncio
import json
import shutil

import numpy as np
import pytest

from embedfleet.dialects.serving.openai import EmbeddingsRequest
from embedfleet.dialects.serving.tei import EmbedRequest, Truncation
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import WrongInput
from embedfleet.metrics import TEI, Registry

PROMPT = "represent the query: "  # four tokens
TEXTS = ["a red bird", "over the river and under the stone"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The built-in model with a prompt that is not pooled."""
    folder = shutil.copytree(builtin_model(), tmp_path_factory.mktemp("models") / "m")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean", "include_prompt": False}))
    prompts = {"prompts": {"query": PROMPT, "empty": "", "null": None}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def ask(model, work, **settings):
    """Run ``work`` with the engine's operations."""
    given = EngineSettings(model=str(model), cache_mb=8, **settings)
    engine = load(given, Registry(TEI))
    try:
        return asyncio.run(work(Operations(engine, given)))
    finally:
        engine.close()


def request(*texts, prompt=None, direction="right"):
    return EmbedRequest(texts, True, Truncation(True, direction), prompt, normalize=False, dimensions=None)


def test_the_mean_is_of_the_tokens_behind_the_prompt(model):
    async def work(operations):
        states, _ = await operations.embed_all(request(*TEXTS, prompt="query"))
        return states, (await operations.embed(request(*TEXTS, prompt="query")))[0]

    states, found = ask(model, work)
    expected = [rows[5:].mean(axis=0) for rows in states]  # after [CLS] and the four tokens of the prompt
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_same_tokens_with_and_without_a_prompt_are_told_apart(model):
    async def work(operations):
        plain = request(*(PROMPT + text for text in TEXTS))
        vectors = [(await operations.embed(one))[0] for one in (plain, request(*TEXTS, prompt="query"), plain)]
        whole, _ = await operations.embed_all(plain)
        return vectors, [rows.mean(axis=0) for rows in whole]

    (plain, without, again), whole = ask(model, work)
    np.testing.assert_allclose(plain, whole, atol=1e-6)
    np.testing.assert_array_equal(plain, again)
    assert np.abs(plain - without).max() > 1e-2


def test_an_empty_prompt_changes_nothing(model):
    async def work(operations):
        return [(await operations.embed(request(*TEXTS, prompt=name)))[0] for name in (None, "empty", "null")]

    none, empty, null = ask(model, work)
    np.testing.assert_array_equal(none, empty)
    np.testing.assert_array_equal(none, null)


def test_the_rest_of_a_prompt_is_left_out_of_a_text_truncated_on_the_left(model):
    long = "word " * 251  # one of the prompt's four tokens is cut

    async def work(operations):
        states, _ = await operations.embed_all(request(long, prompt="query", direction="left"))
        return states[0], (await operations.embed(request(long, prompt="query", direction="left")))[0][0]

    states, found = ask(model, work)
    assert len(states) == 256
    np.testing.assert_allclose(found, states[4:].mean(axis=0), atol=1e-6)


def test_a_default_prompt_is_left_out_on_every_route(model):
    async def work(operations):
        embedded, _ = await operations.embed(request(*TEXTS))
        openai, _ = await operations.embeddings(EmbeddingsRequest(TEXTS, True, False, None))
        states, _ = await operations.embed_all(request(*TEXTS))
        return embedded, openai, [rows[5:].mean(axis=0) for rows in states]

    embedded, openai, expected = ask(model, work, default_prompt_name="query")
    np.testing.assert_allclose(embedded, expected, atol=1e-6)
    lengths = np.linalg.norm(embedded, axis=1, keepdims=True)
    np.testing.assert_allclose(openai, embedded / lengths, atol=1e-6)


def test_a_prompt_that_leaves_no_room_is_refused(model):
    async def work(operations):
        with pytest.raises(WrongInput, match="the prompt alone fills the 256 tokens that are read"):
            await operations.embed(request("a"))

    ask(model, work, default_prompt="word " * 300)
