"""Common client libraries work unchanged with a running fleet."""

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from langchain_openai import OpenAIEmbeddings
from openai import BadRequestError, OpenAI, UnprocessableEntityError

from tests.services.fleet import fleet

pytestmark = pytest.mark.slow

TEXTS = ["What is Deep Learning?", "the price of fish"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with fleet(tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.fixture
def expected(running):
    return np.array(running.embedder.post("/embed", {"inputs": TEXTS}).json)


def test_openai_embeds_in_base64_as_it_does_by_default_and_in_floats(running, expected):
    with OpenAI(base_url=f"{running.embedder.url}/v1", api_key="none") as client:
        packed = client.embeddings.create(model="any", input=TEXTS)
        plain = client.embeddings.create(model="any", input=TEXTS, encoding_format="float")
        short = client.embeddings.create(model="any", input=TEXTS[0], dimensions=16)
    for answer in (packed, plain):
        np.testing.assert_allclose([row.embedding for row in answer.data], expected, atol=1e-6)
        assert answer.usage.total_tokens > 0
    assert len(short.data[0].embedding) == 16


def test_openai_sees_an_error_as_its_own(running):
    with OpenAI(base_url=f"{running.embedder.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(BadRequestError):
            client.embeddings.create(model="any", input=[])
        with pytest.raises(UnprocessableEntityError, match="batch size 4097"):
            client.embeddings.create(model="any", input=["x"] * 4097)


def test_openai_embeds_more_texts_at_once_than_a_replica_takes(running, expected):
    with OpenAI(base_url=f"{running.embedder.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(model="any", input=TEXTS * 60)
    assert [row.index for row in answer.data] == list(range(60 * len(TEXTS)))
    found = np.array([row.embedding for row in answer.data])
    np.testing.assert_allclose(found, np.tile(expected, (60, 1)), atol=1e-6)


def test_hugging_faces_client_embeds(running, expected, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", False
    )  # the default; tests/conftest.py sets it to True
    client = InferenceClient()
    vectors = client.feature_extraction(TEXTS[0], model=running.embedder.url)
    np.testing.assert_allclose(np.array(vectors), expected[:1], atol=1e-6)


def test_langchain_embeds_texts_and_queries(running, expected):
    embeddings = OpenAIEmbeddings(
        base_url=f"{running.embedder.url}/v1", api_key="none", model="any", check_embedding_ctx_length=False
    )
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[0]), expected[0], atol=1e-6)


def test_langchains_foreign_token_ids_are_refused_with_the_setting_to_change(running):
    answer = running.embedder.post("/v1/embeddings", {"input": [[100_257]]})
    assert answer.status == 422
    assert "check_embedding_ctx_length=False" in answer.json["message"]
