"""The table of model families by ``model_type``."""

from embedfleet.engine.families.albert import Albert
from embedfleet.engine.families.bert import Bert
from embedfleet.engine.families.custom_code import known_class
from embedfleet.engine.families.deberta_v2 import DebertaV2
from embedfleet.engine.families.distilbert import DistilBert
from embedfleet.engine.families.electra import Electra
from embedfleet.engine.families.family import Family
from embedfleet.engine.families.gemma3 import Gemma3
from embedfleet.engine.families.gte import Gte
from embedfleet.engine.families.jina_bert import JinaBert
from embedfleet.engine.families.llama import Llama
from embedfleet.engine.families.mistral import Mistral
from embedfleet.engine.families.modernbert import ModernBert
from embedfleet.engine.families.mpnet import MpNet
from embedfleet.engine.families.nomic_bert import NomicBert
from embedfleet.engine.families.qwen2 import Qwen2
from embedfleet.engine.families.qwen3 import Qwen3
from embedfleet.engine.families.roberta import Roberta
from embedfleet.model_folder.config import ModelConfig

_FAMILIES: tuple[type[Family], ...] = (
    Albert,
    Bert,
    DebertaV2,
    DistilBert,
    Electra,
    Gemma3,
    Gte,
    JinaBert,
    Llama,
    Mistral,
    ModernBert,
    MpNet,
    NomicBert,
    Qwen2,
    Qwen3,
    Roberta,
)

MODEL_TYPES: dict[str, type[Family]] = {name: family for family in _FAMILIES for name in family.model_types}
"""``model_type`` in config.json → family."""


def read_family(config: ModelConfig) -> Family:
    """Make the family that a config.json names, with the shape that it states.

    Raises:
        ModelError: The family is unknown or does not support a value, or the model's custom code does not have the
            family's name.
    """
    family: type[Family] = config.choice("model_type", MODEL_TYPES, "")
    code = known_class(config)
    is_jina = code == "jinabert" or config.values.get("position_embedding_type") == "alibi"
    if family is Bert and is_jina:  # JinaBERT also states the type bert
        family = JinaBert
    return family(config)
