"""What TEI makes of a folder: each row was seen of a TEI 1.9.3, or is what its source says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import (
    AMPERE,
    BERT,
    CPU,
    DENSE,
    NEW,
    OLD_POOLING,
    embedder,
    folder,
    modules,
    ranker,
    rewritten,
    without,
)

LENGTH = "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
PROMPTS = "config_sentence_transformers.json"
NEW_POOLING = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}


def served(found, target=AMPERE):
    """The verdict on a folder that is served; what is rewritten needs no more."""
    verdict = judge(found, target)
    assert not verdict.refuses, str(verdict)
    again = judge(rewritten(found, verdict), replace(target, has_prompt=True))
    assert again.serves_as_it_is, str(again)
    return verdict


def written(found, name, target=AMPERE):
    """A file as TEI gets it, and of which keys it is said why."""
    verdict = served(found, target)
    assert name in verdict.files, str(verdict)
    return json.loads(verdict.files[name]), {change.key for change in verdict.changes if change.file == name}


def refused(found, target=AMPERE):
    """File, key and reason of the only thing that is against a folder."""
    (refusal,) = judge(found, target).refusals
    assert refusal.hint
    return refusal.file, refusal.key, refusal.reason


def config(**changes):
    return {"config.json": {key: value for key, value in (BERT | changes).items() if value is not ...}}


def test_what_an_older_library_saved_needs_nothing():
    for found in (embedder(), ranker()):
        verdict = judge(found, AMPERE)
        assert verdict.serves_as_it_is
        assert (verdict.files, verdict.flags, verdict.max_input_length) == ({}, {}, 512)


# The table of what was seen, row by row.


def test_a_pooling_by_its_new_key_is_said_by_the_old_ones():
    values, keys = written(embedder({POOLING: NEW_POOLING}), POOLING)
    assert values["pooling_mode_mean_tokens"] is True
    assert values["pooling_mode_cls_token"] is values["pooling_mode_lasttoken"] is False
    assert keys == {"pooling_mode"}


@pytest.mark.parametrize("key", ["pooling_mode_cls_token", "pooling_mode_mean_tokens"])
def test_an_old_key_that_is_missing_is_false(key):
    stated = {"pooling_mode_cls_token": True} if key != "pooling_mode_cls_token" else {"pooling_mode_mean_tokens": True}
    values, keys = written(embedder({POOLING: stated}), POOLING)
    assert values[key] is False
    assert keys == {key}


@pytest.mark.parametrize("mode", ["max", "mean_sqrt_len_tokens", "weightedmean"])
@pytest.mark.parametrize("new", [False, True])
def test_poolings_that_tei_lacks_are_refused(mode, new):
    keys = {"max": "pooling_mode_max_tokens", "weightedmean": "pooling_mode_weightedmean_tokens"}
    key = "pooling_mode" if new else keys.get(mode, f"pooling_mode_{mode}")
    values = {"pooling_mode": mode} if new else {**OLD_POOLING, "pooling_mode_mean_tokens": False, key: True}
    file, where, reason = refused(embedder({POOLING: values}))
    assert (file, where) == (POOLING, key)
    assert mode in reason


@pytest.mark.parametrize(
    "values",
    [
        OLD_POOLING | {"pooling_mode_cls_token": True},
        OLD_POOLING | {"pooling_mode_lasttoken": True},
        {"pooling_mode": ["mean", "max"]},
    ],
)
def test_two_poolings_are_not_taken_for_the_first(values):
    assert "TEI would take the first" in refused(embedder({POOLING: values}))[2]


def test_a_bert_without_pooling_is_not_taken_for_cls():
    bare = embedder({POOLING: None, "modules.json": None})
    file, _, reason = refused(bare)
    assert (file, "TEI would take cls" in reason) == (POOLING, True)
    assert served(bare, replace(AMPERE, pooling="mean")).serves_as_it_is, "a person's word is TEI's flag"


@pytest.mark.parametrize(("tokens", "right"), [(64, 64), (100_000, 512), (1e30, 512), (None, 512), ("x", 512)])
def test_a_length_that_is_not_stated_is_the_tokenizers_and_never_beyond_the_positions(tokens, right):
    found = embedder(
        {LENGTH: {"transformer_task": "feature-extraction"}, "tokenizer_config.json": {"model_max_length": tokens}}
    )
    values, keys = written(found, LENGTH)
    assert (values["max_seq_length"], keys) == (right, {"max_seq_length"})
    assert judge(found, AMPERE).max_input_length == right


def test_without_that_file_the_length_is_written_only_where_tei_would_take_another():
    bare = {LENGTH: None}
    assert served(embedder(bare)).serves_as_it_is
    assert served(embedder(bare | {"tokenizer_config.json": {"model_max_length": 512}})).serves_as_it_is
    values, _ = written(embedder(bare | {"tokenizer_config.json": {"model_max_length": 64}}), LENGTH)
    assert values["max_seq_length"] == 64
    values, _ = written(folder({**ranker().json, "tokenizer_config.json": {"model_max_length": 12}}, head=1), LENGTH)
    assert values["max_seq_length"] == 12, "a cross-encoder's as well"


def test_a_length_beyond_the_positions_is_that_of_the_positions():
    values, _ = written(embedder({LENGTH: {"max_seq_length": 600, "do_lower_case": False}}), LENGTH)
    assert values == {"max_seq_length": 512, "do_lower_case": False}


def test_robertas_first_position_is_behind_the_padding():
    changes = config(
        model_type="xlm-roberta", architectures=["XLMRobertaModel"], max_position_embeddings=514, pad_token_id=1
    )
    assert served(embedder(changes | {LENGTH: None})).max_input_length == 512
    values, _ = written(embedder(changes | {LENGTH: {"max_seq_length": 514}}), LENGTH)
    assert values["max_seq_length"] == 512


@pytest.mark.parametrize("value", [0, -1, 12.5, True, "512"])
def test_a_length_that_is_none_is_refused(value):
    assert refused(embedder({LENGTH: {"max_seq_length": value}}))[:2] == (LENGTH, "max_seq_length")


def test_a_config_without_a_class_or_a_type_is_told_by_the_other():
    values, keys = written(embedder(config(architectures=...)), "config.json")
    assert (values["architectures"], keys) == (["BertModel"], {"architectures"})
    values, keys = written(embedder(config(model_type=...)), "config.json")
    assert (values["model_type"], keys) == ("bert", {"model_type"})
    assert refused(embedder(config(model_type=..., architectures=...)))[:2] == ("config.json", "model_type")
    assert refused(embedder(config(model_type=..., architectures=["OddModel"])))[:2] == ("config.json", "model_type")


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("hidden_dropout_prob", 0.1),
        ("initializer_range", 0.02),
        ("pad_token_id", 0),
        ("layer_norm_eps", 1e-12),
        ("type_vocab_size", 2),
        ("hidden_act", "gelu"),
    ],
)
@pytest.mark.parametrize("absent", [..., None])
def test_keys_that_transformers_fills_in_are_filled_in(key, default, absent):
    values, keys = written(embedder(config(**{key: absent})), "config.json")
    assert (values[key], keys) == (default, {key})
    assert values == BERT | {key: default}


def test_a_cross_encoder_without_labels_gets_those_that_transformers_gives():
    two = {"0": "LABEL_0", "1": "LABEL_1"}
    values, _ = written(ranker({"id2label": None, "label2id": None}, head=2), "config.json")
    assert (values["id2label"], values["label2id"]) == (two, {"LABEL_0": 0, "LABEL_1": 1})
    values, _ = written(ranker({"id2label": None, "label2id": None}), "config.json")
    assert values["id2label"] == {"0": "LABEL_0"}, "as many as the head has"
    values, _ = written(ranker({"label2id": None}), "config.json")
    assert values["label2id"] == {"LABEL_0": 0}


def test_labels_that_do_not_fit_the_head_are_refused():
    for changes, head in (({}, 3), ({"id2label": None, "num_labels": 5}, 1)):
        file, key, reason = refused(ranker(changes, head=head))
        assert (file, key) == ("config.json", "id2label")
        assert f"the head in the weights has {head}" in reason
    assert refused(ranker({"id2label": {"1": "x"}}))[:2] == ("config.json", "id2label")
    assert refused(ranker(head=0))[2].endswith("the weights have no classifier.weight")


def test_a_missing_tokenizer_is_made_of_slow_files_or_asked_for():
    sizes = {"config.json": 10, "modules.json": 9, POOLING: 9, LENGTH: 9, "model.safetensors": 10, "vocab.txt": 10}
    verdict = served(embedder(sizes=sizes, tokenizer='{"version": "1.0"}'))
    assert verdict.files == {"tokenizer.json": b'{"version": "1.0"}'}
    verdict = judge(embedder(sizes=sizes, no_tokenizer="no class of that name"), AMPERE)
    (refusal,) = verdict.refusals
    assert "no class of that name" in refusal.reason
    assert "save_pretrained" in refusal.hint


def test_a_folder_without_normalize_is_served_and_it_is_said():
    verdict = served(embedder({"modules.json": modules("Transformer", "Pooling")}))
    assert verdict.serves_as_it_is
    assert "has no Normalize" in verdict.notes[0]
    assert not served(embedder()).notes


@pytest.mark.parametrize("name", ["config.json", POOLING, LENGTH])
def test_a_byte_order_mark_is_taken_away(name):
    found = embedder(odd=frozenset({name}))
    values, _ = written(found, name)
    assert found.json[name].items() <= values.items()


# Siblings.


def test_a_prompt_that_is_not_to_be_pooled_is_refused():
    assert refused(embedder({POOLING: NEW_POOLING | {"include_prompt": False}}))[:2] == (POOLING, "include_prompt")


@pytest.mark.parametrize("pooling", ["max", "mean-sqrt-len-tokens", "weightedmean", "last-token", "splade"])
def test_a_pooling_in_the_settings_that_tei_cannot_compute_is_refused(pooling):
    found = embedder(config(model_type="mpnet", attention_probs_dropout_prob=0.1, relative_attention_num_buckets=32))
    assert refused(found, replace(AMPERE, pooling=pooling))[:2] == ("", "pooling")


def test_a_pooling_in_another_folder_is_written_where_tei_looks():
    rows = modules("Transformer", "Pooling")
    rows[1]["path"] = "3_Pooling"
    found = embedder({"modules.json": rows, POOLING: None, "3_Pooling/config.json": {"pooling_mode": "cls"}})
    values, _ = written(found, POOLING)
    assert values["pooling_mode_cls_token"] is True


def dense(values=DENSE, rows=None, *, new=False):
    found = embedder(
        {
            "modules.json": rows or modules("Transformer", "Pooling", "Dense", "Normalize", new=new),
            "2_Dense/config.json": values,
        }
    )
    return replace(found, sizes={**found.sizes, "2_Dense/model.safetensors": 10})


def test_a_dense_of_todays_library_is_not_left_out_for_its_name():
    assert served(dense()).serves_as_it_is
    rows, _ = written(dense(new=True), "modules.json")
    assert [row["type"].rpartition(".")[0] for row in rows] == ["sentence_transformers.models"] * 4
    assert [row["path"] for row in rows] == ["", "1_Pooling", "2_Dense", "3_Normalize"]


def test_without_a_dense_the_new_names_change_nothing():
    assert served(embedder({"modules.json": modules(*NEW, new=True)[:2]})).serves_as_it_is


@pytest.mark.parametrize("key", ["bias", "activation_function"])
def test_a_dense_has_what_the_library_takes_where_it_says_nothing(key):
    values, keys = written(dense(without(DENSE, key)), "2_Dense/config.json")
    assert (values[key], keys) == (DENSE[key], {key})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"activation_function": "torch.nn.modules.activation.GELU"}, "activation_function"),
        ({"use_residual": True}, "use_residual"),
        ({"module_input_name": "token_embeddings"}, "module_input_name"),
        ({"in_features": 32.0}, "in_features"),
    ],
)
def test_more_than_tei_computes_of_a_dense_is_refused(changes, key):
    assert refused(dense(DENSE | changes))[:2] == ("2_Dense/config.json", key)


@pytest.mark.parametrize(
    "names",
    [
        ("Transformer", "Pooling", "LSTM"),
        ("Transformer", "WordWeights", "Pooling"),
        ("Transformer", "Pooling", "LayerNorm", "Normalize"),
        ("StaticEmbedding", "Normalize"),
    ],
)
def test_modules_that_tei_leaves_out_are_refused(names):
    found = embedder({"modules.json": modules(*names)})
    assert "modules.json" in {refusal.file for refusal in judge(found, AMPERE).refusals}


def test_a_dense_that_tei_would_place_elsewhere_or_leave_out_is_refused():
    before = modules("Transformer", "Dense", "Pooling")
    behind = modules("Transformer", "Pooling", "Normalize", "Dense")
    for rows in (before, behind):
        found = replace(
            dense(rows=rows),
            json={
                **dense(rows=rows).json,
                "1_Dense/config.json": DENSE,
                "3_Dense/config.json": DENSE,
                "2_Pooling/config.json": OLD_POOLING,
            },
        )
        found = replace(
            found,
            sizes={**found.sizes, **{f"{n}_Dense/model.safetensors": 9 for n in (1, 3)}, "2_Pooling/config.json": 9},
        )
        assert refused(found)[:2] == ("modules.json", "type")
    missing = dense()
    missing = replace(missing, sizes=without(dict(missing.sizes), "2_Dense/model.safetensors"))
    assert refused(missing)[0] == "2_Dense/model.safetensors"
    onnx = replace(dense(), sizes={**dense().sizes, "onnx/model.onnx": 10})
    assert refused(onnx, CPU)[:2] == ("modules.json", "type")
    assert served(onnx).serves_as_it_is, "a GPU's image has no ONNX Runtime"
    assert refused(dense(), replace(AMPERE, version=(1, 8, 2)))[:2] == ("modules.json", "type")


def test_two_poolings_or_none_in_modules_are_refused():
    assert refused(embedder({"modules.json": modules("Transformer", "Pooling", "Pooling")}))[:2] == (
        "modules.json",
        "type",
    )
    assert refused(embedder({"modules.json": modules("Transformer", "Normalize")}))[:2] == ("modules.json", "type")


def test_a_model_in_a_folder_of_its_own_is_refused():
    rows = modules("Transformer", "Pooling")
    rows[0]["path"] = "0_Transformer"
    assert refused(embedder({"modules.json": rows}))[:2] == ("modules.json", "path")


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


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"is_decoder": True}, "is_decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_act": "mish"}, "hidden_act"),
        ({"hidden_size": 32.0}, "hidden_size"),
        ({"quantization_config": {"bits": 8}}, "quantization_config"),
        ({"architectures": "BertModel"}, "architectures"),
    ],
)
def test_what_tei_would_compute_otherwise_is_refused(changes, key):
    assert refused(embedder(config(**changes)))[:2] == ("config.json", key)


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh"])
def test_geus_approximation_goes_by_another_name_in_tei(name):
    values, keys = written(embedder(config(hidden_act=name)), "config.json")
    assert (values["hidden_act"], keys) == ("gelu", {"hidden_act"})


def test_a_head_that_the_config_does_not_name_is_named():
    bare = {"architectures": ["BertModel"], "id2label": {"0": "x"}, "label2id": {"x": 0}}
    for changes in (bare, bare | {"architectures": None}):
        values, _ = written(ranker(changes), "config.json", replace(AMPERE, task="rerank"))
        assert values["architectures"] == ["BertForSequenceClassification"]
    unfit = judge(embedder(head=1), AMPERE)
    assert unfit.serves_as_it_is, "an embedder, whatever else lies in its weights"


def test_a_model_that_cannot_do_what_the_service_is_for_is_refused():
    assert refused(embedder(), replace(AMPERE, task="rerank"))[:2] == ("config.json", "architectures")
    assert refused(ranker(), replace(AMPERE, task="embed"))[:2] == ("config.json", "architectures")
    three = {"id2label": {str(n): str(n) for n in range(3)}, "label2id": {str(n): n for n in range(3)}}
    assert refused(ranker(three, head=3), replace(AMPERE, task="rerank"))[:2] == ("config.json", "id2label")
    tokens = ranker({"architectures": ["BertForTokenClassification"]})
    assert "classifier of whole texts" in refused(tokens)[2]


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


def test_of_splade_only_the_output_is_another():
    splade = replace(AMPERE, pooling="splade")
    files = config(architectures=["BertForMaskedLM"]) | {
        LENGTH: {"max_seq_length": 512, "transformer_task": "fill-mask"}
    }
    assert served(embedder(files), splade).max_input_length == 512
    wanted = {"config_sentence_transformers.json": {"max_active_dims": 4}}
    assert refused(embedder(files | wanted), splade)[:2] == ("config_sentence_transformers.json", "max_active_dims")


def test_what_the_library_writes_today_is_no_such_key():
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
    assert served(embedder(names)).serves_as_it_is, "of one text they are all the same"

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


def test_a_model_that_has_one_type_misses_none():
    values = {"tokenizer_config.json": {"tokenizer_class": "TokenizersBackend"}}
    config = {"config.json": ranker({"type_vocab_size": 1}).json["config.json"]}
    assert served(folder(config | values, head=1)).serves_as_it_is


# What is said.


def said(found, target=AMPERE):
    """The lines of what is said of a folder."""
    return str(judge(found, target)).split("\n  - ")


def test_corrections_are_a_line_each_and_it_is_said_that_the_folder_stays():
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    found = embedder({POOLING: NEW_POOLING, PROMPTS: prompts})
    first, *lines = said(found)
    assert first == (
        "serves it with 2 corrections: `up` gives TEI a corrected copy of the files below and starts TEI with the flags"
        " below, the folder itself stays as it is"
    )
    assert lines == [
        f"{POOLING}: pooling_mode is mean, and TEI does not read this key: pooling_mode_mean_tokens is set for it",
        f"--default-prompt-name=query is given: {PROMPTS} names that prompt as the default, which TEI does not read",
    ]
    assert said(embedder({POOLING: NEW_POOLING}))[0].startswith("serves it with 1 correction: `up` gives TEI")
    assert said(embedder()) == ["serves it as it is"]


def test_a_pooling_that_is_not_stated_is_not_said_to_be_in_the_file():
    (_, line) = said(embedder({POOLING: {"word_embedding_dimension": 32}}))
    assert line == f"{POOLING}: pooling_mode is not stated, so mean: pooling_mode_mean_tokens is set for it"


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (64, "64, the smaller of 64 (model_max_length in tokenizer_config.json) and 512 (positions)"),
        (8192, "512, the smaller of 8192 (model_max_length in tokenizer_config.json) and 512 (positions)"),
        (1e30, "512, the number of positions"),
    ],
)
def test_a_length_is_said_with_what_it_was_taken_from(tokens, why):
    settings = {"tokenizer_config.json": {"model_max_length": tokens}}
    (_, line) = said(embedder({LENGTH: {"do_lower_case": False}} | settings))
    assert line == f"{LENGTH}: max_seq_length is missing: {why}"
    without_file = said(embedder({LENGTH: None} | settings))
    assert without_file[1:] == ([line] if tokens == 64 else []), "TEI takes the positions by itself"


@pytest.mark.parametrize("value", [16, "left"])
def test_a_value_is_said_as_it_is_written(value):
    file, key = (
        ("config_sentence_transformers.json", "truncate_dim")
        if value == 16
        else (
            "tokenizer_config.json",
            "truncation_side",
        )
    )
    assert refused(embedder({file: {key: value}}))[2].startswith(f"is {value!r}, ")


def test_what_our_own_engine_may_do_is_said_to_leave_the_gpu():
    (refusal,) = judge(embedder(config(model_type="albert", architectures=["AlbertModel"])), AMPERE).refusals
    assert "on the CPU and not on the GPU: `embedfleet engine --model DIR` tells" in refusal.hint


# Weights.


def weights(*names, **more):
    sizes = dict.fromkeys((*embedder().json, "tokenizer.json", *names), 10)
    return embedder(sizes=sizes, tensors={}, **more)


def test_a_pickle_alone_is_read_if_it_is_of_a_newer_pytorch():
    verdict = served(weights("pytorch_model.bin", zipped=frozenset({"pytorch_model.bin"})))
    assert "pytorch_model.bin is read" in verdict.notes[0]
    assert "before PyTorch 1.6" in refused(weights("pytorch_model.bin"))[2]
    assert (
        refused(weights("pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"))[0]
        == "pytorch_model.bin.index.json"
    )
    assert refused(weights())[0] == "model.safetensors"
    assert refused(weights("model.safetensors", pointers=frozenset({"model.safetensors"})))[2].startswith(
        "is a git-lfs"
    )


def test_parts_whose_index_is_missing_get_one():
    parts = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    found = replace(weights(*parts), tensors={parts[0]: {"a": (1,)}, parts[1]: {"b": (2,)}})
    values, _ = written(found, "model.safetensors.index.json")
    assert values["weight_map"] == {"a": parts[0], "b": parts[1]}
    half = replace(weights(parts[0]), tensors={parts[0]: {"a": (1,)}})
    assert "1 of 2 parts" in refused(half)[2]


def test_a_part_that_the_index_names_must_be_there():
    index = {"model.safetensors.index.json": {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}}
    sizes = dict.fromkeys((*embedder().json, *index, "tokenizer.json", "one.safetensors"), 10)
    found = embedder(index, sizes=sizes, tensors={"one.safetensors": {"a": (1,)}})
    assert refused(found)[:1] == ("two.safetensors",)


def test_an_adapter_is_not_left_out():
    assert refused(embedder({"adapter_config.json": {}}))[0] == "adapter_config.json"


def test_on_the_cpu_an_onnx_file_is_run_whatever_the_family():
    odd = embedder(config(model_type="albert", architectures=["AlbertModel"]))
    assert refused(odd)[:2] == ("config.json", "model_type")
    onnx = replace(odd, sizes={**odd.sizes, "onnx/model.onnx": 10})
    assert served(onnx, CPU).serves_as_it_is
    assert refused(onnx)[:2] == ("config.json", "model_type")


def test_links_to_outside_are_mounted():
    found = embedder(outside={"model.safetensors": Path("/hub/blobs/1"), LENGTH: Path("/hub/blobs/2")})
    verdict = served(found)
    assert verdict.serves_rewritten
    assert "is mounted as well" in verdict.notes[0]
    assert verdict.links == {"model.safetensors": "/hub/blobs/1", LENGTH: "/hub/blobs/2"}
    many = {f"{n}.txt": Path(f"/hub/{n}") for n in range(300)}
    assert "299 others are links" in refused(embedder(outside=many))[2]
