"""Keys that TEI does not read."""

from dataclasses import replace

import pytest

from tests.services.tei_folders import (
    AMPERE,
    embedder,
    folder,
    modules,
    ranker,
)
from tests.services.tei_verdicts import LENGTH, config, refused, served


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (LENGTH, {"config_args": {"attn_implementation": "eager"}}),
        (LENGTH, {"transformer_task": "fill-mask"}),
        (LENGTH, {"modality_config": {"text": {"method_output_name": "pooler_output"}}}),
        (LENGTH, {"module_output_name": "sentence_embedding"}),
        ("config_sentence_transformers.json", {"truncate_dim": 16}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
    ],
)
def test_keys_that_tei_does_not_read_must_change_nothing(file, values):
    (key,) = values
    found = {file: ({"max_seq_length": 512} if file == LENGTH else {}) | values}
    assert refused(embedder(found))[:2] == (file, key)


def test_splade_models_may_state_their_own_output():
    splade = replace(AMPERE, pooling="splade")
    files = config(architectures=["BertForMaskedLM"]) | {
        LENGTH: {"max_seq_length": 512, "transformer_task": "fill-mask"}
    }
    assert served(embedder(files), splade).max_input_length == 512
    wanted = {"config_sentence_transformers.json": {"max_active_dims": 4}}
    assert refused(embedder(files | wanted), splade)[:2] == ("config_sentence_transformers.json", "max_active_dims")


def test_values_that_the_library_writes_today_are_accepted():
    today = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
    }
    assert served(embedder({LENGTH: {"max_seq_length": 512} | today})).serves_as_it_is
    scores = {
        "transformer_task": "sequence-classification",
        "modality_config": {"text": {"method_output_name": "logits"}},
        "module_output_name": "scores",
    }
    files = {
        **ranker().json,
        LENGTH: {"max_seq_length": 512} | scores,
        "modules.json": modules("Transformer", new=True),
    }
    assert served(folder(files, head=1)).serves_as_it_is


def test_a_cross_encoder_that_is_given_no_token_types_is_refused():
    names = {"tokenizer_config.json": {"model_input_names": ["input_ids", "attention_mask"]}}
    found = folder({**ranker().json, **names}, head=1)
    assert refused(found)[:2] == ("tokenizer_config.json", "model_input_names")
    assert served(embedder(names)).serves_as_it_is, "a single text has only one token type"

    backend = {"tokenizer_config.json": {"tokenizer_class": "TokenizersBackend"}}
    found = folder({**ranker().json, **backend}, head=1)
    assert refused(found)[:2] == ("tokenizer_config.json", "tokenizer_class")
    assert served(embedder(backend)).serves_as_it_is


@pytest.mark.parametrize(
    "values",
    [
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"tokenizer_class": "BertTokenizer"},
        {
            "tokenizer_class": "TokenizersBackend",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        },
    ],
)
def test_a_cross_encoder_that_is_given_token_types_is_served(values):
    assert served(folder({**ranker().json, "tokenizer_config.json": values}, head=1)).serves_as_it_is


def test_a_model_with_one_token_type_needs_no_token_types():
    values = {"tokenizer_config.json": {"tokenizer_class": "TokenizersBackend"}}
    config = {"config.json": ranker({"type_vocab_size": 1}).json["config.json"]}
    assert served(folder(config | values, head=1)).serves_as_it_is
