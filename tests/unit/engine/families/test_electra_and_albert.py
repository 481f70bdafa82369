"""ELECTRA and ALBERT equal transformers in every shape that config.json can state."""

import json
import shutil

import pytest

from embedfleet.engine.families.registry import read_family
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from tests.services.family_models import FAMILIES, LONGEST, NARROW, TEXTS, Made, Reference, check, save

PLAIN = NARROW | {"max_position_embeddings": LONGEST, "embedding_size": 16}
SHAPES = {
    "electra, words as wide as states": Made("Electra", PLAIN | {"embedding_size": 32, "hidden_act": "relu"}),
    "electra, one type": Made("Electra", PLAIN | {"type_vocab_size": 1, "layer_norm_eps": 1e-3}),
    "albert, one group": Made("Albert", PLAIN | {"num_hidden_layers": 3}),
    "albert, groups of several layers": Made(
        "Albert", PLAIN | {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2, "hidden_act": "gelu"}
    ),
    "albert, groups that do not divide": Made("Albert", PLAIN | {"num_hidden_layers": 5, "num_hidden_groups": 3}),
    "albert, words as wide as states": Made("Albert", PLAIN | {"embedding_size": 32}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(tmp_path, shape):
    folder = save(tmp_path, SHAPES[shape], "Model", {})
    check(folder, [TEXTS, TEXTS[2:3]], Reference(folder))


def test_a_discriminator_is_an_embedder_whose_head_is_of_no_use(tmp_path):
    """Google published ElectraForPreTraining, whose body has a prefix."""
    folder = save(tmp_path / "m", Made("Electra", PLAIN), "ForPreTraining", {})
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    body = shutil.copytree(folder, tmp_path / "body")
    config = json.loads((body / "config.json").read_text())
    (body / "config.json").write_text(json.dumps(config | {"architectures": ["ElectraModel"]}))
    check(folder, [TEXTS], Reference(body))


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("electra", {"is_decoder": True}, "`is_decoder` is true"),
        ("electra", {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ("albert", {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ("albert", {"num_hidden_groups": 3}, "`num_hidden_groups` is 3, `num_hidden_layers` is 2"),
        ("albert", {"num_hidden_groups": 0}, "`num_hidden_groups` is 0, `num_hidden_layers` is 2"),
        ("albert", {"num_attention_heads": 5}, "`num_attention_heads` is 5"),
    ],
)
def test_what_is_not_computed_is_refused_by_its_key(tmp_path, family, values, message):
    config = {"model_type": family} | FAMILIES[family].config | values
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        read_family(ModelConfig(tmp_path / "config.json"))
