"""Conformance checks for implementations of interfaces; a new driver must pass `check_driver`."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from embedfleet.control.drivers.base import Driver, Running
from embedfleet.control.plan.specs import ChildSpec


@dataclass(frozen=True, slots=True)
class DriverPrograms:
    """The children that the check of a driver starts.

    Attributes:
        serves: Child that listens, and ends with code 0 when it is asked to stop.
        also_serves: Another such child.
        deaf: Child that listens, and ignores a request to stop.
        fails: Child that ends with code 3 and never listens.
    """

    serves: ChildSpec
    also_serves: ChildSpec
    deaf: ChildSpec
    fails: ChildSpec


async def check_driver(driver: Driver, programs: DriverPrograms, *, limit_s: float = 60.0) -> None:
    """Check a driver against the promises of `control.drivers.base`.

    Raises:
        AssertionError: The driver breaks a promise.
        TimeoutError: The check took longer than ``limit_s`` seconds.
    """
    async with asyncio.timeout(limit_s):
        url = await _check_life(driver, programs.serves)
        await _check_return(driver, programs.serves, url)
        await _check_together(driver, programs)
        await _check_grace(driver, programs.deaf)
        await _check_hung(driver, programs.deaf)
        await _check_failure(driver, programs.fails)


async def _check_life(driver: Driver, spec: ChildSpec) -> str:
    running = await driver.start(spec, preferred_port=0)
    url = await running.ready
    await _connect(url)
    assert not running.ended.done(), "it ended on its own"
    await running.stop(30.0)
    assert running.ended.done(), "stop returned before the end"
    assert running.ended.result() == 0, f"asked to stop, it ended with {running.ended.result()}"
    await running.stop(0.0)
    running.kill()  # killing a child that has ended is not an error
    return url


async def _check_return(driver: Driver, spec: ChildSpec, url: str) -> None:
    running = await driver.start(spec, preferred_port=urlsplit(url).port or 80)
    assert await running.ready == url, "it did not take the preferred port, which was free"
    await _kill(running)


async def _check_together(driver: Driver, programs: DriverPrograms) -> None:
    several = [await driver.start(spec, preferred_port=0) for spec in (programs.serves, programs.also_serves)]
    urls = {await running.ready for running in several}
    assert len(urls) == len(several), "two children have one address"
    await _kill(several[0])
    assert not several[1].ended.done(), "one child's end ended another"
    await _kill(several[1])


async def _check_grace(driver: Driver, spec: ChildSpec) -> None:
    running = await driver.start(spec, preferred_port=0)
    await running.ready
    await running.stop(0.01)
    assert running.ended.result() != 0, "a child that ignored the stop was not killed"


async def _check_hung(driver: Driver, spec: ChildSpec) -> None:
    running = await driver.start(spec, preferred_port=0)
    url = await running.ready
    running.kill_hung()
    assert await running.ended != 0, "a child that was killed as hung ended with code 0"
    again = await driver.start(spec, preferred_port=urlsplit(url).port or 80)
    await again.ready
    await _kill(again)


async def _check_failure(driver: Driver, spec: ChildSpec) -> None:
    running = await driver.start(spec, preferred_port=0)
    assert await running.ended == 3
    assert not running.ready.done(), "a child that never listened was reported as ready"


async def _kill(running: Running) -> None:
    running.kill()
    assert await running.ended != 0


async def _connect(url: str) -> None:
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    writer.close()
    await writer.wait_closed()
