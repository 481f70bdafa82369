"""Faults during traffic, and their effect on clients.

Each fault has its own run, with the mix at `LOAD` and one process per replica; it hits replica 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contestants import Contestant, find
from bench.measuring.report import say
from bench.mixed.run import Meanwhile, RunPlan, RunResult, Stage, run
from embedfleet.load.tally import Outcome

LOAD = 0.6
_AT_S = 4.0  # time of the fault since the start of traffic
_ALWAYS = 1_000_000  # calls
Act = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FaultCase:
    """One fault.

    Attributes:
        name: Name of the table's row.
        act: Function that causes the fault and ends it.
        seconds: Length of the traffic, in seconds.
        load: Load of the mix.
        settle_s: Longest wait for the last answers, in seconds.
        retries_refused: Whether refused requests are sent again after Retry-After.
        variant: Variant of our gateway, appended to its name.
    """

    name: str
    act: Act
    seconds: float = 15.0
    load: float = LOAD
    settle_s: float = 30.0
    retries_refused: bool = True
    variant: str = ""


def cases(stop_s: float = 60.0) -> tuple[FaultCase, ...]:
    """All faults; the first one stops a replica for ``stop_s`` seconds."""
    return (
        FaultCase("stop", _stop(stop_s), seconds=stop_s + 10, settle_s=stop_s + 15),
        FaultCase("kill", _kill),
        FaultCase("kill at 85 %", _kill, load=0.85),
        FaultCase("refuse", _ordered(kind="refuse", seconds=4)),
        FaultCase("hang", _hang),
        FaultCase("slow x4", _healed(5, kind="slow", factor=4)),
        FaultCase("429 burst", _ordered(kind="answer", answer="429", count=200)),
        FaultCase("garbage", _healed(5, kind="answer", answer="garbage", count=_ALWAYS)),
        FaultCase("short", _healed(5, kind="answer", answer="short", count=_ALWAYS)),
        FaultCase("nulls", _healed(5, kind="answer", answer="nulls", count=_ALWAYS)),
        FaultCase("500 burst", _ordered(kind="answer", answer="500", count=20)),
        FaultCase("rolling drain", _roll, seconds=20),
        FaultCase("reload", _reload),
        FaultCase("overload x1.5", _quiet, load=1.5, settle_s=60),
        FaultCase("overload x1.5 short queues", _quiet, load=1.5, settle_s=60, variant="-bounded"),
    )


def measure(case: FaultCase, contestant: str, seed: int = 1) -> dict[str, Any]:
    """Run one fault, and return a row with its effect on clients."""
    door, split = find(contestant + case.variant if contestant == "ours" else contestant)
    result = perform(case, door, split, seed)
    return {"fault": case.name, "contestant": contestant, **row(result.outcomes, result.figures)}


def perform(case: FaultCase, door: Contestant, split: int, seed: int) -> RunResult:
    """Run one fault.

    Args:
        case: Fault.
        door: Front door.
        split: Texts per call into which clients split batches; 0 for whole batches.
        seed: Seed of the schedule.

    Raises:
        RuntimeError: The run ended before the fault did.
    """
    done = False

    async def act(stage: Stage) -> None:
        nonlocal done
        await asyncio.sleep(_AT_S)
        await case.act(stage)
        done = True

    plan = RunPlan(
        contestant=door,
        split=split,
        workload="mix",
        load=case.load,
        seed=seed,
        warm_up_s=0.0,
        seconds=case.seconds,
        settle_s=case.settle_s,
        apart=True,
        retries_refused=case.retries_refused,
    )
    meanwhile: Meanwhile = act
    result = run(plan, meanwhile)
    if not done:
        raise RuntimeError(f"{case.name}: the run ended before the fault did")
    return result


def row(outcomes: Sequence[Outcome], figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run for the table. Pure."""
    online = [outcome for outcome in outcomes if outcome.kind == "online"]
    counts = figures["counts"]
    return {
        "sent": counts["sent"],
        "failed": counts["failed"] - counts["refused"],
        "refused": counts["refused"],
        "wrong": counts["wrong"],
        "out_of_order": counts["out_of_order"],
        "online_over_1s": sum(outcome.latency_s > 1 for outcome in online),
        "online_p99_ms": figures["online"]["p99_ms"],
        "online_in_objective": figures["online"]["in_objective"],
        "useful_of_capacity": figures["useful_of_capacity"],
        "refused_without_retry_after": figures["refused_without_retry_after"],
        "obeyed": figures["obeyed"],
        "then_accepted": figures["then_accepted"],
        "computed_again": figures["computed_again"],
    }


def _ordered(**fault: object) -> Act:
    async def act(stage: Stage) -> None:
        await stage.fakes.order(0, **fault)

    return act


def _healed(seconds: float, **fault: object) -> Act:
    async def act(stage: Stage) -> None:
        await stage.fakes.order(0, **fault)
        await asyncio.sleep(seconds)
        await stage.fakes.order(0, kind="heal")

    return act


async def _hang(stage: Stage) -> None:
    await stage.fakes.order(0, kind="hang")
    await asyncio.sleep(5)
    await stage.fakes.order(0, kind="heal")


def _stop(seconds: float) -> Act:
    async def act(stage: Stage) -> None:
        stage.fakes.stop(0)
        await asyncio.sleep(seconds)
        stage.fakes.go_on(0)

    return act


async def _kill(stage: Stage) -> None:
    stage.fakes.kill(0)
    await asyncio.sleep(4)
    await asyncio.to_thread(stage.fakes.restart, 0)


async def _roll(stage: Stage) -> None:
    """Drain and undrain each replica in turn; rivals cannot do that, and run undisturbed."""
    for number in range(stage.fakes.count):
        if not await stage.drain(number, back=False):
            say("  this front door cannot drain a replica")
            return
        await asyncio.sleep(1)
        await stage.drain(number, back=True)
        await asyncio.sleep(1)


async def _reload(stage: Stage) -> None:
    for _ in range(3):
        if not await stage.reload():
            say("  this front door cannot reload its replicas")
            return
        await asyncio.sleep(2)


async def _quiet(_: Stage) -> None:
    return
