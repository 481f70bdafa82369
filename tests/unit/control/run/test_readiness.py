"""A start is over once every replica serves, or once it is certain that one never will."""

import asyncio

import pytest

from embedfleet.control.run.readiness import until_serving
from embedfleet.errors import FleetError
from tests.services.supervisor import LIMIT_S, run, serving, world


def test_the_start_is_over_once_the_gateway_reports_all_as_active(tmp_path):
    seen: list[dict[str, str]] = []

    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.state = "joining"
            waiting = asyncio.create_task(until_serving(made.supervisor, LIMIT_S, seen.append))
            await made.until(lambda: len(seen) > 1)
            assert not waiting.done()
            made.gateway.state = "active"
            await waiting
            assert (seen[0], seen[-1]) == ({"s-0": "joining", "s-1": "joining"}, {"s-0": "active", "s-1": "active"})

    run(test)


def test_late_replicas_are_named_with_the_gateways_reason(tmp_path):
    async def test() -> None:
        async with serving(tmp_path) as made:
            made.gateway.state, made.gateway.reason = "ejected", "answered 503"
            with pytest.raises(FleetError, match="not ready after 0 s: s-0 is ejected answered 503; s-1 is"):
                await until_serving(made.supervisor, 0, lambda _: None)

    run(test)


def test_a_child_that_keeps_dying_before_it_serves_is_given_up(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.ends["s-1"] += [-6] * 100
            made.run()
            with pytest.raises(
                FleetError, match=r"s-1 ended \d+ times in a row, the last time with signal 6"
            ) as caught:
                await until_serving(made.supervisor, LIMIT_S, lambda _: None)
            assert "embedfleet logs s-1" in caught.value.hint

    run(test)
