"""What a container's state tells about a start that fails."""

from dataclasses import replace

import pytest

from embedfleet.control.container import Container
from embedfleet.control.drivers.container import has_given_up

LOADING = Container(
    id="1",
    name="c",
    ours=True,
    folder="",
    service="s",
    kind="replica",
    fingerprint="",
    model="",
    image_id="",
    status="running",
    exit_code=0,
    started="",
    ip="",
    port=80,
    published=0,
    pid=1,
    restarts=2,
)


@pytest.mark.parametrize(
    ("status", "restarts_before", "given_up"),
    [
        ("running", 0, False),  # its third life may come up, and has no exit code
        ("restarting", 0, True),
        ("exited", 0, True),
        ("restarting", 1, False),
        ("running", 1, False),
    ],
)
def test_it_gives_up_between_two_lives_only(status: str, restarts_before: int, given_up: bool):
    assert has_given_up(replace(LOADING, status=status), restarts_before) is given_up
