"""What kind of model a folder is taken for."""

import json

import pytest

from embedfleet.engine.model import Pooling, read_model
from embedfleet.errors import ModelError
from tests.services.models import make_bert

SPLADE_MODULES = [
    {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"path": "1_SpladePooling", "type": "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"},
]


@pytest.fixture
def folder(tmp_path):
    """A masked language model that says nothing of how it is used."""
    return make_bert(tmp_path / "m")


def write(file, value):
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value))


def state_sparse(folder, **config):
    write(folder / "modules.json", SPLADE_MODULES)
    write(
        folder / "1_SpladePooling" / "config.json", {"pooling_strategy": "max", "activation_function": "relu"} | config
    )


def test_splade_is_asked_for(folder):
    spec = read_model(folder, pooling=Pooling.SPLADE)
    assert (spec.kind, spec.pooling) == ("splade", Pooling.SPLADE)


def test_splade_is_stated_by_sentence_transformers(folder):
    state_sparse(folder)
    spec = read_model(folder)
    assert (spec.kind, spec.pooling) == ("splade", Pooling.SPLADE)


def test_a_masked_language_model_with_a_pooling_is_an_embedder(folder):
    write(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    spec = read_model(folder)
    assert (spec.kind, spec.pooling) == ("embedding", Pooling.MEAN)


def test_another_pooling_may_be_asked_of_it(folder):
    assert read_model(folder, pooling=Pooling.CLS).kind == "embedding"


def test_nothing_stated_and_nothing_asked_is_refused(folder):
    with pytest.raises(ModelError, match="pooling is not stated"):
        read_model(folder)


@pytest.mark.parametrize(("key", "value"), [("pooling_strategy", "sum"), ("activation_function", "log1p_relu")])
def test_other_ways_of_splade_are_refused_by_name(folder, key, value):
    state_sparse(folder, **{key: value})
    with pytest.raises(ModelError, match=f"1_SpladePooling.*{key} '{value}' is not supported"):
        read_model(folder)


def test_splade_needs_the_head_that_tells_words(folder):
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | {"architectures": ["BertModel"]})
    with pytest.raises(ModelError, match="needs a masked-language head, the architecture is 'BertModel'"):
        read_model(folder, pooling=Pooling.SPLADE)


@pytest.mark.parametrize("name", ["bert", "distilbert", "xlm-roberta"])
@pytest.mark.parametrize(("stated", "length"), [(64, 64), (None, 128), (4096, 128)])
def test_the_longest_input_is_what_is_stated_within_what_the_positions_allow(folder, name, stated, length):
    write(folder / f"sentence_{name}_config.json", {"max_seq_length": stated})
    assert read_model(folder, pooling=Pooling.CLS).max_input_length == length


@pytest.mark.parametrize(("key", "value"), [("num_attention_heads", 5), ("num_attention_heads", 0)])
def test_heads_that_do_not_divide_the_width_are_refused(folder, key, value):
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | {key: value})
    with pytest.raises(ModelError, match=f"`{key}` is {value}"):
        read_model(folder, pooling=Pooling.CLS)
