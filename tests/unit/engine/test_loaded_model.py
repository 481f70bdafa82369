"""The input length of a loaded model, within the limits of the settings."""

import shutil

import pytest

from embedfleet.engine.loaded_model import load_model
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError


def test_an_input_length_over_max_batch_tokens_is_refused_at_load():
    with pytest.raises(ModelError, match="max_batch_tokens is 255, below the model's input length of 256"):
        load_model(EngineSettings(max_batch_tokens=255, auto_truncate=False))


def test_where_long_inputs_are_truncated_max_batch_tokens_limits_them(caplog):
    model = load_model(EngineSettings(max_batch_tokens=255))
    assert model.spec.max_input_length == 255
    assert "inputs are truncated to 255 tokens, max_batch_tokens; the model reads 256" in caplog.text


def test_a_length_that_tei_does_not_read_is_logged(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = shutil.copytree(builtin_model(), tmp_path / "m")
    (folder / "sentence_bert_config.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 100}')
    load_model(EngineSettings(model=str(folder)))
    assert "inputs are truncated to 100 tokens, as tokenizer_config.json says; TEI reads 512" in caplog.text
