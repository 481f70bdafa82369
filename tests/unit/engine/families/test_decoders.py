"""Decoder families as embedders and classifiers equal transformers for every setting of their configs."""

import asyncio
import json
import shutil
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.engine import load
from embedfleet.engine.families.rotary_config import read_rotary
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.pooling_config import Pooling
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.onnx.backend import OnnxBackend
from embedfleet.engine.settings import EngineSettings
from embedfleet.engine.text.tokenization import Tokenization
from embedfleet.errors import ModelError
from embedfleet.metrics import TEI, Registry
from embedfleet.model_folder.config import ModelConfig
from tests.services.family_models import (
    CAUSAL,
    FAMILIES,
    LONGEST,
    PAIRS,
    TEXTS,
    TOLERANCE,
    Made,
    Reference,
    check,
    compute,
    rewritten,
    save,
)

WINDOWED = ["qwen2", "mistral", "gemma3_text"]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ROPES = {
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 500.0},
    "llama3": LLAMA3 | {"original_max_position_embeddings": 16, "rope_theta": 500.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "rope_theta": 500.0},
    "yarn, scaled": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.3, "rope_theta": 500.0}
    | {"original_max_position_embeddings": 12, "beta_fast": 8, "beta_slow": 2, "truncate": False},
    "yarn, told": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3, "rope_theta": 500.0}
    | {"original_max_position_embeddings": 12},
}


def vectors(folder):
    """Compute the pooled vectors of the texts."""
    engine = load(EngineSettings(model=str(folder)), Registry(TEI))

    async def ask():
        encoded = await engine.encode(TEXTS, truncate=True, direction="right", prompt=None)
        inference = await engine.infer(encoded, (Output.VECTOR,))
        return np.array([row for (row,) in inference.outputs])

    try:
        return asyncio.run(ask())
    finally:
        engine.close()


def made(folder, family, head="Model", **config):
    folder.mkdir()
    return save(folder, FAMILIES[family], head, config)


@pytest.mark.parametrize("family", WINDOWED)
def test_lengths_around_the_window(tmp_path, family):
    folder = made(tmp_path / "m", family)
    texts = [" ".join(map(str, range(count))) for count in range(1, 17)]  # with two special tokens; a window of 8
    check(folder, [texts], Reference(folder))


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral", "llama"])
def test_tokens_see_each_other_where_the_config_says_so(tmp_path, family):
    folder = made(tmp_path / "m", family, is_causal=False)
    causal = made(tmp_path / "causal", family)
    check(folder, [TEXTS], Reference(folder))
    (((_, ours),),), (((_, theirs),),) = compute(folder, [TEXTS[2:3]]), compute(causal, [TEXTS[2:3]])
    assert abs(ours[0] - theirs[0]).max() > 0.1


def test_code_beside_a_config_that_says_how_tokens_see_each_other_is_not_needed(tmp_path):
    folder = made(tmp_path / "m", "qwen2", is_causal=False)
    own = rewritten(folder, tmp_path / "own", set(), auto_map={"AutoModel": "modeling_qwen.Qwen2Model"})
    check(own, [TEXTS], Reference(folder))


@pytest.mark.parametrize("around", [True, False], ids=["beside the tokenizer's own", "alone"])
def test_a_text_ends_as_the_tokenizers_own_code_would_end_it(tmp_path, around):
    """The custom code of gte-Qwen2's tokenizer appends a token that its tokenizer.json does not append."""
    folder = made(tmp_path / "m", "qwen2", is_causal=False)
    if not around:
        values = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(values | {"post_processor": None}))
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.no_padding()
    config = {"auto_map": {"AutoTokenizer": ["tokenization_qwen.Qwen2Tokenizer", None]}, "eos_token": "[MASK]"}
    for stated, ends in ((True, [103]), (False, [])):
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"add_eos_token": stated}))
        (answers,) = compute(folder, [TEXTS[:2] + PAIRS[1:2]])
        for text, (encoded, _) in zip(TEXTS, answers[:2], strict=False):
            assert encoded.ids.tolist() == plain.encode(text).ids + ends
        query, text = (plain.encode(part, add_special_tokens=False).ids for part in PAIRS[1])
        pair = [101, *query, 102, *ends, *text, 102, *ends] if around else [*query, *ends, *text, *ends]
        assert answers[2][0].ids.tolist() == pair


def test_what_ends_a_text_is_told_by_tokenize_and_never_twice():
    file = builtin_model() / "tokenizer.json"
    for ending, ids in (("[MASK]", [101, 1037, 102, 103]), ("[SEP]", [101, 1037, 102])):
        tokens = Tokenization(file, ending=ending).tokenize("a", add_special_tokens=True, prompt=None, limit=9)
        assert [token["id"] for token in tokens] == ids
        assert [token["special"] for token in tokens] == [number != 1037 for number in ids]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "tokenizer_config.json: `auto_map` names custom code of a tokenizer"),
        ({"add_eos_token": True, "add_bos_token": True}, "`auto_map` names custom code of a tokenizer"),
        ({"add_eos_token": True}, "`add_eos_token` is true, but `eos_token` is None"),
        ({"add_eos_token": True, "eos_token": {"content": "<eos>"}}, "it lacks the token '<eos>', which must end each"),
    ],
)
def test_a_tokenizers_code_that_is_not_known_is_refused(tmp_path, values, message):
    folder = made(tmp_path / "m", "qwen2", is_causal=False)
    config = {"auto_map": {"AutoTokenizer": ["tokenization_qwen.Qwen2Tokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | values))
    with pytest.raises(ModelError, match=message):
        load(EngineSettings(model=str(folder)), Registry(TEI))


def test_gemma_as_it_generates(tmp_path):
    folder = made(tmp_path / "m", "gemma3_text", use_bidirectional_attention=False)
    check(folder, [TEXTS], Reference(folder))


def test_gemma_in_the_words_of_older_configs(tmp_path):
    """As in google/gemma-3: named bases, a period of full attention, and scaling for full attention only."""
    older = {"rope_theta": 700.0, "rope_local_base_freq": 90.0, "sliding_window_pattern": 2, "num_hidden_layers": 4}
    shape = CAUSAL | {"head_dim": 16, "sliding_window": 9} | older
    (tmp_path / "m").mkdir()
    stretched = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    folder = save(tmp_path / "m", Made("Gemma3Text", shape | stretched), "Model", {})
    own = rewritten(folder, tmp_path / "own", {"layer_types", "rope_parameters"}, **older, **stretched)
    check(own, [TEXTS], Reference(folder))
    check(folder, [TEXTS], Reference(folder))


@pytest.mark.parametrize("name", ROPES)
def test_scaled_rotary_embeddings(tmp_path, name):
    """Angles and scaling equal the library's, for its current keys and for those of older configs."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stated = ROPES[name]
    config = LlamaConfig(**FAMILIES["llama"].config, rope_parameters=dict(stated))
    frequencies, scaling = ROPE_INIT_FUNCTIONS[stated["rope_type"]](config)
    older = {key.replace("rope_type", "type"): value for key, value in stated.items() if key != "rope_theta"}
    told = {"max_position_embeddings": LONGEST}
    for values in ({"rope_parameters": stated}, {"rope_scaling": older, "rope_theta": stated["rope_theta"]}):
        (tmp_path / "config.json").write_text(json.dumps(told | values))
        rotary = read_rotary(ModelConfig(tmp_path / "config.json"), 8, theta=10_000.0)
        np.testing.assert_allclose(rotary.frequencies, frequencies, rtol=1e-6)
        assert rotary.scaling == pytest.approx(scaling)


@pytest.mark.parametrize("name", ["llama3", "yarn, scaled"])
def test_states_with_scaled_rotary_embeddings(tmp_path, name):
    """The original positions may be stated outside of the object, where the library looks first."""
    stated = {key: value for key, value in ROPES[name].items() if key != "original_max_position_embeddings"}
    folder = made(tmp_path / "m", "llama", rope_parameters=stated, original_max_position_embeddings=12)
    check(folder, [TEXTS], Reference(folder))


def test_what_a_config_leaves_out_is_what_the_class_has(tmp_path):
    whole = made(tmp_path / "m", "llama", num_key_value_heads=4, attention_bias=False)
    left_out = {"rms_norm_eps", "num_key_value_heads", "max_position_embeddings", "attention_bias", "hidden_act"}
    folder = rewritten(whole, tmp_path / "own", left_out)
    assert read_model(folder).max_input_length == 2048
    check(folder, [TEXTS[:2]], Reference(folder))


def test_mistral_looks_nearby_unless_the_config_says_null(tmp_path):
    folder = made(tmp_path / "m", "mistral", sliding_window=None)
    check(folder, [TEXTS], Reference(folder))


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_the_head_reads_the_last_token_that_is_no_padding(tmp_path, family):
    """Qwen's tokenizer appends its padding token to a text."""
    folder = made(tmp_path / "m", family, "ForSequenceClassification", num_labels=1, pad_token_id=102)  # [SEP]
    check(folder, [PAIRS, *([pair] for pair in PAIRS)], Reference(folder))
    nothing = made(tmp_path / "n", family, "ForSequenceClassification", num_labels=1, pad_token_id=None)
    check(nothing, [PAIRS], Reference(nothing))


@pytest.mark.parametrize(("pooling", "labels"), [("avg", 1), ("cls", 3), ("last", 1)])
def test_llama_bidirec_classifies_by_its_own_pooling(tmp_path, pooling, labels):
    """transformers lacks llama_bidirec. Its states are Llama's without a mask; its head is implemented again here."""
    folder = made(tmp_path / "m", "llama", "ForSequenceClassification", num_labels=labels, is_causal=False)
    states = made(tmp_path / "states", "llama", is_causal=False)  # same seed, other weights
    tensors = load_file(folder / "model.safetensors")
    shutil.copy(folder / "model.safetensors", states)
    bare = rewritten(states, tmp_path / "bare", set(), architectures=["LlamaModel"])
    reference = Reference(bare)
    names = {"architectures": ["LlamaBidirectionalForSequenceClassification"], "model_type": "llama_bidirec"}
    code = {"auto_map": {"AutoModel": "llama_bidirectional_model.LlamaBidirectionalModel"}}
    own = rewritten(folder, tmp_path / "own", {"is_causal"}, **names, **code, pooling=pooling, temperature=0.2)

    def expected(encoded):
        rows = reference(encoded)
        pooled = {"avg": rows.mean(axis=0), "cls": rows[0], "last": rows[-1]}[pooling]
        return tensors["score.weight"] @ pooled / 0.2

    check(own, [PAIRS], expected)


def test_llama_bidirec_embeds(tmp_path):
    folder = made(tmp_path / "m", "llama", is_causal=False)
    own = rewritten(folder, tmp_path / "own", {"is_causal"}, model_type="llama_bidirec")
    check(own, [TEXTS], Reference(folder))


def test_pplx_embeds(tmp_path):
    folder = made(tmp_path / "m", "qwen3", is_causal=False)
    names = {"model_type": "bidirectional_pplx_qwen3", "architectures": ["PPLXQwen3Model"]}
    code = {"auto_map": {"AutoModel": "modeling.PPLXQwen3Model"}, "use_bidirectional_attention": True}
    check(rewritten(folder, tmp_path / "own", {"is_causal"}, **names, **code), [TEXTS], Reference(folder))


def test_pplx_gives_whole_numbers_where_its_modules_say_so(tmp_path):
    """The test computes round(127 tanh(mean)) itself. Other families may not have this module."""
    folder = made(tmp_path / "m", "qwen3", is_causal=False)
    library = "sentence_transformers.models."
    modules = [("0", "", f"{library}Transformer"), ("1", "1_Pooling", f"{library}Pooling")]
    modules += [("2", "", "st_quantize.FlexibleQuantizer")]
    listed = [{"idx": n, "name": name, "path": path, "type": kind} for n, (name, path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(ModelError, match="module 'FlexibleQuantizer' is not supported"):
        read_model(folder)
    own = rewritten(folder, tmp_path / "own", {"is_causal"}, model_type="bidirectional_pplx_qwen3")
    reference = Reference(folder)
    (answers,) = compute(own, [TEXTS])
    wanted = [np.tanh(reference(encoded).mean(axis=0)) * 127 for encoded, _ in answers]
    found = vectors(own)
    assert (found == np.rint(found)).all()
    assert abs(found - wanted).max() < 0.51
    assert np.ptp(found) > 100


def test_weights_of_half_the_size_are_read_exactly(tmp_path):
    import torch
    import transformers

    folder = made(tmp_path / "m", "gemma3_text")
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "1_Pooling"):
        (shutil.copytree if name == "1_Pooling" else shutil.copy)(folder / name, tmp_path / "half" / name)

    check(tmp_path / "half", [TEXTS[:2]], Reference(tmp_path / "half", dtype=torch.float32))


def test_packed_weights_give_the_same_numbers(tmp_path):
    folder = made(tmp_path / "m", "gemma3_text")
    spec, lengths = read_model(folder), np.array([7, 3, 40])
    ids = np.random.default_rng(0).integers(5, 30_000, lengths.sum())
    feeds = (ids, np.zeros_like(ids), lengths, outputs_of(spec))
    (own,) = OnnxBackend.load(spec, None).forward(*feeds)
    for _ in range(2):
        np.testing.assert_array_equal(OnnxBackend.load(spec, tmp_path / "packed").forward(*feeds)[0], own)


def test_embeddinggemma_as_sentence_transformers_saves_it(tmp_path):
    """Mean pooling, two dense layers without bias or activation, normalisation; shorter vectors are truncated ones."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from torch import manual_seed, nn
    from transformers import PreTrainedTokenizerFast

    body = made(tmp_path / "body", "gemma3_text")
    shutil.rmtree(body / "1_Pooling")
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")}
    PreTrainedTokenizerFast(tokenizer_file=str(body / "tokenizer.json"), **names).save_pretrained(body)
    manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flat = {"bias": False, "activation_function": nn.Identity()}
        layers = [modules.Dense(32, 96, **flat), modules.Dense(96, 24, **flat), modules.Normalize()]
        transformer = modules.Transformer(str(body), max_seq_length=LONGEST)
        model = SentenceTransformer(modules=[transformer, modules.Pooling(32, "mean"), *layers], device="cpu")
        model.save(str(tmp_path / "m"))
        expected = model.encode(TEXTS)
    spec = read_model(tmp_path / "m")
    assert (spec.pooling, spec.dimensions) == (Pooling.MEAN, 24)
    found = vectors(tmp_path / "m")
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1)[:, None], expected, atol=TOLERANCE)
