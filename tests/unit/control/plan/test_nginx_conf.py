"""nginx's configuration has every directive of the replaced script, and a reason for each addition."""

import re

import pytest

from embedfleet.control.plan.nginx_conf import Site, file_name, render_main, render_site

SCRIPT = """
upstream bge-embedder-tei {
    server bge-embedder-tei-0:80;
    server bge-embedder-tei-1:80;
}

server {
    listen 80;

    location / {
        proxy_pass http://bge-embedder-tei;
    }
}
"""
SITE = Site("embedder", "bge-embedder-tei", "80", ["bge-embedder-tei-0:80", "bge-embedder-tei-1:80"])


def directives(text: str) -> list[list[str]]:
    """Return the words of every directive, without comments, in order."""
    bare = re.sub(r"(?m)^\s*#.*$", "", text)
    bare = re.sub(r"'[^']*'", "'…'", bare)
    return [part.split() for part in re.split(r"[;{}]", bare) if part.split()]


def test_the_scripts_directives_are_all_there_in_their_order():
    ours = iter(directives(render_site(SITE)))
    for wanted in directives(SCRIPT):
        assert any(found[: len(wanted)] == wanted for found in ours), f"{wanted} is missing or changed"


def test_every_addition_has_a_comment_above_it():
    """Each block of additions must have a comment above it."""
    script = {" ".join(words) for words in directives(SCRIPT)}
    explained = False
    for line in render_site(SITE).splitlines():
        text = line.strip()
        if text.startswith("#"):
            explained = True
        elif text in {"", "}"}:
            explained = False
        elif text.rstrip("{;").strip() not in script and not text.startswith("'"):
            assert explained, f"{text} is not explained"


def test_a_replica_without_requests_is_a_comment_with_the_reason_on_one_line():
    text = render_site(Site("s", "u", "80", ["a:80"], [("b:80", "answered 424:\n}\nserver evil:80;")]))
    assert "    # b:80 gets nothing: answered 424: } server evil:80;\n" in text
    assert [words for words in directives(text) if words[0] == "server" and len(words) > 1] == [
        ["server", "a:80", "max_fails=0"]
    ]


def test_limits_follow_the_settings():
    text = render_site(Site("s", "u", "80", ["a:80"], payload_limit_bytes=77, response_timeout_s=9.6))
    found = directives(text)
    assert ["client_max_body_size", "77"] in found
    assert ["proxy_read_timeout", "10s"] in found


def test_file_names_are_those_of_the_script():
    assert [file_name(name) for name in ("embedder", "reranker")] == ["nginx-embedder.conf", "nginx-reranker.conf"]


@pytest.mark.parametrize("test", [True, False])
def test_a_candidate_does_not_overwrite_the_pid_file_of_a_running_nginx(test):
    assert ("pid /f/candidate.pid;" in render_main("/f", "/f/site.conf", test=test)) is test


@pytest.mark.parametrize("files", [8192, 256])
def test_connections_are_limited_by_open_files(files):
    found = directives(render_main("/f", "/f/site.conf", files=files))
    assert ["worker_rlimit_nofile", str(files)] in found
    assert ["worker_connections", str(files // 2)] in found


def test_without_serving_replicas_all_are_listed_as_down():
    """nginx refuses an upstream without servers."""
    site = Site("embedder", "u", "80", [], [("a:80", "drained by hand"), ("b:80", "ejected")])
    assert [words for words in directives(render_site(site)) if words[0] == "server" and len(words) > 1] == [
        ["server", "a:80", "down"],
        ["server", "b:80", "down"],
    ]
