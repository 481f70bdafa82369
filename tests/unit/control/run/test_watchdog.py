"""A child that hangs is reported in time; one that works, loads, or was suspended together with us is not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from embedfleet.control.lifecycle.liveness import Activity
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.run.watchdog import Watchdog
from embedfleet.errors import Starved, TimedOut, UpstreamError
from tests.services.clock import JumpingLoop, run_at_once
from tests.services.driver import FakeRunning

AFTER_S = 10.0
ANSWER_S = 5.0


class Observed(FakeRunning):
    """A child that has read more bytes at each observation."""

    def __init__(self, reads: int = 0) -> None:
        super().__init__(pid=1)
        self.reads = reads
        self.looks = 0
        self.saw: Callable[[], None] = lambda: None

    def activity(self) -> Activity:
        self.looks += 1
        self.saw()
        return Activity(cpu_s=1.0, bytes_read=self.looks * self.reads, is_stopped=False, is_busy=False)


class Dog:
    def __init__(self, child: Observed, phase: Phase, answer: BaseException | None) -> None:
        self.child, self.answer, self.asked = child, answer, 0
        self.reports: list[str] = []
        self.watchdog = Watchdog(
            child, phase=lambda: phase, ask=self.ask, hung_after_s=AFTER_S, hung=self.reports.append
        )

    async def ask(self) -> None:
        self.asked += 1
        await asyncio.sleep(ANSWER_S if isinstance(self.answer, TimedOut) else 0)
        if self.answer is not None:
            raise self.answer

    async def until_looks(self, count: int) -> None:
        seen = asyncio.Event()
        self.child.saw = lambda: seen.set() if self.child.looks >= count else None
        await seen.wait()


@asynccontextmanager
async def watching(
    phase: Phase = Phase.READY, answer: BaseException | None = None, *, reads: int = 0
) -> AsyncIterator[Dog]:
    child = Observed(reads)
    if phase is Phase.READY:
        child.listen(9)
    made = Dog(child, phase, answer)
    watching = asyncio.create_task(made.watchdog.watch())
    yield made
    child.end(0)
    await watching


def test_a_child_that_answers_is_asked_repeatedly_and_not_reported():
    async def test() -> None:
        async with watching() as made:
            await made.until_looks(100)
            assert (made.reports, made.watchdog.fault) == ([], "")
            assert made.asked > 90

    run_at_once(test())


def test_a_silent_idle_child_is_reported_and_again_if_it_still_runs():
    async def test() -> None:
        async with watching(answer=TimedOut("no answer")) as made:
            await made.until_looks(10)
            assert made.reports == []
            assert made.watchdog.fault.startswith("no answer for ")
            await made.until_looks(60)
            assert len(made.reports) == 2
            assert made.reports[0].startswith("no answer for ")

    run_at_once(test())


def test_time_in_which_this_process_stood_still_does_not_count():
    async def test() -> None:
        async with watching(answer=TimedOut("no answer")) as made:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, JumpingLoop)
            for number in range(1, 6):
                await made.until_looks(2 * number)
                loop.stand_still(1000 * AFTER_S)
            await made.until_looks(11)
            assert made.reports == []

    run_at_once(test())


@pytest.mark.parametrize(("reads", "is_reported"), [(100_000, False), (0, True)])
def test_a_slow_load_may_take_any_time_while_bytes_are_read(reads, is_reported):
    async def test() -> None:
        async with watching(Phase.STARTING, reads=reads) as made:
            await made.until_looks(int(20 * AFTER_S))
            assert bool(made.reports) is is_reported
            assert made.asked == 0, "it does not listen yet"

    run_at_once(test())


@pytest.mark.parametrize("answer", [UpstreamError("refused"), Starved("no file left"), KeyError("a bug")])
def test_errors_other_than_silence_are_not_reported(answer):
    async def test() -> None:
        async with watching(answer=answer) as made:
            await made.until_looks(100)
            assert made.reports == []
            assert made.asked > 90

    run_at_once(test())


def test_a_paused_child_has_its_reason_as_fault():
    async def test() -> None:
        async with watching(answer=TimedOut("no answer")) as made:
            made.child.pause_reason = "the container is paused"
            await made.until_looks(100)
            assert (made.reports, made.watchdog.fault) == ([], "the container is paused")

    run_at_once(test())
