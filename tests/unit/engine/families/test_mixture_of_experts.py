"""Nomic-BERT with experts equals a second implementation; unsupported settings of its config are refused."""

import json

import numpy as np
import pytest

from embedfleet.engine.model.spec import read_model
from embedfleet.errors import ModelError
from tests.services.family_models import BACKENDS, LONGEST, TEXTS, check, check_packed, check_refused
from tests.services.nomic import CONFIG, NomicReference, make_nomic


def test_the_published_models_layout(tmp_path):
    folder = make_nomic(tmp_path / "m", longest=LONGEST)
    check(folder, [TEXTS, *([text] for text in TEXTS)], NomicReference(folder).states)


@pytest.mark.parametrize(
    "config",
    [
        {"moe_top_k": 1, "num_experts": 5, "moe_every_n_layers": 3},
        {"moe_top_k": 4, "num_experts": 4, "qkv_proj_bias": False, "mlp_fc1_bias": False},
        {"activation_function": "swiglu", "mlp_fc2_bias": False},
        {"activation_function": "geglu", "moe_every_n_layers": 0},
        {"moe_every_n_layers": 0, "num_experts": 0, "qkv_proj_bias": False},
    ],
    ids=["one expert", "all experts", "gated", "gated with biases", "no experts"],
)
def test_other_shapes(tmp_path, config):
    folder = make_nomic(tmp_path / "m", longest=LONGEST, **config)
    check(folder, [TEXTS], NomicReference(folder).states)


def test_at_length(tmp_path):
    folder = make_nomic(tmp_path / "m", longest=700)
    check(folder, [["so many words " * 300, TEXTS[1]]], NomicReference(folder).states)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("moe_normalize_expert_weights", True),
        ("expert_choice_router", True),
        ("num_shared_experts", 1),
        ("moe_top_k", 9),
        ("moe_top_k", 0),
        ("moe_every_n_layers", 1),
        ("causal", True),
        ("parallel_block", True),
        ("rotary_emb_scale_base", 512),
        ("rotary_scaling_factor", 2),
        ("rotary_emb_fraction", 0.5),
    ],
)
def test_what_is_not_computed_is_refused_by_its_key(tmp_path, key, value):
    config = CONFIG | {"n_positions": LONGEST, key: value}
    check_refused(tmp_path, config, f"config.json: `{key}` is {str(value).lower()}")


def test_in_bytes_and_packed(tmp_path):
    """Only the mean error is bounded: a token that takes another expert by a rounding error moves more than others."""
    check_packed(read_model(make_nomic(tmp_path / "m", longest=LONGEST)), tmp_path / "packed", mean=0.02)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_expert_is_named(tmp_path, backend):
    folder = make_nomic(tmp_path / "m", longest=LONGEST)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_experts": 9}))
    with pytest.raises(
        ModelError, match=r"mlp.router.layer.weight has shape \[8, 24\], config.json asks for \[9, 24\]"
    ):
        check(folder, [TEXTS], lambda _: np.zeros(1))
