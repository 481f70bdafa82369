"""The kind of model that a folder is read as."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.errors import ModelError
from tests.services.models import make_bert

SPLADE_MODULES = [
    {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"path": "1_SpladePooling", "type": "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"},
]


@pytest.fixture
def folder(tmp_path):
    """A masked language model without settings for its use."""
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
    with pytest.raises(ModelError, match="pooling is unknown"):
        read_model(folder)


@pytest.mark.parametrize(("key", "value"), [("pooling_strategy", "sum"), ("activation_function", "log1p_relu")])
def test_other_ways_of_splade_are_refused_by_name(folder, key, value):
    state_sparse(folder, **{key: value})
    with pytest.raises(ModelError, match=f"1_SpladePooling.*{key} '{value}' is not supported"):
        read_model(folder)


def test_splade_needs_the_head_that_tells_words(folder):
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | {"architectures": ["BertModel"]})
    with pytest.raises(ModelError, match="needs a masked-language head, but the architecture is 'BertModel'"):
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


def classify(folder, **config):
    """Add a classification head to the folder's weights."""
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"classifier.weight": torch.ones(1, 32)}, folder / "model.safetensors")
    change(folder, **config)


def change(folder, **config):
    values = json.loads((folder / "config.json").read_text()) | config
    write(folder / "config.json", {key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize("architectures", [None, [], ["BertModel"]])
def test_a_head_that_config_does_not_name_is_used(folder, architectures):
    classify(folder, architectures=architectures)
    spec = read_model(folder, ranks=True)
    assert (spec.kind, spec.id2label) == ("reranker", {0: "LABEL_0"})
    assert read_model(folder, pooling=Pooling.CLS, ranks=True).kind == "reranker"
    assert read_model(folder).kind == "reranker"


def test_a_head_that_config_does_not_name_is_left_out_where_a_vector_is_asked(folder):
    classify(folder, architectures=["BertModel"])
    assert read_model(folder, pooling=Pooling.CLS).kind == "embedding"


def test_a_head_beside_a_stated_pooling_is_for_nobody_to_rank_with(folder):
    classify(folder, architectures=["BertModel"])
    write(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean"})
    assert read_model(folder).kind == "embedding"
    with pytest.raises(
        ModelError, match=r"the weights have a classification head that no architecture in .*config\.json uses"
    ):
        read_model(folder, ranks=True)


def test_a_model_that_writes_text_ranks_nothing(folder):
    change(folder, architectures=["BertForCausalLM"])
    assert read_model(folder, pooling=Pooling.CLS).kind == "embedding"
    with pytest.raises(ModelError, match="'BertForCausalLM', a model that generates text"):
        read_model(folder, pooling=Pooling.CLS, ranks=True)


def test_a_model_that_writes_text_may_be_an_embedder_by_its_modules(folder):
    change(folder, architectures=["BertForCausalLM"])
    write(folder / "modules.json", [SPLADE_MODULES[0], {"path": "p/q", "type": "sentence_transformers.models.Pooling"}])
    (folder / "p").mkdir()
    write(folder / "p" / "q" / "config.json", {"pooling_mode": "lasttoken"})
    spec = read_model(folder, ranks=True)
    assert (spec.kind, spec.pooling) == ("embedding", Pooling.LAST_TOKEN)


def test_labels_are_numbered_as_config_says_whatever_their_order(folder):
    change(folder, architectures=["BertForSequenceClassification"], id2label={"1": "no", "0": "yes"}, num_labels=7)
    assert list(read_model(folder).id2label.items()) == [(0, "yes"), (1, "no")]


def test_code_that_comes_with_a_model_is_never_taken_for_the_librarys(folder):
    write(folder / "modules.json", [{"path": "", "type": "custom_st.Transformer"}])
    with pytest.raises(ModelError, match=r"'custom_st\.Transformer' is not part of sentence-transformers"):
        read_model(folder, pooling=Pooling.CLS)


def test_a_cross_encoder_with_more_than_a_transformer_is_refused(folder):
    change(folder, architectures=["BertForSequenceClassification"])
    write(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    modules = [SPLADE_MODULES[0], {"path": "1_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}]
    write(folder / "modules.json", modules[:1])
    assert read_model(folder).kind == "classifier"
    write(folder / "modules.json", modules)
    with pytest.raises(ModelError, match="module 'Dense' is not supported"):
        read_model(folder)


def test_a_cross_encoder_with_a_default_prompt_is_refused(folder):
    change(folder, architectures=["BertForSequenceClassification"])
    values = {"model_type": "CrossEncoder", "prompts": {"q": "find: "}, "default_prompt_name": "q"}
    write(folder / "config_sentence_transformers.json", values)
    with pytest.raises(ModelError, match="`default_prompt_name` is 'q'"):
        read_model(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts": {"q": 1}}, "prompt 'q' is 1, it must be a text"),
        ({"prompts": ["q"]}, "`prompts` is"),
        ({"prompts": {"q": "a"}, "default_prompt_name": "p"}, "`default_prompt_name` is 'p', but `prompts` has .'q'."),
        ({"truncate_dim": "all"}, "`truncate_dim` is 'all'"),
    ],
)
def test_prompts_that_are_none_are_refused(folder, values, message):
    write(folder / "config_sentence_transformers.json", values)
    with pytest.raises(ModelError, match=message):
        read_model(folder, pooling=Pooling.CLS)


def test_a_prompt_of_null_is_no_text(folder):
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": None, "document": ""}})
    assert read_model(folder, pooling=Pooling.CLS).prompts.prompts == {"query": "", "document": ""}


@pytest.mark.parametrize(
    ("length", "longest"), [(16, 16), (1e30, 128), (1000000000000000019884624838656, 128), (None, 128)]
)
def test_where_nothing_else_states_it_the_tokenizer_states_the_longest_input(folder, length, longest):
    write(folder / "tokenizer_config.json", {"model_max_length": length})
    assert read_model(folder, pooling=Pooling.CLS).max_input_length == longest
    write(folder / "sentence_bert_config.json", {"max_seq_length": 64})
    assert read_model(folder, pooling=Pooling.CLS).max_input_length == 64


@pytest.mark.parametrize("length", [0, -1, "long", True])
def test_a_length_that_is_none_is_refused(folder, length):
    write(folder / "tokenizer_config.json", {"model_max_length": length})
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: `model_max_length` is"):
        read_model(folder, pooling=Pooling.CLS)
