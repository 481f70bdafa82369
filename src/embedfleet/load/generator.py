"""The load generator, which sends a plan's requests at their times and judges the answers."""

import asyncio
import gc
import time
from collections.abc import Sequence

from embedfleet.load.alarm import Alarm
from embedfleet.load.connections import CONNECTIONS, Answer, LoadConnections
from embedfleet.load.plan import PlannedCall, PlannedRequest
from embedfleet.load.tally import Outcome
from embedfleet.load.verdict import Verdict, judge, worst


class SentRequest:
    """A planned request that has been sent.

    Attributes:
        plan: The request as planned.
        late_s: Seconds between the planned time and the send.
        took_s: Seconds from the planned time to the latest answer.
        statuses: Statuses of the calls answered so far.
        retry_after_s: Longest Retry-After of its refusals, in seconds.
        again: Verdict after the request was sent again; None if it was not.
    """

    __slots__ = (
        "_has_retry_after",
        "_left",
        "_verdicts",
        "again",
        "late_s",
        "plan",
        "retry_after_s",
        "statuses",
        "took_s",
    )

    def __init__(self, plan: PlannedRequest, late_s: float) -> None:
        self.plan = plan
        self.late_s = late_s
        self.took_s = 0.0
        self.statuses: list[int] = []
        self.again: Verdict | None = None
        self.retry_after_s = 0
        self._left = len(plan.calls)
        self._verdicts: list[Verdict] = []
        self._has_retry_after = True

    def take(self, call: PlannedCall, answer: Answer, since_due_s: float) -> bool:
        """Record the answer to one call.

        Returns:
            Whether all calls are now answered.
        """
        verdict = judge(answer.status, answer.body, call.expected)
        self._verdicts.append(verdict)
        self.statuses.append(answer.status)
        self.took_s = since_due_s
        if verdict is Verdict.REFUSED:
            told = int(answer.retry_after) if answer.retry_after.isdecimal() else 0
            self._has_retry_after = self._has_retry_after and told >= 1
            self.retry_after_s = max(self.retry_after_s, told)
        self._left -= 1
        return self._left == 0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the calls; `Verdict.LOST` while any is unanswered."""
        return Verdict.LOST if self._left else worst(self._verdicts)

    def outcome(self) -> Outcome:
        """Return the outcome of the request."""
        plan = self.plan
        return Outcome(
            at_s=plan.at_s,
            kind="bulk" if plan.kind == "bulk" else "online",
            tokens=plan.tokens,
            texts=sum(len(call.expected) for call in plan.calls),
            late_s=self.late_s,
            latency_s=self.took_s,
            verdict=self.verdict,
            statuses=tuple(self.statuses) + (0,) * self._left,
            has_retry_after=self._has_retry_after,
            again=self.again,
        )


class Generator:
    """The load generator of one run.

    Args:
        plan: Requests in order of time.
        port: Port of the server under load, on this machine.
        settle_s: Longest wait for answers after the planned time of the last request, in seconds.
        retries_refused: Whether a refused request is sent once more after its Retry-After.
    """

    def __init__(
        self, plan: Sequence[PlannedRequest], port: int, *, settle_s: float = 30.0, retries_refused: bool = False
    ) -> None:
        self._plan = plan
        self._settle_s = settle_s
        self._retries_refused = retries_refused
        self._loop = asyncio.get_running_loop()
        self._connections = LoadConnections(port)
        self._alarm = Alarm(self._send_due)
        self._sent: list[SentRequest] = []
        self._open = 0
        self._settled = asyncio.Event()
        self._started = 0.0

    async def run(self, connections: int = CONNECTIONS) -> list[Outcome]:
        """Send all requests and wait for the answers; a request without an answer in time counts as lost.

        Raises:
            OSError: Nothing listens on the port.
        """
        await self._connections.open(connections)
        gc.collect()
        gc.disable()  # a pause for garbage collection would delay requests
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
            self._connections.close()
            self._alarm.close()
        return [sent.outcome() for sent in self._sent]

    def _send_due(self) -> None:
        now = time.monotonic() - self._started
        while len(self._sent) < len(self._plan):
            plan = self._plan[len(self._sent)]
            if plan.at_s > now:
                self._alarm.set(self._started + plan.at_s)
                return
            self._send(plan, now)
            now = time.monotonic() - self._started
        self._settle_if_done()

    def _send(self, plan: PlannedRequest, now: float) -> None:
        sent = SentRequest(plan, now - plan.at_s)
        self._sent.append(sent)
        self._open += 1
        for call in plan.calls:
            self._connections.send(call.request, lambda answer, call=call: self._take(sent, call, answer))  # type: ignore[misc]

    def _take(self, sent: SentRequest, call: PlannedCall, answer: Answer) -> None:
        if not sent.take(call, answer, time.monotonic() - self._started - sent.plan.at_s):
            return
        if self._retries_refused and sent.verdict is Verdict.REFUSED and sent.retry_after_s:
            self._loop.call_later(sent.retry_after_s, self._send_again, sent)
            return
        self._close()

    def _send_again(self, sent: SentRequest) -> None:
        again = SentRequest(sent.plan, 0.0)

        def take(call: PlannedCall, answer: Answer) -> None:
            if again.take(call, answer, 0.0):
                sent.again = again.verdict
                self._close()

        for call in sent.plan.calls:
            self._connections.send(call.request, lambda answer, call=call: take(call, answer))  # type: ignore[misc]

    def _close(self) -> None:
        self._open -= 1
        self._settle_if_done()

    def _settle_if_done(self) -> None:
        if self._open == 0 and len(self._sent) == len(self._plan):
            self._settled.set()

    def _give_up(self) -> None:
        ended = time.monotonic() - self._started
        for sent in self._sent:
            if sent.verdict is Verdict.LOST:
                sent.took_s = ended - sent.plan.at_s
