"""An engine serves the model that it loaded, whatever happens to the folder later, and refuses an incomplete one."""

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import load_model, save_model
from safetensors.torch import load_file, save_file

from bench.fuzz.folders import KINDS, make_files, write_files
from embedfleet.engine.backends import make_backend
from embedfleet.engine.compute.embedding_pooler import EmbeddingPooler
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.engine import load as load_engine
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.settings import EngineSettings
from embedfleet.errors import ModelChanged, ModelError
from embedfleet.metrics import TEI, Registry
from tests.services.m3 import make_m3
from tests.services.models import make_bert
from tests.services.onnx_export import to_onnx

LENGTHS = np.array([5, 3], dtype=np.int64)
IDS = np.array([5, 9, 12, 7, 6, 5, 8, 10])
FLAGS = "flags : avx avx2 avx512f avx512_vnni"


def embedder(folder, dtype="float32"):
    make_bert(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    file = folder / "model.safetensors"
    save_file({name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(file).items()}, file)
    return folder


def in_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def in_shards(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for shard in set(places.values()):
        save_file({name: tensors[name] for name, place in places.items() if place == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def in_onnx_with_data(folder):
    file = to_onnx(folder) / "onnx" / "model.onnx"
    save_model(load_model(file), file, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    assert file.with_name("model.onnx_data").stat().st_size > 1_000_000
    return folder


def with_modules(folder):
    write_files(folder, make_files(KINDS["bert with modules"]))
    assert (folder / "2_Dense" / "model.safetensors").is_file()
    return folder


MODELS = {
    "safetensors": embedder,
    "shards": lambda folder: in_shards(embedder(folder)),
    "float16": lambda folder: embedder(folder, "float16"),
    "bfloat16": lambda folder: embedder(folder, "bfloat16"),
    "pickle": lambda folder: in_pickle(embedder(folder)),
    "reranker": lambda folder: make_bert(folder, labels=1),
    "bge-m3": make_m3,
    "onnx": lambda folder: to_onnx(make_bert(folder, labels=1)),
    "onnx with data beside": lambda folder: in_onnx_with_data(make_bert(folder, labels=1)),
    "layers after the pooling": with_modules,
}


def spoil(folder):
    """Overwrite the content of every file in place."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb+") as stream:
                stream.write(os.urandom(file.stat().st_size))


def shorten(folder):
    for file in folder.rglob("*"):
        if file.is_file():
            os.truncate(file, 0)


CASES = [(model, "onnx", "float32") for model in MODELS]
CASES += [(model, "torch", "float32") for model in MODELS if not model.startswith("onnx")]
CASES += [("safetensors", "onnx", "int8"), ("pickle", "onnx", "int8"), ("safetensors", "torch", "bfloat16")]


@pytest.mark.parametrize(("model", "backend", "precision"), CASES)
def test_what_was_loaded_is_served_to_the_end(tmp_path, model, backend, precision):
    folder = MODELS[model](tmp_path / "m")
    spec = read_model(folder)
    runner = make_backend(spec, EngineSettings(backend=backend, precision=precision), cpu_flags=FLAGS)
    vectors = EmbeddingPooler(spec) if spec.kind == "embedding" else None

    def serve():
        rows = runner.forward(IDS, 0 * IDS, LENGTHS, outputs_of(spec))
        return [*rows, *([vectors(rows[0][:5])] if vectors else [])]

    loaded = serve()
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert not [line for line in maps if str(folder) in line and "(deleted)" not in line]
    for harm in (spoil, shorten, shutil.rmtree):
        harm(folder)
        for found, was in zip(serve(), loaded, strict=True):
            np.testing.assert_array_equal(found, was)


@pytest.mark.parametrize("linked", ["model.safetensors", "onnx/model.onnx_data"])
def test_weights_that_are_links_to_elsewhere_are_served(tmp_path, linked):
    """The hub's cache has such links."""
    folder = MODELS["onnx with data beside" if linked.startswith("onnx") else "reranker"](tmp_path / "m")
    spec = read_model(folder)
    (own,) = make_backend(spec, EngineSettings()).forward(IDS, 0 * IDS, LENGTHS, outputs_of(spec))
    (folder / linked).rename(tmp_path / "blob")
    (folder / linked).symlink_to(tmp_path / "blob")
    for packed_dir in ("", str(tmp_path / "packed")):
        backend = make_backend(read_model(folder), EngineSettings(packed_dir=packed_dir))
        (found,) = backend.forward(IDS, 0 * IDS, LENGTHS, outputs_of(spec))
        np.testing.assert_array_equal(found, own)


# Files that change while they are read.


def change_one(folder, spec_files=("model.safetensors",)):
    for name in spec_files:
        with (folder / name).open("rb+") as stream:
            stream.write(stream.read(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.utime(file, ns=(1, 1)),
        lambda file: file.write_bytes(file.read_bytes()),
        lambda file: os.truncate(file, 10),
        lambda file: file.unlink(),
        lambda file: shutil.copy(file, f"{file}.new") and Path(f"{file}.new").replace(file),
    ],
    ids=["touched", "written", "cut", "removed", "replaced"],
)
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors"]
)
def test_any_change_of_any_file_that_is_read_is_seen(tmp_path, name, change):
    folder = with_modules(tmp_path / "m")
    state = FolderState(read_model(folder))
    (folder / "README.md").write_text("of no matter")
    state.check()
    change(folder / name)
    with pytest.raises(ModelChanged, match=f"{name} was changed while the model was loaded"):
        state.check()


@pytest.mark.parametrize("make", ["shards", "onnx with data beside", "bge-m3"])
def test_changes_of_other_weights_files_are_seen_too(tmp_path, make):
    folder = MODELS[make](tmp_path / "m")
    names = {"shards": "model-1.safetensors", "bge-m3": "colbert_linear.pt"}
    file = folder / names.get(make, "onnx/model.onnx_data")
    state = FolderState(read_model(folder))
    change_one(file.parent, [file.name])
    with pytest.raises(ModelChanged, match=file.name):
        state.check()


def load(folder, **options):
    return load_engine(EngineSettings(model=str(folder), **options), Registry(TEI))


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_that_is_written_over_while_it_is_loaded_is_refused_or_served_whole(tmp_path, packed):
    """Another process copies one fine-tune over another: no mixture is served, and no signal ends the engine."""
    folder = make_bert(tmp_path / "m", labels=1)
    others = [make_bert(tmp_path / f"{seed}", labels=1, seed=seed) for seed in (1, 2)]
    seeds = [(other / "model.safetensors").read_bytes() for other in others]
    over = threading.Event()

    def write():
        while not over.is_set():
            for data in seeds:
                (folder / "model.safetensors").write_bytes(data)

    writer = threading.Thread(target=write)
    writer.start()
    told = []
    try:
        for _ in range(6):
            try:
                load(folder, packed_dir=str(tmp_path / "packed") if packed else "").close()
            except (ModelChanged, ModelError) as error:
                told.append(error)
    finally:
        over.set()
        writer.join()
    assert told
    assert all(
        "changed while the model was loaded" in str(error)
        or "truncated" in str(error)
        or "model.safetensors" in str(error)
        for error in told
    )
    assert not packed or not list((tmp_path / "packed").glob("*/complete.json"))
    load(folder).close()


# Weights that are not finite.


def set_number(folder, part, value, dtype=torch.float32):
    """Set the last number of the first tensor whose name contains ``part``."""
    file = folder / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    name = next(name for name in tensors if part in name)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, file, metadata={"format": "pt"})
    return name


def compute(folder, backend="onnx", precision="float32", packed_dir=""):
    spec = read_model(folder)
    settings = EngineSettings(backend=backend, precision=precision, packed_dir=packed_dir)
    runner = make_backend(spec, settings, cpu_flags=FLAGS)
    runner.forward(IDS, 0 * IDS, LENGTHS, outputs_of(spec))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("backend", "precision"), [("onnx", "float32"), ("onnx", "int8"), ("torch", "float32"), ("torch", "bfloat16")]
)
def test_a_weight_that_is_not_finite_refuses_the_load_with_file_and_tensor(tmp_path, backend, precision, dtype, value):
    folder = with_modules(tmp_path / "m")
    name = set_number(folder, "intermediate.dense.weight", value, dtype)
    with pytest.raises(ModelError, match=rf"model\.safetensors: tensor {name} is {value} at \[\d+, \d+\]"):
        compute(folder, backend, precision)


@pytest.mark.parametrize("part", ["word_embeddings.weight", "LayerNorm.bias", "query.bias"])
def test_it_is_refused_in_any_tensor_packed_or_not(tmp_path, part):
    folder = with_modules(tmp_path / "m")
    name = set_number(folder, part, float("nan"))
    for packed_dir in ("", str(tmp_path / "packed")):
        with pytest.raises(ModelError, match=f"tensor {name} is nan"):
            compute(folder, packed_dir=packed_dir)


def test_tensors_that_the_task_does_not_use_may_be_anything(tmp_path):
    """An embedder that was saved with its masked-language head."""
    folder = embedder(tmp_path / "m")
    set_number(folder, "cls.predictions.transform.dense.weight", float("nan"))
    for backend in ("onnx", "torch"):
        load(folder, backend=backend).close()


def test_a_layer_after_the_pooling_and_a_tensor_in_another_file_are_checked(tmp_path):
    folder = with_modules(tmp_path / "m")
    set_number(folder / "2_Dense", "linear.weight", float("nan"))
    with pytest.raises(ModelError, match=r"2_Dense/model\.safetensors: tensor linear\.weight is nan"):
        load(folder)
    folder = embedder(tmp_path / "apart")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "intermediate.dense.weight" in name)
    tensors[name][1, 3] = float("inf")
    tensors[name] = tensors[name].T.contiguous().T
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=rf"pytorch_model\.bin: tensor {name} is inf at \[1, 3\]"):
        load(folder)


def test_finite_numbers_whose_sum_overflows_are_accepted(tmp_path):
    folder = embedder(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "word_embeddings.weight" in name)
    tensors[name][77] = 3e38
    save_file(tensors, folder / "model.safetensors")
    compute(folder)


def test_a_number_too_large_for_the_precision_is_refused_with_a_setting_that_helps(tmp_path):
    folder = embedder(tmp_path / "m")
    name = set_number(folder, "intermediate.dense.weight", 1e5)
    with pytest.raises(ModelError, match=f"tensor {name} has numbers that are too large for torch.float16") as caught:
        load(folder, backend="torch", precision="float16")
    assert caught.value.hint == "set precision to bfloat16 or float32"
    load(folder, backend="torch", precision="bfloat16").close()


def export(folder, value, *, used=True, beside=False):
    """An ONNX file with one number set in the first matrix of a product."""
    from onnx import numpy_helper

    file = to_onnx(folder) / "onnx" / "model.onnx"
    model = load_model(file)
    names = {name for node in model.graph.node if node.op_type == "MatMul" for name in node.input}
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name in names)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[-1] = value
    changed = numpy_helper.from_array(values, tensor.name if used else "of no use")
    tensor.CopyFrom(changed) if used else model.graph.initializer.append(changed)
    outside = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
    save_model(model, file, **outside if beside else {})
    return folder, tensor.name


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_onnx_file_is_checked_too(tmp_path, value, beside):
    folder, name = export(make_bert(tmp_path / "m", labels=1), value, beside=beside)
    with pytest.raises(ModelError, match=rf"onnx/model\.onnx: tensor {name} has the number {value}"):
        load(folder)


def test_masks_and_unused_tensors_of_an_onnx_file_are_accepted(tmp_path):
    load(export(make_bert(tmp_path / "mask", labels=1), -float("inf"))[0]).close()
    load(export(make_bert(tmp_path / "unused", labels=1), float("nan"), used=False)[0]).close()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: os.truncate(data, 1000), "model.onnx_data is truncated"),
        (lambda data: data.unlink(), "model.onnx_data is missing"),
    ],
)
def test_data_beside_an_onnx_file_that_is_not_whole_is_refused_by_name(tmp_path, harm, said):
    folder = in_onnx_with_data(make_bert(tmp_path / "m", labels=1))
    harm(folder / "onnx" / "model.onnx_data")
    with pytest.raises(ModelError, match=said):
        load(folder)
