"""Vectors of models with sentence-transformers' modules equal those of the library."""

import asyncio
import json
import shutil
import warnings

import numpy as np
import pytest

from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output import Output
from embedfleet.engine.engine import load
from embedfleet.engine.model.spec import Pooling, read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelError
from embedfleet.metrics import TEI, Registry
from tests.services.models import make_bert

TEXTS = ["a", "two words", "deep learning on many short and long texts " * 3, "é 日 🙂"]
POOLINGS = ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A BERT with its tokenizer, without settings for its use."""
    from transformers import PreTrainedTokenizerFast

    folder = make_bert(tmp_path_factory.mktemp("models") / "bert")
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")}
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names).save_pretrained(folder)
    return folder


def reference(body, folder, pooling="mean", steps=()):
    """Save a model of the library over the body, and return its vectors of the texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformer = modules.Transformer(str(body), max_seq_length=64)
        made = [make(modules, torch) for make in steps]
        model = SentenceTransformer(modules=[transformer, modules.Pooling(32, pooling), *made], device="cpu")
        model.save(str(folder))
        return model.encode(TEXTS)


def vectors(folder):
    engine = load(EngineSettings(model=str(folder)), Registry(TEI))

    async def ask():
        encoded = await engine.encode(TEXTS, truncate=True, direction="right", prompt=None)
        inference = await engine.infer(encoded, (Output.VECTOR,))
        return np.array([row for (row,) in inference.outputs])

    try:
        return asyncio.run(ask()), engine.spec
    finally:
        engine.close()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling(body, tmp_path, pooling):
    expected = reference(body, tmp_path / "m", pooling)
    found, spec = vectors(tmp_path / "m")
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert spec.pooling.value.replace("_", "") == pooling.replace("_", "")


@pytest.mark.parametrize(
    ("steps", "dimensions"),
    [
        ([lambda m, t: m.Dense(32, 24)], 24),
        (
            [
                lambda m, t: m.Dense(32, 48, bias=False, activation_function=t.nn.Identity()),
                lambda m, t: m.Normalize(),
                lambda m, t: m.Dense(48, 16, activation_function=t.nn.ReLU()),
            ],
            16,
        ),
        ([lambda m, t: m.Dense(32, 32, use_residual=True)], 32),
        ([lambda m, t: m.Dense(32, 8, activation_function=t.nn.SiLU(), use_residual=True)], 8),
    ],
    ids=["tanh", "two and a length of one between", "residual", "residual of another width"],
)
def test_layers_after_the_pooling(body, tmp_path, steps, dimensions):
    expected = reference(body, tmp_path / "m", steps=steps)
    found, spec = vectors(tmp_path / "m")
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert (found.shape[1], spec.dimensions) == (dimensions, dimensions)


def test_a_length_of_one_at_the_end_is_for_the_request_to_ask(body, tmp_path):
    expected = reference(body, tmp_path / "m", steps=[lambda m, t: m.Dense(32, 24), lambda m, t: m.Normalize()])
    found, _ = vectors(tmp_path / "m")
    lengths = np.linalg.norm(found, axis=1)
    assert abs(lengths - 1).max() > 0.1
    np.testing.assert_allclose(found / lengths[:, None], expected, atol=1e-5)


@pytest.fixture(scope="module")
def layered(body, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layered") / "m"
    reference(body, folder, steps=[lambda m, t: m.Dense(32, 24)])
    return folder


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("2_Dense/config.json", "in_features", 48, r"2_Dense/config.json: `in_features` is 48, .* has 32 dimensions"),
        ("2_Dense/config.json", "out_features", 20, r"linear.weight has shape \[24, 32\], .* asks for \[20, 32\]"),
        ("2_Dense/config.json", "out_features", 2**63, "`out_features` is 9223372036854775808"),
        ("2_Dense/config.json", "activation_function", "torch.nn.GELU", "activation_function 'GELU' is not supported"),
        ("2_Dense/config.json", "module_input_name", "token_embeddings", "module_input_name 'token_embeddings'"),
        ("2_Dense/config.json", "use_residual", 1, "`use_residual` is 1, it must be true or false"),
        ("1_Pooling/config.json", "pooling_mode", ["cls", "max"], "exactly one kind of pooling"),
        ("1_Pooling/config.json", "pooling_mode", "sum", "the file states: sum"),
        ("1_Pooling/config.json", "include_prompt", 0, "`include_prompt` is 0, it must be true or false"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_file_and_the_value(layered, tmp_path, file, key, value, message):
    folder = shutil.copytree(layered, tmp_path / "m")
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(config | {key: value}))
    with pytest.raises(ModelError, match=message):
        EmbeddingPooler(read_model(folder))


@pytest.mark.parametrize("path", ["../2_Dense", "/2_Dense", "2_Dense/.."])
def test_a_module_outside_the_folder_is_refused(layered, tmp_path, path):
    folder = shutil.copytree(layered, tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="outside of the model's folder"):
        read_model(folder)


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_modules_in_another_order_are_refused(layered, tmp_path, order):
    folder = shutil.copytree(layered, tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([modules[number] for number in order]))
    with pytest.raises(ModelError, match=r"modules.json lists \w+, \w+, \w+: \w+ must be number [12]"):
        read_model(folder)


def test_a_layer_without_weights_is_refused_by_its_folder(layered, tmp_path):
    folder = shutil.copytree(layered, tmp_path / "m")
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="2_Dense has no weights"):
        EmbeddingPooler(read_model(folder))


def test_a_pooling_that_is_asked_keeps_the_layers(layered):
    spec = read_model(layered, pooling=Pooling.CLS)
    assert (spec.pooling, spec.dimensions) == (Pooling.CLS, 24)
