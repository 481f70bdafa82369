"""The name of a packed model changes with all that decides its content."""

from pathlib import Path

import embedfleet.engine
from embedfleet.engine.model.builtin import builtin_model
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.spec import read_model
from embedfleet.engine.onnx.packed_key import PackedKey, code_digest, packed_key


def test_changed_code_in_any_folder_changes_the_digest(tmp_path):
    file = tmp_path / "families" / "bert.py"
    file.parent.mkdir()
    file.write_text("1")
    before = code_digest(tmp_path)
    file.write_text("2")
    assert code_digest(tmp_path) != before


def test_the_code_that_counts_is_the_whole_engine():
    assert code_digest() == code_digest(Path(embedfleet.engine.__file__).parent)


def test_int8_and_float32_have_names_of_their_own_in_one_place():
    spec = read_model(builtin_model())
    exact, int8 = (packed_key(spec, FolderState(spec), int8=int8) for int8 in (False, True))
    assert (exact.place, exact.contents) == (int8.place, int8.contents)
    assert exact.name != int8.name


def test_only_earlier_contents_of_the_same_folder_are_outdated():
    key = PackedKey("a", "b", "c")
    assert key.is_outdated("a-x-c")
    assert not key.is_outdated("a-b-d")
    assert not key.is_outdated("x-x-c")
