"""A rival is named by NAME=URL; wrong ones are refused with what is wrong."""

from argparse import ArgumentTypeError

import pytest

from bench.engine.rivals import read_rival, require
from bench.measuring.process import free_port


@pytest.mark.parametrize(
    ("given", "url", "key"),
    [
        ("tei=http://127.0.0.1:8080", "http://127.0.0.1:8080/embed", "inputs"),
        ("tei=http://127.0.0.1:8080/", "http://127.0.0.1:8080/embed", "inputs"),
        ("other-1=http://h:1/v1/embeddings", "http://h:1/v1/embeddings", "input"),
    ],
)
def test_a_rival_is_asked_at_its_path_in_the_dialect_of_that_path(given, url, key):
    rival = read_rival(given)
    assert (rival.name, rival.url, rival.key) == (given.partition("=")[0], url, key)
    assert rival.cpu_s() == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("http://127.0.0.1:8080", "is not NAME=URL"),
        ("=http://127.0.0.1:8080", "is not NAME=URL"),
        ("a b=http://127.0.0.1:8080", "is not NAME=URL"),
        ("engine=http://127.0.0.1:8080", "'engine' is taken"),
        ("tei=127.0.0.1:8080", "is not a URL with http and a port"),
        ("tei=https://127.0.0.1:8080", "is not a URL with http and a port"),
        ("tei=http://127.0.0.1", "is not a URL with http and a port"),
        ("tei=http://127.0.0.1:many", "is not a URL with http and a port"),
    ],
)
def test_a_wrong_rival_is_refused_with_what_is_wrong(given, words):
    with pytest.raises(ArgumentTypeError, match=words):
        read_rival(given)


def test_a_rival_that_does_not_listen_is_named_before_anything_is_measured(capsys):
    url = f"http://127.0.0.1:{free_port()}/embed"
    with pytest.raises(SystemExit) as ended:
        require([read_rival(f"tei={url}")])
    assert ended.value.code == 2
    assert f"tei cannot be reached at {url}" in capsys.readouterr().err
