"""Custom code of a model is never run: our family replaces a known class, and any other class is refused by name."""

import json
from pathlib import Path

import pytest

from embedfleet.engine.families.custom_code import known_class
from embedfleet.engine.families.jina_bert import JinaBert
from embedfleet.engine.families.registry import MODEL_TYPES, read_family
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "type_vocab_size": 2,
    "max_position_embeddings": 48,
    "pad_token_id": 1,
}
JINA = SIZES | {"position_embedding_type": "alibi", "feed_forward_type": "geglu"}
KNOWN = [
    ("bert", SIZES, {}),
    ("bert", SIZES, {"AutoModel": "modeling_bert.BertModel"}),
    ("bert", JINA, {"AutoConfig": "a/b--configuration_bert.JinaBertConfig", "AutoModel": "a/b--m.JinaBertModel"}),
    ("xlm-roberta", SIZES, {"AutoModelForSequenceClassification": "m.XLMRobertaForSequenceClassification"}),
    ("new", SIZES, {"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig", "AutoModel": "a/b--c.NewModel"}),
    ("gte", SIZES, {"AutoModel": "modeling_hf_alibaba_nlp_gte.GteModel"}),
    ("nomic_bert", SIZES, {"AutoModel": "a--b.NomicBertModel", "AutoModelForMaskedLM": "a--b.NomicBertForPreTraining"}),
    ("deberta-v2", SIZES, {"AutoModel": "m.DebertaV2Model"}),
    ("bert", SIZES, {"AutoTokenizer": ["tokenization.Own", None]}),
    ("bert", SIZES, None),
]
UNKNOWN = [
    ("bert", {"AutoModel": "modeling.MyBertModel"}, "AutoModel 'modeling.MyBertModel'"),
    ("bert", {"AutoModel": "modeling.BertModelWithAdapters"}, "BertModelWithAdapters"),
    ("bert", {"AutoModel": "modeling.NomicBertModel"}, "NomicBertModel"),
    ("bert", {"AutoConfig": "configuration.BertFlashConfig"}, "AutoConfig 'configuration.BertFlashConfig'"),
    ("xlm-roberta", {"AutoModel": "jinaai/x--modeling_lora.XLMRobertaLoRA"}, "XLMRobertaLoRA"),
    ("xlm-roberta", {"AutoModel": "m.XLMRobertaModel", "AutoModelForMaskedLM": "m.OtherForMaskedLM"}, "OtherFor"),
    ("roberta", {"AutoModel": "m.XLMRobertaModel"}, "XLMRobertaModel"),
    ("mpnet", {"AutoModel": "m.JinaBertModel"}, "JinaBertModel"),
    ("deberta-v2", {"AutoModel": "m.DebertaModel"}, "DebertaModel"),
    ("bert", {"AutoModel": 3}, "AutoModel 3"),
    ("bert", ["modeling.BertModel"], r"`auto_map` is \['modeling.BertModel'\]"),
]


def config(folder: Path, model_type: str, values: dict[str, object], auto_map: object) -> ModelConfig:
    (folder / "config.json").write_text(json.dumps(values | {"model_type": model_type, "auto_map": auto_map}))
    return ModelConfig(folder / "config.json")


@pytest.mark.parametrize(("model_type", "values", "auto_map"), KNOWN)
def test_a_known_architecture_is_computed_by_our_own(tmp_path, model_type, values, auto_map):
    family = JinaBert if values is JINA else MODEL_TYPES[model_type]
    assert type(read_family(config(tmp_path, model_type, values, auto_map))) is family


@pytest.mark.parametrize(("model_type", "auto_map", "message"), UNKNOWN)
def test_another_is_refused_by_its_name(tmp_path, model_type, auto_map, message):
    with pytest.raises(ModelError, match=message) as refused:
        read_family(config(tmp_path, model_type, SIZES, auto_map))
    assert "auto_map" in str(refused.value)


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("llama_bidirec", "llama_bidirectional_model.LlamaBidirectionalModel"),
        ("bidirectional_pplx_qwen3", "modeling.PPLXQwen3Model"),
        ("gemma3_text", "modeling.Gemma3TextModel"),
        ("qwen2", "modeling_qwen.Qwen2ForSequenceClassification"),
    ],
)
def test_names_that_authors_gave_to_what_is_known(tmp_path, model_type, name):
    assert known_class(config(tmp_path, model_type, SIZES, {"AutoModel": name}))


def test_jinas_code_without_jinas_places_is_no_plain_bert(tmp_path):
    stated = {"AutoModel": "a/b--modeling_bert.JinaBertModel"}
    with pytest.raises(ModelError, match="position_embedding_type 'absolute' is not supported"):
        read_family(config(tmp_path, "bert", SIZES | {"position_embedding_type": "absolute"}, stated))
