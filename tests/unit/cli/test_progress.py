"""Off a terminal, each change is one line, and how long the start took is told only if every replica serves."""

import pytest

from embedfleet.cli.image_progress import ImageProgress
from embedfleet.cli.progress import Progress
from embedfleet.types import ReplicaState

ACTIVE, JOINING, STARTING = ReplicaState.ACTIVE, ReplicaState.JOINING, ReplicaState.STARTING


@pytest.fixture
def lines(capsys):
    def read() -> list[str]:
        return capsys.readouterr().err.splitlines()

    return read


def test_each_change_of_a_replica_is_told_once(lines):
    with Progress() as progress:
        progress.show({"a": STARTING, "b": STARTING})
        assert lines() == ["a is starting", "b is starting"]
        progress.show({"a": STARTING, "b": JOINING})
        progress.show({"a": STARTING, "b": JOINING})
        assert lines() == ["b is joining"]


def test_the_time_is_told_once_every_replica_serves(lines):
    with Progress() as progress:
        progress.show({"a": ACTIVE, "b": ACTIVE})
        progress.close()
        (*_, last) = lines()
        assert last.startswith("2 replicas serve after ")
        progress.close()
        progress.show({"a": STARTING})
    assert lines() == []


@pytest.mark.parametrize("states", [{}, {"a": ACTIVE, "b": JOINING}])
def test_a_start_that_was_not_completed_is_not_told_as_one(lines, states):
    with Progress() as progress:
        progress.show(states)
        lines()
    assert lines() == []


def test_before_it_is_open_nothing_is_shown(lines):
    Progress().show({"a": ACTIVE})
    assert lines() == []


def test_the_loading_of_an_image_is_told_at_its_begin_and_at_its_end(lines):
    with ImageProgress() as progress:
        for done in (0, 1_000_000, 2_000_000, 3_500_000_000):
            progress.show("a.tar", done, 3_500_000_000)
        progress.show("b.tar", 0, 10)
    assert lines() == ["loading a.tar (3.5 GB)", "a.tar is loaded", "loading b.tar (0.0 GB)"]
