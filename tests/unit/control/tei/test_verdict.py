"""The text of a verdict, as users read it."""

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import (
    AMPERE,
    embedder,
)
from tests.services.tei_verdicts import LENGTH, NEW_POOLING, POOLING, PROMPTS, config, refused


def said(found, target=AMPERE):
    """Return the lines of the verdict on a folder."""
    return str(judge(found, target)).split("\n  - ")


def test_each_correction_is_a_line_and_the_summary_says_that_the_folder_stays():
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    found = embedder({POOLING: NEW_POOLING, PROMPTS: prompts})
    first, *lines = said(found)
    assert first == (
        "serves it with 2 corrections: `up` gives TEI a corrected copy of the files below and starts TEI with the flags"
        " below, the folder itself stays as it is"
    )
    assert lines == [
        f"{POOLING}: pooling_mode is mean, and TEI does not read this key: pooling_mode_mean_tokens is set instead",
        f"--default-prompt-name=query is added: {PROMPTS} names this prompt as the default, which TEI does not read",
    ]
    assert said(embedder({POOLING: NEW_POOLING}))[0].startswith("serves it with 1 correction: `up` gives TEI")
    assert said(embedder()) == ["serves it as it is"]


def test_a_missing_pooling_is_reported_as_missing():
    (_, line) = said(embedder({POOLING: {"word_embedding_dimension": 32}}))
    assert line == f"{POOLING}: pooling_mode is not stated, so mean: pooling_mode_mean_tokens is set instead"


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (64, "64, the smaller of 64 (model_max_length in tokenizer_config.json) and 512 (positions)"),
        (8192, "512, the smaller of 8192 (model_max_length in tokenizer_config.json) and 512 (positions)"),
        (1e30, "512, the number of positions"),
    ],
)
def test_a_length_is_reported_with_its_source(tokens, why):
    settings = {"tokenizer_config.json": {"model_max_length": tokens}}
    (_, line) = said(embedder({LENGTH: {"do_lower_case": False}} | settings))
    assert line == f"{LENGTH}: max_seq_length is missing: {why}"
    without_file = said(embedder({LENGTH: None} | settings))
    assert without_file[1:] == ([line] if tokens == 64 else []), "TEI takes the positions by itself"


@pytest.mark.parametrize("value", [16, "left"])
def test_a_value_is_reported_as_it_is_written(value):
    file, key = (
        ("config_sentence_transformers.json", "truncate_dim")
        if value == 16
        else (
            "tokenizer_config.json",
            "truncation_side",
        )
    )
    assert refused(embedder({file: {key: value}}))[2].startswith(f"is {value!r}, ")


def test_the_hint_about_our_own_engine_mentions_the_cpu():
    (refusal,) = judge(embedder(config(model_type="albert", architectures=["AlbertModel"])), AMPERE).refusals
    assert "on the CPU instead of the GPU: `embedfleet engine --model DIR` shows" in refusal.hint
