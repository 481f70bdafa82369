"""The maximum input length, in the file that TEI reads."""

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import (
    AMPERE,
    embedder,
    folder,
    ranker,
)
from tests.services.tei_verdicts import LENGTH, config, refused, served, written


@pytest.mark.parametrize(("tokens", "right"), [(64, 64), (100_000, 512), (1e30, 512), (None, 512), ("x", 512)])
def test_a_missing_length_is_the_tokenizers_up_to_the_number_of_positions(tokens, right):
    found = embedder(
        {LENGTH: {"transformer_task": "feature-extraction"}, "tokenizer_config.json": {"model_max_length": tokens}}
    )
    values, keys = written(found, LENGTH)
    assert (values["max_seq_length"], keys) == (right, {"max_seq_length"})
    assert judge(found, AMPERE).max_input_length == right


def test_without_the_file_a_length_is_written_only_if_tei_would_use_another():
    bare = {LENGTH: None}
    assert served(embedder(bare)).serves_as_it_is
    assert served(embedder(bare | {"tokenizer_config.json": {"model_max_length": 512}})).serves_as_it_is
    values, _ = written(embedder(bare | {"tokenizer_config.json": {"model_max_length": 64}}), LENGTH)
    assert values["max_seq_length"] == 64
    values, _ = written(folder({**ranker().json, "tokenizer_config.json": {"model_max_length": 12}}, head=1), LENGTH)
    assert values["max_seq_length"] == 12, "a cross-encoder's as well"


def test_a_length_beyond_the_number_of_positions_is_reduced_to_it():
    values, _ = written(embedder({LENGTH: {"max_seq_length": 600, "do_lower_case": False}}), LENGTH)
    assert values == {"max_seq_length": 512, "do_lower_case": False}


def test_robertas_positions_begin_after_the_padding_id():
    changes = config(
        model_type="xlm-roberta", architectures=["XLMRobertaModel"], max_position_embeddings=514, pad_token_id=1
    )
    assert served(embedder(changes | {LENGTH: None})).max_input_length == 512
    values, _ = written(embedder(changes | {LENGTH: {"max_seq_length": 514}}), LENGTH)
    assert values["max_seq_length"] == 512


@pytest.mark.parametrize("value", [0, -1, 12.5, True, "512"])
def test_an_invalid_length_is_refused(value):
    assert refused(embedder({LENGTH: {"max_seq_length": value}}))[:2] == (LENGTH, "max_seq_length")
