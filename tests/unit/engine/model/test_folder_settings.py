"""Settings in a model's folder are obeyed or refused by name, and never ignored."""

import json

import pytest

from embedfleet.engine.model.eos_token import read_eos_token
from embedfleet.engine.model.prompt_config import PromptConfig, read_prompt_config
from embedfleet.engine.model.sentence_config import SentenceConfig, read_sentence_config
from embedfleet.engine.model.sparse_unused_tokens import sparse_unused_tokens
from embedfleet.engine.model.tokenizer_config import TokenizerConfig, read_tokenizer_config
from embedfleet.errors import ModelError

SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"
SENTENCE_BERT = "sentence_bert_config.json"
TOKENIZER = "tokenizer_config.json"


def write(folder, name, **values):
    (folder / name).write_text(json.dumps(values))
    return folder


# prompts


def test_a_folder_without_settings_has_none(tmp_path):
    assert read_prompt_config(tmp_path) == PromptConfig()
    assert read_sentence_config(tmp_path) == SentenceConfig()
    assert read_tokenizer_config(tmp_path) == TokenizerConfig()
    assert read_eos_token(tmp_path) is None


def test_prompts_and_the_default_are_those_of_the_folder(tmp_path):
    write(tmp_path, SENTENCE_TRANSFORMERS, prompts={"q": "query: ", "n": None}, default_prompt_name="q", truncate_dim=8)
    assert read_prompt_config(tmp_path) == PromptConfig({"q": "query: ", "n": ""}, "q", 8)


def test_a_default_that_is_null_is_no_prompt(tmp_path):
    write(tmp_path, SENTENCE_TRANSFORMERS, prompts={"n": None}, default_prompt_name="n", truncate_dim=None)
    assert read_prompt_config(tmp_path) == PromptConfig({"n": ""}, None, None)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"prompts": ["q"]}, "`prompts` is"),
        ({"prompts": {"q": 1}}, "prompt 'q' is 1"),
        ({"prompts": {"q": "a"}, "default_prompt_name": "p"}, "`default_prompt_name` is 'p'"),
        ({"default_prompt_name": "p"}, "`default_prompt_name` is 'p'"),
        ({"prompts": {"q": "a"}, "default_prompt_name": ["q"]}, "`default_prompt_name`"),
        ({"truncate_dim": -1}, "`truncate_dim` is -1"),
        ({"truncate_dim": "8"}, "`truncate_dim` is '8'"),
        ({"max_active_dims": 64}, "`max_active_dims` is 64"),
    ],
)
def test_a_wrong_prompt_setting_is_named(tmp_path, values, error):
    with pytest.raises(ModelError, match=error):
        read_prompt_config(write(tmp_path, SENTENCE_TRANSFORMERS, **values))


# the transformer of sentence-transformers


@pytest.mark.parametrize(
    ("values", "longest"),
    [
        ({"max_seq_length": 128}, 128),
        ({"max_seq_length": None}, None),
        ({"max_seq_length": 128, "tokenizer_args": {"model_max_length": 64}}, 64),
        ({"max_seq_length": 128, "processor_kwargs": {"model_max_length": 32}}, 32),
        ({"tokenizer_args": {"model_max_length": 1e30}}, 10**30),
        ({}, None),
    ],
)
def test_the_longest_input_is_the_tokenizers_before_the_stated_one(tmp_path, values, longest):
    found = read_sentence_config(write(tmp_path, SENTENCE_BERT, **values)).longest
    assert found == longest if longest != 10**30 else found == int(1e30)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"transformer_task": "text-generation"}, "transformer_task"),
        ({"module_output_name": "causal_logits"}, "module_output_name"),
        ({"modality_config": {"text": {"method": "encode"}}}, "modality_config"),
        ({"modality_config": {"text": {"method": "forward", "method_output_name": "hidden"}}}, "modality_config"),
        ({"modality_config": "text"}, "modality_config"),
        ({"query_length": 32}, "query_length"),
        ({"processing_kwargs": {"chat_template": {}}}, "processing_kwargs"),
        ({"model_args": {"rope_theta": 1.0}}, "model_args.rope_theta"),
        ({"model_args": {"model_max_length": 8}}, "model_args.model_max_length"),
        ({"config_kwargs": [1]}, "config_kwargs"),
        ({"do_lower_case": "yes"}, "do_lower_case"),
    ],
)
def test_a_setting_that_changes_the_vectors_is_refused_by_name(tmp_path, values, key):
    with pytest.raises(ModelError, match=key):
        read_sentence_config(write(tmp_path, SENTENCE_BERT, **values))


def test_a_setting_that_changes_nothing_is_passed_over(tmp_path):
    values = {"model_args": {"attn_implementation": "sdpa", "torch_dtype": "float16", "rope_theta": None}}
    values |= {"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}
    assert read_sentence_config(write(tmp_path, SENTENCE_BERT, do_lower_case=True, **values)).lowercases


def test_a_generative_reranker_may_say_so_and_an_embedder_may_not(tmp_path):
    write(tmp_path, SENTENCE_BERT, transformer_task="text-generation", module_output_name="causal_logits")
    assert read_sentence_config(tmp_path, is_generative=True) == SentenceConfig()
    write(tmp_path, SENTENCE_BERT, transformer_task="feature-extraction")
    with pytest.raises(ModelError, match="transformer_task 'feature-extraction'"):
        read_sentence_config(tmp_path, is_generative=True)


def test_arguments_of_the_chat_template_are_read_elsewhere_if_there_is_one(tmp_path):
    write(tmp_path, SENTENCE_BERT, processing_kwargs={"chat_template": {}})
    assert read_sentence_config(tmp_path, has_prompt=True) == SentenceConfig()


# the tokenizer


@pytest.mark.parametrize(
    ("values", "longest"),
    [
        ({"model_max_length": 512}, 512),
        ({"max_len": 256}, 256),
        ({"model_max_length": 512, "max_len": 256}, 512),
        ({"model_max_length": None, "max_len": 256}, 256),
        ({"model_max_length": 512.0}, 512),
        ({"model_max_length": float("inf")}, None),
        ({}, None),
    ],
)
def test_the_longest_input_of_the_tokenizer(tmp_path, values, longest):
    assert read_tokenizer_config(write(tmp_path, TOKENIZER, **values)).longest == longest


@pytest.mark.parametrize("value", [0, -1, 0.5, "512", True, [512], float("nan")])
def test_a_length_that_is_none_is_refused(tmp_path, value):
    with pytest.raises(ModelError, match="`model_max_length` is"):
        read_tokenizer_config(write(tmp_path, TOKENIZER, model_max_length=value))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, True),
        ({"tokenizer_class": "BertTokenizer"}, True),
        ({"tokenizer_class": "TokenizersBackend"}, False),
        ({"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids"]}, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, False),
    ],
)
def test_a_model_gets_token_types_as_transformers_would_give_them(tmp_path, values, expected):
    assert read_tokenizer_config(write(tmp_path, TOKENIZER, **values)).has_token_types is expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("truncation_side", "left"), ("split_special_tokens", True), ("fast_tokenizer_files", ["tokenizer.4.json"])],
)
def test_another_way_of_tokenizing_is_refused_by_name(tmp_path, key, value):
    with pytest.raises(ModelError, match=f"`{key}` is"):
        read_tokenizer_config(write(tmp_path, TOKENIZER, **{key: value}))
    assert read_tokenizer_config(write(tmp_path, TOKENIZER, fast_tokenizer_files=["tokenizer.json"]))


# tokens

CODE = {"auto_map": {"AutoTokenizer": ["a.py", None]}}


@pytest.mark.parametrize(
    ("values", "token"),
    [
        ({"add_eos_token": True, "eos_token": "</s>"}, None),  # transformers ignores it without custom code
        (CODE | {"add_eos_token": True, "eos_token": "</s>"}, "</s>"),
        (CODE | {"add_eos_token": True, "eos_token": {"content": "</s>"}}, "</s>"),
        (CODE | {"add_eos_token": False, "eos_token": "</s>"}, None),
        ({"auto_map": {"AutoModel": "a"}}, None),
    ],
)
def test_a_last_token_is_added_where_custom_code_would_add_it(tmp_path, values, token):
    assert read_eos_token(write(tmp_path, TOKENIZER, **values)) == token


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (CODE, "custom code of a tokenizer, which is never run"),
        (CODE | {"add_eos_token": True, "add_bos_token": True, "eos_token": "</s>"}, "never run"),
        (CODE | {"add_eos_token": True}, "`eos_token` is None"),
        (CODE | {"add_eos_token": True, "eos_token": ""}, "`eos_token` is ''"),
        (CODE | {"add_eos_token": "yes"}, "`add_eos_token` is 'yes'"),
    ],
)
def test_custom_code_whose_effect_is_not_stated_is_refused(tmp_path, values, error):
    with pytest.raises(ModelError, match=error):
        read_eos_token(write(tmp_path, TOKENIZER, **values))


def test_the_tokens_without_a_weight_are_those_of_xlm_roberta_unless_the_folder_names_others(tmp_path):
    assert sparse_unused_tokens(tmp_path) == ["<s>", "</s>", "<pad>", "<unk>"]
    write(tmp_path, TOKENIZER, cls_token="[CLS]", eos_token={"content": "[SEP]"}, pad_token=None, bos_token="[B]")
    assert sparse_unused_tokens(tmp_path) == ["[CLS]", "[SEP]", "<pad>", "<unk>"]
