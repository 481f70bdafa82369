"""All spellings of an image reference mean one image."""

import pytest

from embedfleet.control.docker.image_name import familiar, split_reference

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("nginx", "nginx", "latest"),
        ("nginx:1.27", "nginx", "1.27"),
        ("localhost:5000/tei", "localhost:5000/tei", "latest"),
        ("localhost:5000/a/tei:1.9", "localhost:5000/a/tei", "1.9"),
        (f"localhost:5000/tei@{DIGEST}", "localhost:5000/tei", DIGEST),
        (f"nginx:1.27@{DIGEST}", "nginx", DIGEST),
    ],
)
def test_a_colon_is_a_tags_only_after_the_last_slash(reference, repository, tag):
    assert split_reference(reference) == (repository, tag)


@pytest.mark.parametrize(
    ("spellings", "one"),
    [
        (
            ("nginx", "nginx:latest", "library/nginx", "docker.io/library/nginx:latest", "docker.io/nginx"),
            "nginx:latest",
        ),
        (("index.docker.io/library/nginx:1",), "nginx:1"),
        (("docker.io/some/tei:1", "some/tei:1"), "some/tei:1"),
        (("localhost:5000/library/nginx",), "localhost:5000/library/nginx:latest"),
        ((f"docker.io/library/nginx@{DIGEST}",), f"nginx@{DIGEST}"),
    ],
)
def test_every_spelling_is_one_name(spellings, one):
    assert {familiar(spelling) for spelling in spellings} == {one}
