"""The share of their capacity that the replicas computed, useful or not."""

import asyncio
import time

from bench.mixed.run import RunPlan, Stage


class Meter:
    """A measurement that runs beside a schedule (`bench.mixed.run.Meanwhile`).

    Attributes:
        share: Tokens that the replicas computed in the measured time, over their capacity.
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self.share = 0.0

    async def __call__(self, stage: Stage) -> None:
        """Read the replicas' counts after the warm-up and at the end of the measured time."""
        await asyncio.sleep(self._plan.warm_up_s)
        before, began = await _tokens(stage), time.monotonic()
        await asyncio.sleep(self._plan.seconds)
        tokens, seconds = await _tokens(stage) - before, time.monotonic() - began
        self.share = round(tokens / (seconds * self._plan.capacity), 3)


async def _tokens(stage: Stage) -> int:
    """Tokens that all replicas have computed."""
    return sum(replica["tokens"] for replica in await stage.fakes.stats())
