"""File names are recognised by their endings, and git-lfs pointers by their beginning."""

import pytest

from embedfleet.model_folder import file_names


@pytest.mark.parametrize("name", [file_names.SAFETENSORS_INDEX, file_names.TORCH_INDEX])
def test_an_index_is_recognised(name):
    assert file_names.is_index(name)
    assert not file_names.is_index(name.removesuffix(file_names.INDEX_SUFFIX))


def test_an_onnx_model_is_recognised():
    assert [name for name in file_names.WEIGHTS_FILES if file_names.is_onnx(name)] == [file_names.ONNX_MODEL]
    assert not file_names.is_onnx(file_names.ONNX_DATA)


def test_a_git_lfs_pointer_is_recognised():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    assert file_names.is_git_lfs_pointer(pointer)
    assert not file_names.is_git_lfs_pointer(pointer[1:])
    assert not file_names.is_git_lfs_pointer(b"")
