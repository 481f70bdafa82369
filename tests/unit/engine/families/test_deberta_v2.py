"""DeBERTa-v2 and v3 equal transformers in every shape that config.json can state; other shapes are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.output import Output
from embedfleet.engine.families.disentangled import TILE, Disentangled
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.settings import EngineSettings
from tests.services.family_models import (
    BACKENDS,
    FAMILIES,
    LONGEST,
    NARROW,
    PAIRS,
    TEXTS,
    Made,
    Reference,
    check,
    check_packed,
    check_refused,
    save,
    splade,
)

PLAIN = NARROW | {"max_position_embeddings": LONGEST}
RELATIVE = PLAIN | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
SHAPES = {
    "of v2-xlarge": RELATIVE
    | {"conv_kernel_size": 3, "conv_act": "gelu", "share_att_key": True, "norm_rel_ebd": "layer_norm"}
    | {"position_buckets": 16, "position_biased_input": False, "pos_att_type": "p2c|c2p", "attention_head_size": 8},
    "tables of their own": RELATIVE | {"position_buckets": 16},
    "without buckets": RELATIVE | {"max_relative_positions": 20, "hidden_act": "relu"},
    "content to place": RELATIVE | {"pos_att_type": ["c2p"], "position_buckets": 8, "layer_norm_eps": 1e-3},
    "place to content": RELATIVE | {"pos_att_type": "p2c", "position_buckets": 9},
    "neither": RELATIVE | {"pos_att_type": None},
    "absolute places": PLAIN | {"pos_att_type": ["c2p", "p2c"], "type_vocab_size": 2},
    "narrow words": RELATIVE | {"embedding_size": 16, "position_buckets": 8, "type_vocab_size": 2},
    "a wide kernel of groups": RELATIVE | {"conv_kernel_size": 5, "conv_groups": 4, "position_buckets": 8},
}
LENGTHS = ([1], [TILE], [TILE + 1, 7], [60] * 5, [3, 2 * TILE + 1, 2 * TILE + 1, 9], [500, 1])


def made(folder: Path, config: dict[str, object], head: str = "Model", **more: object) -> Path:
    return save(folder, Made("DebertaV2", config), head, more)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(tmp_path, shape):
    folder = made(tmp_path, SHAPES[shape])
    check(folder, [TEXTS, TEXTS[2:3]], Reference(folder))


class Input:
    """Token ids of one sequence, as `Reference` takes them."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids, self.types = ids, np.zeros_like(ids)


@pytest.mark.parametrize("shape", ["of v2-xlarge", "without buckets"])
def test_long_and_short_texts_beside_each_other(tmp_path, shape):
    longer = {"max_position_embeddings": 500, "max_relative_positions": 300}
    folder = made(tmp_path, SHAPES[shape] | longer)
    reference, spec = Reference(folder), read_model(folder)
    for backend in BACKENDS:
        runner = make_backend(spec, EngineSettings(backend=backend))
        for lengths in LENGTHS:
            ids = np.random.default_rng(sum(lengths)).integers(1000, 20000, sum(lengths))
            (rows,) = runner.forward(ids, np.zeros_like(ids), np.array(lengths), (Output.STATES,))
            for begin, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
                part = slice(begin, begin + length)
                np.testing.assert_allclose(rows[part], reference(Input(ids[part])), atol=1e-5, err_msg=backend)


def test_buckets_are_those_of_the_reference():
    import torch
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    for buckets, farthest in ((256, 512), (32, 128), (8, 33), (9, 65), (4, 9), (64, 1024)):
        distances = torch.arange(-3 * farthest, 3 * farthest + 1)
        wanted = make_log_bucket_position(distances, buckets, farthest).long() + buckets
        rows = Disentangled(None, None, buckets, buckets // 2, farthest, 3 * farthest).rows()
        np.testing.assert_array_equal(rows, wanted.clamp(0, 2 * buckets - 1).numpy())


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_the_classifiers_pooler(tmp_path, activation):
    more = {"pooler_hidden_act": activation, "num_labels": 3}
    folder = made(tmp_path, SHAPES["narrow words"], "ForSequenceClassification", **more)
    check(folder, [PAIRS], Reference(folder))


@pytest.mark.parametrize("legacy", [True, False])
def test_both_word_heads(tmp_path, legacy):
    folder = made(tmp_path, SHAPES["tables of their own"], "ForMaskedLM", legacy=legacy)
    reference = Reference(folder)
    check(folder, [TEXTS], lambda encoded: splade(reference(encoded)), pooling=Pooling.SPLADE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_as_wide_numbers(tmp_path, dtype):
    """Half-precision weights are read exactly; computing in half precision moves a vector by its rounding error."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = made(tmp_path, SHAPES["of v2-xlarge"])
    file = folder / "model.safetensors"
    save_file({name: values.to(getattr(torch, dtype)) for name, values in load_file(file).items()}, file)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    reference, spec = Reference(folder), read_model(folder)
    check(folder, [TEXTS], reference)
    ids = np.arange(1000, 1040)
    (rows,) = make_backend(spec, EngineSettings(backend="torch", precision=dtype)).forward(
        ids, np.zeros_like(ids), np.array([40]), (Output.STATES,)
    )
    np.testing.assert_allclose(rows, reference(Input(ids)), atol=0.02 if dtype == "float16" else 0.15)


def test_in_bytes_and_packed(tmp_path):
    check_packed(read_model(made(tmp_path / "m", SHAPES["of v2-xlarge"])), tmp_path / "packed", worst=0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pos_att_type": ["p2p"]}, r"`pos_att_type` is \['p2p'\]"),
        ({"pos_att_type": 3}, "`pos_att_type` is 3"),
        ({"norm_rel_ebd": "batch_norm"}, "`norm_rel_ebd` is 'batch_norm'"),
        ({"position_buckets": 200}, "`position_buckets` is 200 for distances up to 48"),
        ({"position_buckets": 2}, "`position_buckets` is 2 for distances up to 48"),
        ({"attention_head_size": 16}, "`attention_head_size` is 16"),
        ({"pooler_hidden_size": 64}, "`pooler_hidden_size` is 64"),
        ({"conv_kernel_size": 4}, "`conv_kernel_size` is 4"),
        ({"conv_kernel_size": 3, "conv_groups": 5}, "`conv_groups` is 5"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported"),
        ({"model_type": "deberta"}, "model_type 'deberta' is not supported"),
    ],
)
def test_what_is_not_computed_is_refused_by_its_key(tmp_path, values, message):
    config = {"model_type": "deberta-v2"} | FAMILIES["deberta-v2"].config | values
    check_refused(tmp_path, config, message)
