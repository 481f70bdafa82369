"""Every family equals transformers, on seeded small random models: alone, beside strangers, cut, and at full length."""

import asyncio
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from embedfleet.engine.engine import load
from embedfleet.engine.families.registry import MODEL_TYPES
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.spec import Pooling
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError
from embedfleet.metrics import TEI, Registry
from tests.services.jina import SLOPES, JinaReference, make_jina
from tests.services.models import SPREAD

TOLERANCE = 1e-5
BACKENDS = ("onnx", "torch")
LONGEST = 48
VOCABULARY = 30522  # of the tokenizer, MiniLM's
NARROW = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": SPREAD,
}
CAUSAL = NARROW | {"max_position_embeddings": LONGEST, "num_key_value_heads": 2, "pad_token_id": 0}


@dataclass(frozen=True)
class Made:
    """How to make a small model of a family.

    Attributes:
        name: of its classes in transformers, before what they are for.
        config: of a body that takes `LONGEST` tokens.
        heads: what it has beside its body.
    """

    name: str
    config: dict[str, object]
    heads: tuple[str, ...] = ("Model", "ForSequenceClassification", "ForMaskedLM")


FAMILIES = {
    "bert": Made("Bert", NARROW | {"max_position_embeddings": LONGEST}),
    "deberta-v2": Made(
        "DebertaV2",
        NARROW
        | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
        | {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        | {"max_position_embeddings": LONGEST},
    ),
    "electra": Made("Electra", NARROW | {"embedding_size": 16, "max_position_embeddings": LONGEST}),
    "albert": Made(
        "Albert",
        NARROW | {"embedding_size": 16, "num_hidden_groups": 2, "max_position_embeddings": LONGEST},
    ),
    "roberta": Made("Roberta", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "xlm-roberta": Made("XLMRoberta", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "camembert": Made("Camembert", NARROW | {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}),
    "distilbert": Made(
        "DistilBert",
        {
            "vocab_size": VOCABULARY,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "initializer_range": SPREAD,
            "max_position_embeddings": LONGEST,
        },
    ),
    "mpnet": Made("MPNet", NARROW | {"max_position_embeddings": LONGEST + 2}),
    "modernbert": Made(
        "ModernBert",
        NARROW
        | {"num_hidden_layers": 4, "local_attention": 8, "max_position_embeddings": LONGEST}
        | {"bos_token_id": 101, "eos_token_id": 102, "cls_token_id": 101, "sep_token_id": 102, "pad_token_id": 0},
    ),
    "gte": Made("Gte", NARROW | {"max_position_embeddings": LONGEST, "type_vocab_size": 2}),
    "new": Made("Gte", NARROW | {"max_position_embeddings": LONGEST, "type_vocab_size": 1}),
    "nomic_bert": Made("NomicBert", NARROW | {"max_position_embeddings": LONGEST}),
    "qwen3": Made("Qwen3", CAUSAL | {"head_dim": 16}, ("Model", "ForSequenceClassification")),
    "qwen2": Made(
        "Qwen2",
        CAUSAL | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        ("Model", "ForSequenceClassification"),
    ),
    "mistral": Made("Mistral", CAUSAL | {"sliding_window": 8}, ("Model", "ForSequenceClassification")),
    "llama": Made("Llama", CAUSAL | {"attention_bias": True, "mlp_bias": True}, ("Model", "ForSequenceClassification")),
    "gemma3_text": Made(
        "Gemma3Text",
        CAUSAL
        | {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 9, "use_bidirectional_attention": True}
        | {"num_hidden_layers": 4, "layer_types": 3 * ["sliding_attention"] + ["full_attention"]},
        ("Model", "ForSequenceClassification"),
    ),
}
TEXTS = [
    "a",
    "two words",
    "deep learning on many short and long texts " * 2,
    "the longest text of all " * 30,
    "é 日 🙂",
]
PAIRS = [("what is a class?", text) for text in TEXTS] + [("a long query " * 30, "a long text " * 30)]


def having(head: str) -> list[str]:
    return [family for family, made in FAMILIES.items() if head in made.heads]


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[..., Path]:
    """Make a family's model once: the same for every test of this module."""
    made: dict[tuple[str, ...], Path] = {}

    def make(family: str, head: str, **config: object) -> Path:
        key = (family, head, json.dumps(config))
        if key not in made:
            made[key] = save(tmp_path_factory.mktemp("model"), FAMILIES[family], head, config)
        return made[key]

    return make


def save(folder: Path, made: Made, head: str, more: dict[str, object]) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{made.name}Config")(**made.config | more)
    model = getattr(transformers, f"{made.name}{head}")(config)
    for name, parameter in model.named_parameters():  # begun at 0, a bias that is not read would not be missed
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=SPREAD)
        elif "norm" in name.lower():  # begun at 1, or at 0, one norm could be taken for another
            parameter.data += SPREAD * torch.randn_like(parameter)
    model.save_pretrained(folder)
    shutil.copy(builtin_model() / "tokenizer.json", folder)
    if head == "Model":
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    return folder


def compute(folder, groups, *, direction="right", pooling=None, backend="onnx"):
    """Of each group of inputs, sent in one request, the inputs' ids and outputs."""
    choice = "auto" if pooling is None else pooling.value.replace("_", "-")
    settings = EngineSettings(model=str(folder), pooling=choice, batch_tokens=4096, backend=backend)
    engine = load(settings, Registry(TEI))

    async def ask(inputs):
        encoded = await engine.encode(inputs, truncate=True, direction=direction, prompt=None)
        inference = await engine.infer(encoded)
        return list(zip(encoded, [rows for (rows,) in inference.outputs], strict=True))

    async def ask_all():
        return [await ask(inputs) for inputs in groups]

    try:
        return asyncio.run(ask_all())
    finally:
        engine.close()


class Reference:
    """A folder's model in transformers, of one input's ids at a time."""

    def __init__(self, folder: Path, **options: object) -> None:
        import transformers

        (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = getattr(transformers, architecture).from_pretrained(folder, **options).eval()

    def __call__(self, encoded) -> np.ndarray:
        import torch

        feeds = {"input_ids": torch.tensor(encoded.ids[None]), "attention_mask": torch.ones(1, len(encoded.ids))}
        if getattr(self._model.config, "type_vocab_size", 0) > 1:
            feeds["token_type_ids"] = torch.tensor(encoded.types[None])
        with torch.no_grad():
            return self._model(**feeds)[0][0].numpy()


def splade(logits: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(logits, 0)).max(axis=0)


def check(folder, groups, expected: Callable[[object], np.ndarray], **options) -> None:
    for backend in BACKENDS:
        for answers in compute(folder, groups, backend=backend, **options):
            for encoded, rows in answers:
                wanted = expected(encoded)
                np.testing.assert_allclose(rows, wanted, atol=TOLERANCE, rtol=TOLERANCE, err_msg=backend)


def test_every_family_is_compared_here():
    elsewhere = {"jina_bert", "llama_bidirec", "bidirectional_pplx_qwen3"}
    assert {*FAMILIES} | elsewhere == set(MODEL_TYPES)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_alone_and_beside_strangers_of_any_length(make, family):
    folder = make(family, "Model")
    check(folder, [TEXTS, *([text] for text in TEXTS)], Reference(folder))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_what_is_cut_to_the_longest_input(make, family, direction, backend):
    folder, text = make(family, "Model"), "one two three four " * 30
    ((answer,),) = compute(folder, [[f"start {text} end"]], direction=direction, backend=backend)
    encoded, states = answer
    assert len(encoded.ids) == LONGEST
    np.testing.assert_allclose(states, Reference(folder)(encoded), atol=TOLERANCE)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize(
    "family", [name for name, made in FAMILIES.items() if "ForSequenceClassification" in made.heads]
)
def test_a_classifier_of_several_labels_and_a_reranker_of_one(make, family, labels):
    folder = make(family, "ForSequenceClassification", num_labels=labels)
    check(folder, [PAIRS, *([pair] for pair in PAIRS)], Reference(folder))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "own decoder"])
@pytest.mark.parametrize("family", having("ForMaskedLM"))
def test_splade(make, family, tied):
    folder = make(family, "ForMaskedLM", tie_word_embeddings=tied)
    reference = Reference(folder)
    check(folder, [TEXTS, TEXTS[:1]], lambda encoded: splade(reference(encoded)), pooling=Pooling.SPLADE)


def rewritten(folder: Path, target: Path, without: set[str], **values: object) -> Path:
    """The model with another config.json: without some keys, and with these."""
    shutil.copytree(folder, target)
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in without}
    (target / "config.json").write_text(json.dumps(kept | values))
    return target


def test_a_config_of_nomic_in_its_authors_words(make, tmp_path):
    folder = make("nomic_bert", "Model", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    names = {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
        "layer_norm_eps": "layer_norm_epsilon",
    }
    config = json.loads((folder / "config.json").read_text())
    own = {name: config[key] for key, name in names.items()} | {"rotary_emb_base": 500, "rotary_emb_fraction": 1.0}
    own |= {"activation_function": "swiglu", "prenorm": False, "rotary_emb_interleaved": False}
    without = {*names, "hidden_act", "rope_parameters", "head_dim"}
    check(rewritten(folder, tmp_path / "own", without, **own), [TEXTS], Reference(folder))


def test_a_size_of_distilbert_that_is_stated_twice_is_refused(make, tmp_path):
    folder = rewritten(make("distilbert", "Model"), tmp_path / "own", set(), num_attention_heads=1)
    with pytest.raises(ModelError, match=r"`n_heads` is .*, `num_attention_heads` is 1"):
        compute(folder, [TEXTS])


@pytest.mark.parametrize("key", ["prenorm", "parallel_block", "rotary_emb_interleaved"])
def test_what_nomic_has_and_we_do_not_is_refused(make, tmp_path, key):
    folder = rewritten(make("nomic_bert", "Model"), tmp_path / "own", set(), **{key: True})
    with pytest.raises(ModelError, match=f"`{key}` is true"):
        compute(folder, [TEXTS])


def test_the_stretched_rotary_embedding_of_alibabas_models(make, tmp_path):
    """Its angles are those of a larger base, all slowed by one factor, which transformers can be told in two words."""
    factor, size = 8.0, 8
    slowed = {"rope_type": "linear", "rope_theta": 20000.0 * factor, "factor": factor ** (2 / size)}
    folder = make("new", "Model", rope_parameters=slowed)
    stretched = {"rope_theta": 20000, "rope_scaling": {"type": "ntk", "factor": factor}, "model_type": "new"}
    check(rewritten(folder, tmp_path / "own", {"rope_parameters"}, **stretched), [TEXTS], Reference(folder))


def test_modernberts_layers_as_older_configs_state_them(make, tmp_path):
    folder = make("modernbert", "Model")
    older = {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    check(rewritten(folder, tmp_path / "own", {"layer_types", "rope_parameters"}, **older), [TEXTS], Reference(folder))


def test_a_classifier_of_modernbert_may_pool_the_mean(make):
    folder = make("modernbert", "ForSequenceClassification", num_labels=1, classifier_pooling="mean")
    check(folder, [PAIRS], Reference(folder))


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("qwen3", {"layer_types": 2 * ["sliding_attention"]}, "names sliding_attention, and there is no window"),
        ("qwen3", {"num_key_value_heads": 3}, "cannot share 3"),
        ("qwen3", {"rope_parameters": {"rope_type": "longrope"}}, "rope_type 'longrope' is not supported"),
        ("qwen3", {"rope_parameters": {"rope_theta": "10"}}, "`rope_theta` is '10'"),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 0, "max_window_layers": 0}, "`sliding_window` is 0"),
        ("qwen2", {"auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"}}, "`auto_map` names code, which is never run"),
        ("llama", {"use_bidirectional_attention": True}, "`use_bidirectional_attention` is True, which transformers"),
        ("llama", {"rms_norm_eps": 10**400}, "`rms_norm_eps` is 1000"),
        ("llama", {"partial_rotary_factor": 0.5}, "`partial_rotary_factor` is 0.5"),
        ("llama", {"model_type": "llama_bidirec", "pooling": "colbert"}, "pooling 'colbert' is not supported"),
        ("llama", {"model_type": "llama_bidirec", "temperature": 0}, "`temperature` is 0.0"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "`low_freq_factor` is None"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}},
            "it must be below `high_freq_factor`",
        ),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2, "rope_theta": 1}}, "`rope_theta` is 1.0"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 10**400}}, "the `factor` of linear is 1000"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "`layer_types` is stated"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "`attn_logit_softcapping` is 50.0"),
        ("gemma3_text", {"is_causal": False}, "`is_causal` is false"),
        ("gemma3_text", {"sliding_window": None}, "`sliding_window` is null"),
        ("gemma3_text", {"query_pre_attn_scalar": 0}, "`query_pre_attn_scalar` is 0.0"),
        ("gemma3_text", {"rope_parameters": {"rope_theta": 10.0}}, "`rope_parameters` is {'rope_theta': 10.0}"),
        ("modernbert", {"layer_types": ["full_attention"]}, "`layer_types` is"),
        ("modernbert", {"decoder_bias": False}, "`decoder_bias` is false"),
        ("gte", {"rope_parameters": None, "rope_scaling": {"type": "ntk"}}, "`factor` of ntk is None"),
        ("gte", {"rope_parameters": None, "rope_scaling": {"type": "ntk", "mixed_b": 0.6}}, "'ntk' is not supported"),
        ("gte", {"position_embedding_type": "absolute"}, "'absolute' is not supported"),
        ("gte", {"logn_attention_scale": True}, "`logn_attention_scale` is true"),
        ("nomic_bert", {"rotary_scaling_factor": 2.0}, "`rotary_scaling_factor` is 2.0"),
        ("nomic_bert", {"num_attention_heads": 32}, "heads are 1 wide"),
        ("modernbert", {"num_hidden_layers": 10**12}, "`num_hidden_layers` is 1000000000000"),
        ("modernbert", {"layer_types": 3}, "`layer_types` is 3"),
        ("bert", {"architectures": {"a": 1}}, "`architectures` is {'a': 1}"),
    ],
)
def test_a_config_that_asks_for_more_is_refused_with_the_value(make, tmp_path, family, values, message):
    folder = rewritten(make(family, "Model"), tmp_path / "own", set(), **values)
    with pytest.raises(ModelError, match=message):
        compute(folder, [TEXTS])


def test_a_causal_model_cannot_be_splade(make, tmp_path):
    folder = rewritten(make("qwen3", "Model"), tmp_path / "own", set(), architectures=["Qwen3ForMaskedLM"])
    with pytest.raises(ModelError, match="no masked-language head"):
        compute(folder, [TEXTS], pooling=Pooling.SPLADE)


@pytest.mark.parametrize("heads", SLOPES)
def test_jina_equals_what_its_papers_say(tmp_path, heads):
    folder = make_jina(tmp_path / "jina", heads=heads, longest=LONGEST)
    check(folder, [TEXTS, *([text] for text in TEXTS)], JinaReference(folder).states)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_reranker_and_a_classifier_of_jina(tmp_path, labels):
    architecture = "JinaBertForSequenceClassification"
    folder = make_jina(tmp_path / "jina", heads=3, longest=LONGEST, architecture=architecture, labels=labels)
    check(folder, [PAIRS], JinaReference(folder).logits)


def test_splade_of_jina(tmp_path):
    folder = make_jina(tmp_path / "jina", heads=2, longest=LONGEST, architecture="JinaBertForMaskedLM")
    reference = JinaReference(folder)
    check(folder, [TEXTS], lambda encoded: splade(reference.words(encoded)), pooling=Pooling.SPLADE)


def test_jina_beyond_the_length_of_short_models(tmp_path):
    folder = make_jina(tmp_path / "jina", heads=2, longest=1024)
    check(folder, [["so many words " * 300, TEXTS[1]]], JinaReference(folder).states)
