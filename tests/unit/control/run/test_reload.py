"""The changes of settings that a reload accepts or refuses."""

import pytest

from embedfleet.config.load import load
from embedfleet.control.run.reload import refuse_others
from embedfleet.errors import UsageError

BOTH = {"embedder", "reranker"}


@pytest.fixture
def read(tmp_path):
    file = tmp_path / "fleet.toml"
    file.touch()
    return lambda **given: load(file, {}, {name.replace("__", "."): str(value) for name, value in given.items()})


def test_options_of_gateways_may_change(read):
    refuse_others(read(), read(embedder__max_request_texts=7, reranker__response_timeout_s=9), BOTH)


def test_every_other_change_is_refused_by_name(read):
    with pytest.raises(UsageError, match=r"embedder\.cache_mb, services\.reranker\.port"):
        refuse_others(read(), read(embedder__cache_mb=5, reranker__port=9999), BOTH)


def test_a_shorter_drain_is_accepted_and_a_longer_one_refused(read):
    """The fleet would kill a gateway that drains for longer than it knew at its start."""
    refuse_others(read(fleet__drain_s=5), read(fleet__drain_s=3), BOTH)
    with pytest.raises(UsageError, match=r"fleet\.drain_s"):
        refuse_others(read(fleet__drain_s=5), read(fleet__drain_s=6), BOTH)


def test_options_of_a_gateway_that_is_not_replaced_are_refused(read):
    """Behind nginx, and for a gateway in a container, such a change was accepted and did nothing."""
    refuse_others(read(), read(embedder__probe_interval_s=7), {"embedder"})
    with pytest.raises(UsageError, match=r"reranker\.probe_interval_s"):
        refuse_others(read(), read(reranker__probe_interval_s=7), {"embedder"})
