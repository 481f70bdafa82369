"""Poolings and modules as TEI reads them."""

from dataclasses import replace

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import (
    AMPERE,
    CPU,
    DENSE,
    NEW,
    OLD_POOLING,
    embedder,
    modules,
    without,
)
from tests.services.tei_verdicts import NEW_POOLING, POOLING, config, refused, served, written


def test_a_pooling_under_the_new_key_is_written_under_the_old_keys():
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
def test_two_poolings_are_refused(values):
    assert "TEI would use the first" in refused(embedder({POOLING: values}))[2]


def test_a_bert_without_pooling_is_refused_unless_the_settings_state_one():
    bare = embedder({POOLING: None, "modules.json": None})
    file, _, reason = refused(bare)
    assert (file, "TEI would use cls" in reason) == (POOLING, True)
    assert served(bare, replace(AMPERE, pooling="mean")).serves_as_it_is, "a pooling in the settings becomes TEI's flag"


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


def test_a_dense_under_its_new_class_name_gets_its_old_one():
    assert served(dense()).serves_as_it_is
    rows, _ = written(dense(new=True), "modules.json")
    assert [row["type"].rpartition(".")[0] for row in rows] == ["sentence_transformers.models"] * 4
    assert [row["path"] for row in rows] == ["", "1_Pooling", "2_Dense", "3_Normalize"]


def test_without_a_dense_the_new_names_change_nothing():
    assert served(embedder({"modules.json": modules(*NEW, new=True)[:2]})).serves_as_it_is


@pytest.mark.parametrize("key", ["bias", "activation_function"])
def test_a_missing_key_of_a_dense_gets_the_librarys_default(key):
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
def test_a_dense_with_options_that_tei_ignores_is_refused(changes, key):
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
def test_modules_that_tei_ignores_are_refused(names):
    found = embedder({"modules.json": modules(*names)})
    assert "modules.json" in {refusal.file for refusal in judge(found, AMPERE).refusals}


def test_a_dense_that_tei_would_move_or_ignore_is_refused():
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
