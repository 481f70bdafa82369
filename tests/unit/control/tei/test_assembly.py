"""The folder that TEI sees in place of a model's: rewritten files, and all others as they are."""

import json
import os
import shutil
from pathlib import Path

import pytest

from embedfleet.control.models.folder import read_model_folder
from embedfleet.control.tei.assembly import BASE, assemble, provide_assembly, remove_assemblies
from embedfleet.control.tei.folder import judge
from embedfleet.control.tei.model import read_for_tei
from tests.services.safetensors import write_shapes
from tests.services.tei_folders import AMPERE, EMBEDDER


@pytest.fixture
def folder(tmp_path):
    """A model folder as sentence-transformers 6 saves it, with additional files."""
    files = EMBEDDER | {"1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "mean"}}
    files |= {
        "sentence_bert_config.json": {"x": 1},
        "tokenizer.json": {},
        "1_Pooling/notes.json": {},
        "onnx/x.json": {},
    }
    for name, values in files.items():
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_text(json.dumps(values))
    write_shapes(tmp_path / "m/model.safetensors", {"a": (2, 2)})
    return tmp_path / "m"


def assembled(folder: Path):
    found = read_model_folder(folder)
    assembly = assemble(found, judge(found, AMPERE))
    assert assembly is not None
    return assembly


def as_seen(folder: Path, above: Path, inside: Path) -> Path:
    """Build the folder as a container sees it: each link leads to the file that is mounted at its target."""
    assembly = assembled(folder)
    provide_assembly(above, assembly)
    shutil.copytree(above / assembly.key, inside, symlinks=True)
    for link in [path for path in inside.rglob("*") if path.is_symlink()]:
        target = str(link.readlink())
        outside = {there: here for here, there in assembly.mounts.items()}
        link.unlink()
        link.symlink_to(outside.get(target) or folder / Path(target).relative_to(BASE))
    return inside


def test_tei_sees_every_file_and_needs_nothing_more(folder, tmp_path):
    blob = tmp_path / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    seen = as_seen(folder, tmp_path / "tei", tmp_path / "seen")
    assert {path.relative_to(seen) for path in seen.rglob("*.json")} == {
        path.relative_to(folder) for path in folder.rglob("*.json")
    } - {Path("onnx/x.json")}, "a subfolder without changes is linked as a whole"
    assert (seen / "onnx/x.json").is_file()
    assert (seen / "model.safetensors").read_bytes() == blob.read_bytes()
    found = read_model_folder(seen)
    assert judge(found, AMPERE).files == {}
    assert json.loads((seen / "sentence_bert_config.json").read_text()) == {"x": 1, "max_seq_length": 512}


def test_our_own_engine_gets_the_linked_files_and_no_corrections(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "blob")
    assert read_for_tei(read_model_folder(folder), AMPERE, own_engine=True).assembly is None
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    found = read_for_tei(read_model_folder(folder), AMPERE, own_engine=True)
    assert (found.verdict.files, found.verdict.max_input_length) == ({}, 512)
    assert found.assembly is not None
    assert [*found.assembly.mounts] == [str(tmp_path / "blob")]


def test_a_folder_without_corrections_is_not_assembled(folder):
    seen = folder / "sentence_bert_config.json"
    seen.write_text(json.dumps(EMBEDDER["sentence_bert_config.json"]))
    (folder / "1_Pooling/config.json").write_text(json.dumps(EMBEDDER["1_Pooling/config.json"]))
    found = read_model_folder(folder)
    assert assemble(found, judge(found, AMPERE)) is None


def test_folders_with_different_content_have_different_keys(folder, tmp_path):
    first = assembled(folder).key
    assert assembled(folder).key == first
    (folder / "sentence_bert_config.json").write_text('{"x": 2}')
    second = assembled(folder).key
    (folder / "sentence_bert_config.json").write_text('{"x": 1}')
    (folder / "more.txt").write_text("")
    assert len({first, second, assembled(folder).key}) == 3


def test_changes_in_an_assembled_folder_are_undone(folder, tmp_path):
    above, assembly = tmp_path / "tei", assembled(folder)
    umask = os.umask(0o077)
    try:
        provide_assembly(above, assembly)
    finally:
        os.umask(umask)
    made = above / assembly.key
    assert {path.stat().st_mode & 0o777 for path in (made, made / "1_Pooling")} == {0o755}, "others may read it"
    assert (made / "1_Pooling/config.json").stat().st_mode & 0o777 == 0o644
    before = made.stat().st_ino
    provide_assembly(above, assembly)
    assert made.stat().st_ino == before, "it is left as it is"
    (made / "1_Pooling/config.json").write_text("{}")
    provide_assembly(above, assembly)
    assert (made / "1_Pooling/config.json").read_bytes() == assembly.files["1_Pooling/config.json"]
    (made / "pytorch_model.bin").write_text("")
    provide_assembly(above, assembly)
    assert not (made / "pytorch_model.bin").exists()
    shutil.rmtree(made)
    made.write_text("")
    provide_assembly(above, assembly)
    assert made.is_dir()
    assert [path.name for path in above.iterdir()] == [assembly.key]


def test_unused_assembled_folders_are_removed(folder, tmp_path):
    above, assembly = tmp_path / "tei", assembled(folder)
    provide_assembly(above, assembly)
    (above / "former").mkdir()
    remove_assemblies(above, {assembly.key})
    assert [path.name for path in above.iterdir()] == [assembly.key]
    remove_assemblies(above)
    assert not above.exists()
