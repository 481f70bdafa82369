"""Prompts as TEI reads them."""

from dataclasses import replace

from tests.services.tei_folders import (
    AMPERE,
    embedder,
    folder,
    ranker,
)
from tests.services.tei_verdicts import NEW_POOLING, POOLING, refused, served


def test_a_prompt_that_must_not_be_pooled_is_refused():
    assert refused(embedder({POOLING: NEW_POOLING | {"include_prompt": False}}))[:2] == (POOLING, "include_prompt")


def test_the_default_prompt_is_given_as_a_flag():
    prompts = {"prompts": {"query": "query: ", "none": ""}, "default_prompt_name": "query"}
    file = "config_sentence_transformers.json"
    verdict = served(embedder({file: prompts}))
    assert verdict.flags == {"--default-prompt-name": "query"}
    assert verdict.serves_rewritten
    assert served(embedder({file: prompts}), replace(AMPERE, has_prompt=True)).serves_as_it_is
    assert served(embedder({file: prompts | {"default_prompt_name": "none"}})).serves_as_it_is
    assert "pairs" in refused(folder({**ranker().json, file: prompts}, head=1))[2]
    assert refused(embedder({file: {"prompts": {}, "default_prompt_name": "query"}}))[:2] == (
        file,
        "default_prompt_name",
    )
    stated = replace(AMPERE, has_prompt=True, prompt_name="passage")
    assert refused(embedder({file: prompts}), stated)[:2] == ("", "default_prompt_name")
    assert refused(embedder(), stated)[:2] == ("", "default_prompt_name")
    assert served(embedder({file: prompts}), replace(stated, prompt_name="query")).serves_as_it_is
    assert refused(embedder({file: {"prompts": {"a": None}}}))[:2] == (file, "prompts")
