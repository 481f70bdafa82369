"""Rotary positions as TEI reads them."""

import pytest

from embedfleet.control.tei.folder import judge
from tests.services.tei_folders import AMPERE
from tests.services.tei_published import EMBEDDERS, name_of, published, rewritten_config


def test_rotary_keys_of_transformers_5_are_moved_to_those_that_tei_reads():
    new = {"rope_parameters": {"rope_theta": 5e6, "rope_type": "default"}, "rope_theta": ..., "rope_scaling": ...}
    for kind in ("mistral", "qwen2", "qwen3"):
        values = rewritten_config(published(name_of(kind), **new, pad_token_id=None))
        assert values["rope_theta"] == 5e6
        assert not {"rope_parameters", "pad_token_id"} & values.keys()
    scaled = EMBEDDERS[name_of("llama_bidirec")][0]["rope_scaling"]
    values = rewritten_config(
        published(name_of("llama_bidirec"), **new | {"rope_parameters": scaled | {"rope_theta": 5e5}})
    )
    assert (values["rope_theta"], values["rope_scaling"]) == (5e5, scaled)


def test_the_bases_of_both_kinds_of_layers_are_moved_to_the_keys_that_tei_reads():
    kinds = {"full_attention": {"rope_theta": 7e4, "rope_type": "default"}, "sliding_attention": {"rope_theta": 3e3}}
    old = {"global_rope_theta": ..., "local_rope_theta": ..., "global_attn_every_n_layers": ...}
    layers = ["full_attention", "sliding_attention"]
    values = rewritten_config(published(name_of("modernbert"), rope_parameters=kinds, layer_types=layers * 2, **old))
    assert (values["global_rope_theta"], values["local_rope_theta"]) == (7e4, 3e3)
    assert values["global_attn_every_n_layers"] == 2
    old = {"rope_theta": ..., "rope_local_base_freq": ..., "_sliding_window_pattern": ...}
    values = rewritten_config(published(name_of("gemma3_text"), rope_parameters=kinds, **old))
    assert (values["rope_theta"], values["rope_local_base_freq"], values["_sliding_window_pattern"]) == (7e4, 3e3, 6)


@pytest.mark.parametrize("kind", ["mistral", "qwen3", "llama_bidirec", "new", "modernbert"])
@pytest.mark.parametrize("scaling", ["linear", "yarn", "dynamic", "longrope"])
def test_scaled_positions_that_tei_ignores_or_misreads_are_refused(kind, scaling):
    for changes in (
        {"rope_scaling": {"rope_type": scaling, "factor": 2.0}},
        {"rope_scaling": {"type": scaling, "factor": 2}},
    ):
        (refusal,) = judge(published(name_of(kind), **changes), AMPERE).refusals
        assert scaling in refusal.reason


def test_a_number_of_positions_under_two_keys_is_kept_under_one():
    values = rewritten_config(published(name_of("nomic_bert"), max_position_embeddings=2048))
    assert "max_position_embeddings" not in values
