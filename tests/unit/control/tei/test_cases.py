"""Verdicts on folders that old and new releases of the libraries wrote, and on folders that people changed."""

from dataclasses import replace

import pytest

from embedfleet.control.models.folder import read_model_folder, with_tokenizer
from embedfleet.control.tei.assembly import assemble, provide_assembly
from embedfleet.control.tei.folder import judge
from tests.services.folder_cases import CASES
from tests.services.folders import Folders
from tests.services.tei_folders import AMPERE, rewritten

CONFIG, LENGTH, POOLING = "config.json", "sentence_bert_config.json", "1_Pooling/config.json"
TODAY = {LENGTH, POOLING}
WRITTEN = {
    "old layout": set(),
    "bert embedder": TODAY,
    "length by its old name": TODAY,
    "modernbert embedder": TODAY | {CONFIG},
    "nomic_bert embedder": TODAY | {CONFIG},
    "gte embedder": TODAY | {CONFIG},
    "qwen3 embedder": TODAY | {CONFIG},
    "bert by its defaults": TODAY | {CONFIG},
    "dense and length": TODAY | {"modules.json"},
    "vocab.json": TODAY | {"tokenizer.json"},
    "cased by the settings": TODAY | {"tokenizer.json"},
    "a word that is special": TODAY | {"tokenizer.json"},
    "the hub's cache": TODAY,
    "xlm-roberta reranker": {LENGTH},
    "a head that is not named": {CONFIG},
    "two labels": {CONFIG},
}
REFUSED = {
    "transformer in a folder of its own": ("modules.json", "path"),
    "pooling elsewhere": ("parts/pooling/config.json", "pooling_mode"),
    "norm and dropout": ("modules.json", "type"),
    "pooled without its prompt, mean": (POOLING, "include_prompt"),
    "length among arguments": (LENGTH, "tokenizer_args"),
    "no token types": ("tokenizer_config.json", "model_input_names"),
    "torch's shards": ("pytorch_model.bin.index.json", ""),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Folders:
    return Folders(tmp_path_factory.mktemp("libraries"))


def looked_at(folders, path, name):
    CASES[name].make(folders, path)
    target = replace(AMPERE, task="rerank" if CASES[name].task == "rerank" else "auto")
    found = with_tokenizer(read_model_folder(path))
    return found, judge(found, target), target


@pytest.mark.parametrize("name", WRITTEN)
def test_a_folder_of_the_libraries_is_served(folders, tmp_path, name):
    found, verdict, target = looked_at(folders, tmp_path / "m", name)
    assert not verdict.refuses, str(verdict)
    assert verdict.files.keys() == WRITTEN[name]
    assert judge(rewritten(found, verdict), target).serves_as_it_is
    assembly = assemble(found, verdict)
    assert (assembly is None) == verdict.serves_as_it_is
    if assembly is not None:
        provide_assembly(tmp_path / "tei", assembly)
        seen = {str(path.relative_to(tmp_path / "tei" / assembly.key)) for path in (tmp_path / "tei").rglob("*")}
        assert {*verdict.files} <= seen


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_of_the_libraries_that_tei_would_misread_is_refused(folders, tmp_path, name):
    (refusal,) = looked_at(folders, tmp_path / "m", name)[1].refusals
    assert (refusal.file, refusal.key) == REFUSED[name]
