"""A model's name is a folder, a hub id, the built-in model or auto, and each is known without opening anything."""

from pathlib import Path

import pytest

from embedfleet.config.model_name import at_home, is_folder, is_hub_id, model_folder, usual_folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BAAI/bge-m3", True),
        ("a/b.c_d-e", True),
        ("models/bge-m3", False),
        ("data/m", False),
        ("./a/b", False),
        ("../a", False),
        ("/a/b", False),
        ("~/m", False),
        ("a", False),
        ("a/b/c", False),
        ("-a/b", False),
        ("a/", False),
        ("a b/c", False),
        ("a/b\n", False),
    ],
)
def test_a_hub_id_is_an_organisation_and_a_name(name, expected):
    assert is_hub_id(name) is expected


@pytest.mark.parametrize("name", ["builtin", "auto", "BAAI/bge-m3"])
def test_a_name_that_is_no_path_has_no_folder(name, tmp_path):
    assert model_folder(name, tmp_path) is None


def test_a_folder_that_looks_like_a_hub_id_is_a_folder_if_it_exists(tmp_path):
    assert model_folder("org/m", tmp_path) is None
    (tmp_path / "org/m").mkdir(parents=True)
    assert model_folder("org/m", tmp_path) == tmp_path / "org/m"


@pytest.mark.parametrize("name", ["models/missing", "./missing", "missing"])
def test_a_path_is_a_folder_below_the_root_even_if_nothing_is_there(name, tmp_path):
    assert model_folder(name, tmp_path) == tmp_path / name


def test_an_absolute_path_and_one_at_home_do_not_depend_on_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/u")
    assert model_folder("/m", tmp_path) == Path("/m")
    assert model_folder("~/m", tmp_path) == Path("/home/u/m")
    assert at_home("~nobody-of-this-name/m") == Path("~nobody-of-this-name/m")


def test_a_path_that_cannot_exist_is_no_folder(tmp_path):
    assert is_folder(tmp_path)
    assert not is_folder(tmp_path / ("a" * 5000))
    (tmp_path / "file").touch()
    assert not is_folder(tmp_path / "file")
    assert not is_folder(tmp_path / "file" / "below")


def test_a_service_without_a_model_takes_the_one_of_its_task():
    assert usual_folder("rerank") == "models/bge-reranker-v2-m3"
    assert {usual_folder(task) for task in ("embed", "auto", "")} == {"models/bge-m3"}
