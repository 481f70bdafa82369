"""The weights that TEI reads."""

from dataclasses import replace
from pathlib import Path

from tests.services.tei_folders import (
    CPU,
    embedder,
)
from tests.services.tei_verdicts import LENGTH, config, refused, served, written


def weights(*names, **more):
    sizes = dict.fromkeys((*embedder().json, "tokenizer.json", *names), 10)
    return embedder(sizes=sizes, tensors={}, **more)


def test_a_pickle_alone_is_read_if_it_is_of_a_newer_pytorch():
    verdict = served(weights("pytorch_model.bin", zipped=frozenset({"pytorch_model.bin"})))
    assert "TEI reads pytorch_model.bin" in verdict.notes[0]
    assert "older than PyTorch 1.6" in refused(weights("pytorch_model.bin"))[2]
    assert (
        refused(weights("pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"))[0]
        == "pytorch_model.bin.index.json"
    )
    assert refused(weights())[0] == "model.safetensors"
    assert refused(weights("model.safetensors", pointers=frozenset({"model.safetensors"})))[2].startswith(
        "is a git-lfs"
    )


def test_shards_without_an_index_get_one():
    parts = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    found = replace(weights(*parts), tensors={parts[0]: {"a": (1,)}, parts[1]: {"b": (2,)}})
    values, _ = written(found, "model.safetensors.index.json")
    assert values["weight_map"] == {"a": parts[0], "b": parts[1]}
    half = replace(weights(parts[0]), tensors={parts[0]: {"a": (1,)}})
    assert "1 of 2 shards" in refused(half)[2]


def test_a_shard_that_the_index_names_must_exist():
    index = {"model.safetensors.index.json": {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}}
    sizes = dict.fromkeys((*embedder().json, *index, "tokenizer.json", "one.safetensors"), 10)
    found = embedder(index, sizes=sizes, tensors={"one.safetensors": {"a": (1,)}})
    assert refused(found)[:1] == ("two.safetensors",)


def test_an_adapter_is_refused():
    assert refused(embedder({"adapter_config.json": {}}))[0] == "adapter_config.json"


def test_on_the_cpu_an_onnx_file_is_run_whatever_the_family():
    odd = embedder(config(model_type="albert", architectures=["AlbertModel"]))
    assert refused(odd)[:2] == ("config.json", "model_type")
    onnx = replace(odd, sizes={**odd.sizes, "onnx/model.onnx": 10})
    assert served(onnx, CPU).serves_as_it_is
    assert refused(onnx)[:2] == ("config.json", "model_type")


def test_links_to_outside_are_mounted():
    found = embedder(outside={"model.safetensors": Path("/hub/blobs/1"), LENGTH: Path("/hub/blobs/2")})
    verdict = served(found)
    assert verdict.serves_rewritten
    assert "whose targets are mounted as well" in verdict.notes[0]
    assert verdict.links == {"model.safetensors": "/hub/blobs/1", LENGTH: "/hub/blobs/2"}
    many = {f"{n}.txt": Path(f"/hub/{n}") for n in range(300)}
    assert "299 others are links" in refused(embedder(outside=many))[2]
