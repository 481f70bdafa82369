"""Inputs that may have no token are found, at a cost that is bounded by the size of the body."""

import tracemalloc

import orjson
import pytest

from embedfleet.dialects.request_texts import read_texts
from embedfleet.dialects.splitting.no_token_texts import EXCERPT_CHARACTERS
from embedfleet.dialects.splitting.ranking_reply import RANKING
from embedfleet.dialects.splitting.texts import RerankTexts
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
def test_only_invisible_inputs_are_found(path, request_, places):
    assert [one.place for one in read(path, request_).maybe_tokenless()] == places


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
def test_excerpts_are_bounded(path, request_):
    """A query is joined with every text, so that without a bound their sizes would multiply."""
    texts = read(path, request_)
    tracemalloc.start()
    try:
        found = texts.maybe_tokenless()
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert all(len(one.text) <= EXCERPT_CHARACTERS for one in found)


class Watched(str):
    """A text that counts the calls of its `isspace`."""

    __slots__ = ("looks",)

    def isspace(self):
        self.looks = getattr(self, "looks", 0) + 1
        return super().isspace()


def test_a_query_is_examined_once_for_all_texts():
    query = Watched(BLANK)
    assert len(RerankTexts("rerank", {"query": query}, [BLANK] * 5, RANKING).maybe_tokenless()) == 5
    assert getattr(query, "looks", 0) <= 1  # compiled code calls str.isspace itself
