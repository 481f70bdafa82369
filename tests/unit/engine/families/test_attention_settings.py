"""Settings of attention are read as transformers reads them, and refused by key and value if they are not supported."""

import json

import pytest

from embedfleet.engine.families.attention_pattern import FULL, SLIDING, read_layer_types, read_sliding_window
from embedfleet.engine.families.relative_positions import read_relative_positions
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig


@pytest.fixture
def config(tmp_path):
    def make(**values):
        (tmp_path / "config.json").write_text(json.dumps(values))
        return ModelConfig(tmp_path / "config.json")

    return make


def test_the_layers_types_are_the_stated_ones_or_the_familys(config):
    default = [FULL, SLIDING]
    assert read_layer_types(config(layer_types=[SLIDING, FULL]), 2, default) == [SLIDING, FULL]
    assert read_layer_types(config(layer_types=None), 2, default) == default
    assert read_layer_types(config(), 2, default) == default


@pytest.mark.parametrize(
    "kinds", [[FULL], [FULL] * 3, [FULL, "linear_attention"], "full_attention", [FULL, 1], [FULL, [1]]]
)
def test_types_that_are_unknown_or_not_one_a_layer_are_refused(config, kinds):
    with pytest.raises(ModelError, match="`layer_types` is"):
        read_layer_types(config(layer_types=kinds), 2, [FULL, FULL])


@pytest.mark.parametrize(
    ("values", "expected"), [({}, 7), ({"sliding_window": None}, None), ({"sliding_window": 128}, 128)]
)
def test_a_window_that_is_null_is_none_and_one_that_is_absent_is_the_familys(config, values, expected):
    assert read_sliding_window(config(**values), 7) == expected


@pytest.mark.parametrize("window", [0, -1, "128", True, 1.5])
def test_a_window_without_a_token_is_refused(config, window):
    with pytest.raises(ModelError, match="`sliding_window` is"):
        read_sliding_window(config(sliding_window=window), None)


# DeBERTa's relative positions


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["c2p", "p2c"], (True, True)),
        ("c2p|p2c", (True, True)),
        (" P2C ", (False, True)),
        ("c2p", (True, False)),
        ([], (False, False)),
        (None, (False, False)),
        ("", (False, False)),
    ],
)
def test_the_terms_of_a_score_are_those_that_are_listed(config, stated, expected):
    found = read_relative_positions(config(relative_attention=True, pos_att_type=stated))
    assert (found.has_content_to_position, found.has_position_to_content) == expected
    assert found.parts == 1 + sum(expected)


@pytest.mark.parametrize(
    ("values", "span", "exact", "farthest"),
    [
        ({"max_position_embeddings": 512}, 512, 0, 512),
        ({"max_position_embeddings": 512, "max_relative_positions": -1}, 512, 0, 512),
        ({"max_position_embeddings": 512, "max_relative_positions": 64}, 64, 0, 64),
        ({"max_position_embeddings": 512, "position_buckets": 256}, 256, 128, 512),
        ({"max_position_embeddings": 512, "position_buckets": -1}, 512, 0, 512),
        ({}, 512, 0, 512),
    ],
)
def test_distances_share_rows_only_where_there_are_buckets(config, values, span, exact, farthest):
    found = read_relative_positions(config(relative_attention=True, **values))
    assert (found.span, found.exact, found.farthest) == (span, exact, farthest)


@pytest.mark.parametrize("buckets", [2, 3, 128])
def test_buckets_that_do_not_suit_the_distances_are_refused(config, buckets):
    values = {"max_relative_positions": 64, "position_buckets": buckets}
    with pytest.raises(ModelError, match=f"`position_buckets` is {buckets} for distances up to 64"):
        read_relative_positions(config(relative_attention=True, **values))
    assert not read_relative_positions(config(relative_attention=False, **values)).is_relative


@pytest.mark.parametrize(
    ("key", "value"),
    [("pos_att_type", ["p2p"]), ("pos_att_type", 1), ("norm_rel_ebd", "rms"), ("norm_rel_ebd", ["layer_norm"])],
)
def test_other_kinds_are_refused_by_key_and_value(config, key, value):
    with pytest.raises(ModelError, match=f"`{key}` is"):
        read_relative_positions(config(relative_attention=True, **{key: value}))


@pytest.mark.parametrize(
    ("stated", "expected"), [("layer_norm", True), ("none | Layer_Norm", True), ("none", False), (None, False)]
)
def test_the_embeddings_are_normalised_if_that_is_stated(config, stated, expected):
    assert read_relative_positions(config(norm_rel_ebd=stated)).has_layer_norm is expected
