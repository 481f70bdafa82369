"""Replicas of a former model have ended before the first one of the new model starts."""

import asyncio

from tests.services.supervisor import found, run, world


def test_replicas_of_another_model_get_no_requests_and_end_before_new_ones_start(tmp_path):
    async def test() -> None:
        async with world(tmp_path, replicas=3) as made:
            made.driver.found = found("s-0", "s-1", "s-2", is_stale=True, has_other_model=True)
            hanging = asyncio.Event()
            made.driver.clears = lambda name: hanging.wait() if name == "s-1" else asyncio.sleep(0)
            await made.listen()
            made.gateway.members = [{"id": "s-0", "url": "http://127.0.0.1:7000"}]
            made.run()
            await made.until(lambda: made.gateway.members == [])
            await made.until(lambda: sorted(made.driver.cleared) == ["s-0", "s-1", "s-2"])
            await made.until(lambda: made.driver.count("s-gateway") == 1)
            assert not any(made.driver.count(f"s-{number}") for number in range(3)), "one of the former replicas hangs"
            hanging.set()
            await made.until(lambda: len(made.gateway.members) == 3)

    run(test)


def test_a_replica_that_cannot_be_ended_now_is_tried_again(tmp_path):
    async def test() -> None:
        async with world(tmp_path) as made:
            made.driver.found = found("s-0", is_stale=True, has_other_model=True)
            faults = [OSError("the daemon is busy")]

            async def clear(_: str) -> None:
                if faults:
                    raise faults.pop()

            made.driver.clears = clear
            await made.listen()
            made.run()
            await made.until(lambda: made.driver.cleared == ["s-0", "s-0"])
            await made.until(lambda: len(made.gateway.members) == 2)

    run(test)
