"""Sends a plan at its times, and judges what comes back."""

import asyncio
import gc
import time
from collections.abc import Sequence

from bench.alarm import Alarm
from bench.load.plan import Part, Planned
from bench.load.tally import Outcome
from bench.load.verdict import Verdict, judge, worst
from bench.load.wire import CONNECTIONS, Answer, Wires


class Asked:
    """One planned request under way."""

    __slots__ = ("_left", "_told_when", "_verdicts", "again", "late_s", "plan", "retry_after_s", "statuses", "took_s")

    def __init__(self, plan: Planned, late_s: float) -> None:
        self.plan = plan
        self.late_s = late_s
        self.took_s = 0.0
        self.statuses: list[int] = []
        self.again: Verdict | None = None
        self.retry_after_s = 0
        self._left = len(plan.parts)
        self._verdicts: list[Verdict] = []
        self._told_when = True

    def take(self, part: Part, answer: Answer, since_due_s: float) -> bool:
        """One part's answer; whether it was the last."""
        verdict = judge(answer.status, answer.body, part.expected)
        self._verdicts.append(verdict)
        self.statuses.append(answer.status)
        self.took_s = since_due_s
        if verdict is Verdict.REFUSED:
            told = int(answer.retry_after) if answer.retry_after.isdecimal() else 0
            self._told_when = self._told_when and told >= 1
            self.retry_after_s = max(self.retry_after_s, told)
        self._left -= 1
        return self._left == 0

    @property
    def verdict(self) -> Verdict:
        """Of the parts that were answered."""
        return Verdict.LOST if self._left else worst(self._verdicts)

    def outcome(self) -> Outcome:
        """What it came to."""
        plan = self.plan
        return Outcome(
            at_s=plan.at_s,
            kind="bulk" if plan.kind == "bulk" else "online",
            tokens=plan.tokens,
            texts=sum(len(part.expected) for part in plan.parts),
            late_s=self.late_s,
            latency_s=self.took_s,
            verdict=self.verdict,
            statuses=tuple(self.statuses) + (0,) * self._left,
            told_when=self._told_when,
            again=self.again,
        )


class Generator:
    """Of one run.

    Args:
        plan: in order of time.
        port: of the front door on this machine.
        settle_s: how long answers are waited for after the last request was due.
        obey: whether a refused request is sent once more after its Retry-After.
    """

    def __init__(self, plan: Sequence[Planned], port: int, *, settle_s: float = 30.0, obey: bool = False) -> None:
        self._plan = plan
        self._settle_s = settle_s
        self._obey = obey
        self._loop = asyncio.get_running_loop()
        self._wires = Wires(port)
        self._alarm = Alarm(self._send_due)
        self._asked: list[Asked] = []
        self._open = 0
        self._settled = asyncio.Event()
        self._started = 0.0

    async def run(self, connections: int = CONNECTIONS) -> list[Outcome]:
        """Everything, from the first request to the last answer; without an answer in time a request is lost.

        Raises:
            OSError: nobody listens there.
        """
        await self._wires.open(connections)
        gc.collect()
        gc.disable()  # a pause for garbage is a request that leaves too late
        try:
            self._started = time.monotonic()
            self._send_due()
            end = (self._plan[-1].at_s if self._plan else 0.0) + self._settle_s
            async with asyncio.timeout(end):
                await self._settled.wait()
        except TimeoutError:
            self._give_up()
        finally:
            gc.enable()
            self._wires.close()
            self._alarm.close()
        return [asked.outcome() for asked in self._asked]

    def _send_due(self) -> None:
        now = time.monotonic() - self._started
        while len(self._asked) < len(self._plan):
            plan = self._plan[len(self._asked)]
            if plan.at_s > now:
                self._alarm.set(self._started + plan.at_s)
                return
            self._send(plan, now)
            now = time.monotonic() - self._started
        self._look()

    def _send(self, plan: Planned, now: float) -> None:
        asked = Asked(plan, now - plan.at_s)
        self._asked.append(asked)
        self._open += 1
        for part in plan.parts:
            self._wires.send(part.wire, lambda answer, part=part: self._take(asked, part, answer))  # type: ignore[misc]

    def _take(self, asked: Asked, part: Part, answer: Answer) -> None:
        if not asked.take(part, answer, time.monotonic() - self._started - asked.plan.at_s):
            return
        if self._obey and asked.verdict is Verdict.REFUSED and asked.retry_after_s:
            self._loop.call_later(asked.retry_after_s, self._send_again, asked)
            return
        self._close(asked)

    def _send_again(self, asked: Asked) -> None:
        again = Asked(asked.plan, 0.0)

        def take(part: Part, answer: Answer) -> None:
            if again.take(part, answer, 0.0):
                asked.again = again.verdict
                self._close(asked)

        for part in asked.plan.parts:
            self._wires.send(part.wire, lambda answer, part=part: take(part, answer))  # type: ignore[misc]

    def _close(self, _asked: Asked) -> None:
        self._open -= 1
        self._look()

    def _look(self) -> None:
        if self._open == 0 and len(self._asked) == len(self._plan):
            self._settled.set()

    def _give_up(self) -> None:
        ended = time.monotonic() - self._started
        for asked in self._asked:
            if asked.verdict is Verdict.LOST:
                asked.took_s = ended - asked.plan.at_s
