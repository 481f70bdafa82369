"""Inputs of which a tokenizer may make no token: which are doubted, and that to look costs no more than the body."""

import tracemalloc

import orjson
import pytest

from embedfleet.dialects.request_texts import read_texts
from embedfleet.dialects.splitting.ranking_reply import RANKING
from embedfleet.dialects.splitting.texts import RerankTexts
from embedfleet.dialects.splitting.tokenless import EXCERPT_CHARACTERS
from tests.services.text_replica import JSON

BLANK = "\u3000"
LONG = BLANK * 50_000
MANY = ["a"] * 1000


def read(path, request):
    texts = read_texts(path, JSON, orjson.dumps(request))
    assert texts is not None
    return texts


@pytest.mark.parametrize(
    ("path", "request_", "places"),
    [
        ("/rerank", {"query": "", "texts": ["", BLANK, "a"]}, ["texts[0]", "texts[1]"]),
        ("/rerank", {"query": "q", "texts": ["", BLANK]}, []),
        ("/rerank", {"query": BLANK, "texts": ["a", "\u200b"]}, ["texts[1]"]),
        ("/predict", {"inputs": [["", BLANK], [BLANK], ["a", BLANK], [BLANK, "a"], [""]]}, ["inputs[0]", "inputs[1]"]),
        ("/predict", {"inputs": BLANK}, ["inputs[0]"]),
        ("/embed", {"inputs": [BLANK + "a", BLANK, "a", "\u0301 \t"]}, ["inputs[1]", "inputs[3]"]),
        (
            "/similarity",
            {"inputs": {"source_sentence": " ", "sentences": ["a", " "]}},
            ["inputs.source_sentence", "inputs.sentences[1]"],
        ),
    ],
)
def test_just_what_cannot_be_seen_is_doubted(path, request_, places):
    assert [doubt.place for doubt in read(path, request_).maybe_tokenless()] == places


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/rerank", {"query": LONG, "texts": MANY}),
        ("/rerank", {"query": LONG, "texts": [BLANK] * 1000}),
        ("/predict", {"inputs": [[LONG, BLANK]] * 10}),
        ("/embed", {"inputs": [LONG] * 10}),
        ("/similarity", {"inputs": {"source_sentence": LONG, "sentences": [LONG] * 10}}),
    ],
)
def test_no_doubt_is_longer_than_what_is_looked_at(path, request_):
    """A query goes with every text: joined they would be the product of both."""
    texts = read(path, request_)
    tracemalloc.start()
    try:
        doubts = texts.maybe_tokenless()
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert all(len(doubt.text) <= EXCERPT_CHARACTERS for doubt in doubts)


class Watched(str):
    """Tells how often it was looked at."""

    __slots__ = ("looks",)

    def isspace(self):
        self.looks = getattr(self, "looks", 0) + 1
        return super().isspace()


def test_a_query_is_looked_at_once_however_many_texts_go_with_it():
    query = Watched(BLANK)
    assert len(RerankTexts("rerank", {"query": query}, [BLANK] * 5, RANKING).maybe_tokenless()) == 5
    assert getattr(query, "looks", 0) <= 1  # compiled it is looked at in C
