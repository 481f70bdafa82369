"""The verdict on a whole folder: each row was observed in TEI 1.9.3 or follows from its source."""

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import (
    AMPERE,
    embedder,
    modules,
    ranker,
)
from tests.services.tei_verdicts import LENGTH, POOLING, served, written


def test_a_folder_of_an_older_library_needs_no_correction():
    for found in (embedder(), ranker()):
        verdict = judge(found, AMPERE)
        assert verdict.serves_as_it_is
        assert (verdict.files, verdict.flags, verdict.max_input_length) == ({}, {}, 512)


def test_a_missing_tokenizer_is_made_from_slow_files_or_refused():
    sizes = {"config.json": 10, "modules.json": 9, POOLING: 9, LENGTH: 9, "model.safetensors": 10, "vocab.txt": 10}
    verdict = served(embedder(sizes=sizes, tokenizer='{"version": "1.0"}'))
    assert verdict.files == {"tokenizer.json": b'{"version": "1.0"}'}
    verdict = judge(embedder(sizes=sizes, no_tokenizer="no class of that name"), AMPERE)
    (refusal,) = verdict.refusals
    assert "no class of that name" in refusal.reason
    assert "save_pretrained" in refusal.hint


def test_a_folder_without_normalize_is_served_with_a_note():
    verdict = served(embedder({"modules.json": modules("Transformer", "Pooling")}))
    assert verdict.serves_as_it_is
    assert "has no Normalize" in verdict.notes[0]
    assert not served(embedder()).notes


@pytest.mark.parametrize("name", ["config.json", POOLING, LENGTH])
def test_a_byte_order_mark_is_removed(name):
    found = embedder(odd=frozenset({name}))
    values, _ = written(found, name)
    assert found.json[name].items() <= values.items()
