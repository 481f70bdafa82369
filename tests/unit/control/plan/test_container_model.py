"""A container gets a model folder; a model that its image cannot serve is refused before any container is made."""

import pytest

from embedfleet.config.load import load
from embedfleet.control.plan.container_model import container_model
from embedfleet.errors import UsageError

OWN = "our-own:1"


def model_of(root, service: str = "embedder", **flags: str):
    file = root / "fleet.toml"
    file.touch()
    settings = load(
        file, {}, {"fleet.own_image": OWN} | {key.replace("__", "."): value for key, value in flags.items()}
    )
    (found,) = [each for each in settings.services if each.name == service]
    return container_model(settings, found)


@pytest.mark.parametrize(
    ("service", "folder"), [("embedder", "models/bge-m3"), ("reranker", "models/bge-reranker-v2-m3")]
)
def test_without_a_model_the_folder_is_the_usual_one_of_the_task(tmp_path, service, folder):
    assert model_of(tmp_path, service, **{f"{service}__model": "auto"}) == tmp_path / folder


@pytest.mark.parametrize("model", ["auto", "builtin"])
def test_our_own_image_has_a_model_of_its_own(tmp_path, model):
    assert model_of(tmp_path, embedder__model=model, embedder__image=OWN) is None


def test_teis_image_has_no_model_of_its_own(tmp_path):
    with pytest.raises(UsageError, match=r"services\.embedder\.model is builtin"):
        model_of(tmp_path, embedder__model="builtin")


@pytest.mark.parametrize("image", ["", OWN])
def test_a_hub_id_is_refused_because_containers_have_no_network(tmp_path, image):
    with pytest.raises(UsageError, match=r"services\.embedder\.model BAAI/bge-m3 is a hub id") as caught:
        model_of(tmp_path, embedder__model="BAAI/bge-m3", **({"embedder__image": image} if image else {}))
    assert "https://huggingface.co/BAAI/bge-m3" in caught.value.hint


@pytest.mark.parametrize("image", ["", OWN])
def test_a_folder_is_accepted_with_any_image(tmp_path, image):
    (tmp_path / "models/mine").mkdir(parents=True)
    flags = {"embedder__image": image} if image else {}
    assert model_of(tmp_path, embedder__model="models/mine", **flags) == tmp_path / "models/mine"
