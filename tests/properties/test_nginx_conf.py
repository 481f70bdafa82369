"""nginx's configuration names each serving replica exactly once, and no text of a failure can add a directive to it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.plan.nginx_conf import Site, render_main, render_site

hosts = st.integers(0, 99).map("replica-{}:80".format)
groups = st.lists(hosts, unique=True, min_size=1, max_size=8).flatmap(
    lambda names: st.tuples(st.just(names), st.integers(0, len(names)))
)
evil = st.text(st.sampled_from("ab #;{}\n\r\t\x0b\x85\u2028'\"$"), max_size=40)


def directives(text: str) -> list[list[str]]:
    """The words of each directive, as nginx reads them: a comment ends only at a line feed."""
    bare = "\n".join(line for line in text.split("\n") if not line.lstrip(" ").startswith("#"))
    return [part.split() for part in re.split(r"[;{}]", re.sub(r"'[^']*'", "text", bare)) if part.split()]


@given(groups, evil)
def test_each_replica_is_one_server_and_the_reason_adds_nothing(group, reason):
    names, serving = group
    site = Site("embedder", "up-stream", "80", names[:serving], [(name, reason) for name in names[serving:]])
    text = render_site(site)
    found = directives(text)
    servers = [words[1] for words in found if words[0] == "server" and len(words) > 1]
    assert servers == (names[:serving] or names)
    assert [words[1] for words in found if words[0] == "upstream"] == ["up-stream"]
    plain = render_site(Site("embedder", "up-stream", "80", names[:serving], [(n, "") for n in names[serving:]]))
    assert directives(plain) == found


@given(st.integers(1, 10**9), st.floats(0.1, 10**6), st.text(max_size=8))
def test_numbers_are_nginxs_own_and_blocks_are_closed(limit, timeout, generation):
    text = render_site(Site("s", "u", "80", ["a:1"], payload_limit_bytes=limit, response_timeout_s=timeout))
    assert f"client_max_body_size {limit};" in text
    (seconds,) = re.findall(r"proxy_read_timeout (\S+);", text)
    assert re.fullmatch(r"[1-9][0-9]*s", seconds)
    bare = re.sub(r"'[^'\n]*'|#[^\n]*", "", text)
    assert bare.count("{") == bare.count("}") > 0


@given(st.integers(2, 10**6), st.booleans())
def test_a_worker_promises_no_more_connections_than_it_has_files_for(files, is_test):
    found = directives(render_main("/f", "/f/site.conf", files=files, test=is_test))
    (connections,) = [int(words[1]) for words in found if words[0] == "worker_connections"]
    assert 1 <= connections * 2 <= files
    assert [words[1] for words in found if words[0] == "include"] == ["/f/site.conf"]
